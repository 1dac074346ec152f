"""What is played in a run: a game, its rules of conduct, who sits in the other seats, and how the policy is asked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from palaestra.agents.language_model import ReplySettings
from palaestra.envs.games.next_token import NextToken
from palaestra.envs.match import MatchRules, OnFailure
from palaestra.envs.options import refuse_reserved
from palaestra.envs.registry import Visibility, entry
from palaestra.trainers.config_file import Section


class ReplySection(Section):
    """How the policy is asked for a reply."""

    max_tokens: int = Field(32, ge=1)
    """Most tokens of one reply, thought included."""
    temperature: float = Field(1.0, ge=0)
    """Sampling temperature, in training and in evaluation."""
    context: Literal["growing", "fresh"] = "growing"
    """Whether a seat's context grows over its turns or starts anew at each."""
    system: str | None = None
    """System message; null for the model's own default."""

    def settings(self) -> ReplySettings:
        """Return what the seat takes."""
        return ReplySettings(self.max_tokens, self.temperature, self.context, self.system)


class FailureSection(Section):
    """What one kind of failed reply costs."""

    reasks: int = Field(2, ge=0)
    """How often the player is asked again."""
    then: Literal["forfeit", "random"] = "forfeit"
    """What follows when that is used up."""


class RulesSection(Section):
    """Rules of conduct of the matches."""

    visibility: Visibility | None = None
    """Who reads a player's thoughts: ``private`` (nobody else), ``public``, ``team`` or ``monitor``; null for the
    game's own rule."""
    monitors: tuple[int, ...] = ()
    """Players who read all thoughts when visibility is ``monitor``."""
    max_turns: int | None = None
    """Turns of all players before an episode is cut; null for the game's own bound."""
    accept_cut: bool = False
    """Whether a reply cut by the token limit counts if an action can be read in it."""
    talked_out: Literal["counts", "void"] = "counts"
    """What a game is worth to who spoke just before another's forfeit ended it: as usual, or nothing."""
    illegal: FailureSection = FailureSection()
    unparsable: FailureSection = FailureSection()
    truncated: FailureSection = FailureSection()

    def of(self, game: str) -> MatchRules:
        """Return what a match of a registered game takes.

        Raises:
            UnknownName: No such game.
        """
        return MatchRules(
            visibility=self.visibility or entry(game).visibility,
            monitors=self.monitors,
            max_turns=self.max_turns,
            accept_cut=self.accept_cut,
            talked_out=self.talked_out,
            illegal=OnFailure(self.illegal.reasks, self.illegal.then),
            unparsable=OnFailure(self.unparsable.reasks, self.unparsable.then),
            truncated=OnFailure(self.truncated.reasks, self.truncated.then),
        )


class DocumentsSection(Section):
    """How the documents of `next_token` are read; no other game has such a section."""

    scorer: str = "live"
    """Whose log scores thoughts are paid by: ``live``, ``frozen``, ``average`` or a registered scorer
    (`palaestra.agents.document_reader`). An evaluation is always scored live."""
    decay: float = Field(0.9, ge=0, le=1)
    """Of the scorer ``average``: the share that is kept in every iteration."""
    empty: bool = True
    """Whether the first reading of each group is the empty thought, which never thinks."""
    shown: float = Field(0.0, ge=0, le=1)
    """Share of the documents whose last reading has the document's own worked thoughts, which are learned."""
    until: float = Field(1.0, ge=0, le=1)
    """Share of the iterations after which none are shown any more; thinking that does not pay stays while some are."""


class GameSection(Section):
    """One of the games of a run."""

    game: str
    """Registered name; `palaestra envs` lists them."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The game's own options."""
    weight: float = Field(1.0, gt=0)
    """Share of the games of an iteration, relative to the other games."""
    rules: RulesSection = RulesSection()
    reply: ReplySection = ReplySection()
    opponents: dict[str, float] = Field(default_factory=lambda: {"self": 1.0})
    """Who sits in the other seats, with relative weights: ``self`` (the policy that is trained), ``base`` (the frozen
    reference), or any seat of `palaestra play` such as ``random``."""
    fixed_seats: dict[Annotated[int, Field(ge=1)], str] = Field(default_factory=dict)
    """Seats, counted from 1, that are always held by somebody who is neither trained nor measured, such as the judges
    of a contest: ``{3: base, 4: base}``."""
    unchecked: bool = False
    """Whether models may paraphrase or monitor without passing their own check (`palaestra.trainers.availability`)."""
    group_size: int = Field(1, ge=1)
    """Episodes that start from the same state; above 1 for the group-relative rule."""
    documents: DocumentsSection | None = None
    """Of `next_token` alone: how its documents are read; null for the defaults."""

    @property
    def reads(self) -> bool:
        """Return whether the game is one of documents, which the policy reads in batches."""
        return self.game == NextToken.id

    @property
    def reading(self) -> DocumentsSection:
        """Return how documents are read, defaults included."""
        return self.documents or DocumentsSection()

    @model_validator(mode="after")
    def _documents_are_read(self) -> GameSection:
        if self.documents is not None and not self.reads:
            raise ValueError(f"documents: {self.game} has none; leave this section to {NextToken.id}")
        return self

    @model_validator(mode="after")
    def _options_are_the_games(self) -> GameSection:
        refuse_reserved(self.options, self.game)
        return self

    @model_validator(mode="after")
    def _opponents_have_weight(self) -> GameSection:
        if not self.opponents or min(self.opponents.values()) < 0 or sum(self.opponents.values()) <= 0:
            raise ValueError("opponents needs at least one seat with a weight above 0")
        return self
