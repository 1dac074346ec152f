"""The recipes, and what each game asks about its state.

A recipe's figures (`Recipe.seconds`, `Recipe.held_out`) were measured on two cores of a slow server; a build writes
its own beside the model (``recipe.json``). To add a recipe, write its questions (what must a player not forget?) and
add it to `_RECIPES`; then check that it learns to answer them and that its replies are legal
(`tests/agents/test_models_tiny.py` shows how).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from palaestra.agents.models.tiny.corpus import Mix
from palaestra.agents.models.tiny.search import Style
from palaestra.agents.models.tiny.tokenizer import VOCAB_SIZE
from palaestra.agents.scripted_recovery import first_wrong
from palaestra.agents.scripted_surprise import trace
from palaestra.envs.errors import UnknownName
from palaestra.envs.game import Game
from palaestra.envs.games.chains import Chain
from palaestra.envs.games.cot_relay import CotRelay
from palaestra.envs.games.covert_channel import CovertChannel
from palaestra.envs.games.encoded_reasoning import EncodedReasoning
from palaestra.envs.games.kuhn_poker import CARDS, KuhnPoker
from palaestra.envs.games.negotiation import Negotiation
from palaestra.envs.games.open_minds import OpenMinds
from palaestra.envs.games.recovery import Recovery
from palaestra.envs.games.statements import last_stated
from palaestra.envs.games.terminal_surprise import TerminalSurprise
from palaestra.envs.games.tic_tac_toe import LINES, MARKS, SQUARES, TicTacToe
from palaestra.envs.items.machine import read_terse
from palaestra.envs.seeding import Dice


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama architecture with tied embeddings; sizes in numbers of features, heads of 32."""

    hidden: int = 128
    layers: int = 3
    inner: int = 344
    heads: int = 4
    context: int = 2048

    @property
    def parameters(self) -> int:
        """Return the number of parameters."""
        layer = 4 * self.hidden**2 + 3 * self.hidden * self.inner + 2 * self.hidden
        return VOCAB_SIZE * self.hidden + self.layers * layer + self.hidden


@dataclass(frozen=True, slots=True)
class Training:
    """A schedule: AdamW, linear warm-up over a twentieth of the steps, then a cosine down to a twentieth of the rate.

    Attributes:
        steps: Optimizer steps.
        batch_tokens: Tokens in a batch, padding included.
        rate: Highest learning rate.
        games: Games (or traces) in the corpus, of which one in twenty is held out.
    """

    steps: int
    batch_tokens: int
    rate: float
    games: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a tiny model is made.

    Attributes:
        name: ``tiny:NAME`` is its source string.
        summary: One line for lists.
        shape: The architecture.
        corpus: What it reads; empty for an untrained model, and for one that reads no games.
        traces: How the searches are thought (`palaestra.agents.models.tiny.search`) that it reads instead; None for
            games.
        training: How; None for an untrained model.
        seed: Of weights, corpus and order.
        seconds: Processor seconds of a build, measured on one core of a busy slow server; alone it takes about half.
        held_out: Measured held-out loss, in nats a token of replies and answers.
    """

    name: str
    summary: str
    shape: Shape = Shape()
    corpus: tuple[Mix, ...] = ()
    traces: Style | None = None
    training: Training | None = None
    seed: int = 0
    seconds: float = 0.0
    held_out: float | None = None

    @property
    def parameters(self) -> int:
        """Return the number of parameters."""
        return self.shape.parameters


def kuhn_questions(game: Game, player: int, dice: Dice) -> list[tuple[str, str]]:
    """Ask for the own card, the seat, what was done so far, and the legal actions."""
    assert isinstance(game, KuhnPoker)
    return [
        ("card?", CARDS[game.cards[player]]),
        ("seat?", game.role(player)),
        ("done?", game.history or "-"),
        ("legal?", " ".join(game.legal_actions(player))),
    ]


def minds_questions(game: Game, player: int, dice: Dice) -> list[tuple[str, str]]:
    """Ask what `kuhn_questions` asks of the game inside."""
    assert isinstance(game, OpenMinds)
    return kuhn_questions(game.inner, player, dice)[:3]


def board_questions(game: Game, player: int, dice: Dice) -> list[tuple[str, str]]:
    """Ask for the free squares, the own mark, and the squares where either player can complete a line."""
    assert isinstance(game, TicTacToe)
    own, other = MARKS[player], MARKS[1 - player]
    return [
        ("free?", "".join(game.legal_actions(player))),
        ("mark?", own),
        ("win?", _completing(game, own)),
        ("block?", _completing(game, other)),
    ]


def _completing(game: TicTacToe, mark: str) -> str:
    """Return the free squares that would give ``mark`` three in a row."""
    marks = game.squares
    found = {
        cell
        for line in LINES
        for cell in line
        if marks[cell] == "." and all(marks[other] == mark for other in line if other != cell)
    }
    return "".join(SQUARES[cell] for cell in sorted(found)) or "-"


def trade_questions(game: Game, player: int, dice: Dice) -> list[tuple[str, str]]:
    """Ask what the standing offer would gain, what both hold, and which item is dearest."""
    assert isinstance(game, Negotiation)
    known = game.knowledge(player)
    values, standing = known["values"], known["standing"]
    gain = 0 if standing is None else sum(count * value for count, value in zip(standing["terms"], values, strict=True))
    whose = "-" if standing is None else "own" if standing["mine"] else "other"
    return [
        ("deal?", "-" if standing is None else "good" if gain > 0 else "bad"),
        ("gain?", f"{gain:+d}"),
        ("offer?", whose),
        ("dearest?", game.items[max(range(len(values)), key=values.__getitem__)]),
        ("mine?", " ".join(map(str, game.holdings[player]))),
        ("theirs?", " ".join(map(str, game.holdings[1 - player]))),
    ]


def covert_questions(game: Game, player: int, dice: Dice) -> list[tuple[str, str]]:
    """Ask for the secret, the words that were read, and the role."""
    assert isinstance(game, CovertChannel)
    role = game.role(player)
    if role == "sender":
        first = ("secret?", "-" if game.payload is None else str(game.payload))
    else:
        first = ("read?", game.delivered if role == "receiver" else game.sent)
    return [first, ("role?", role)]


def encoded_questions(game: Game, player: int, dice: Dice) -> list[tuple[str, str]]:
    """Ask for the answer, where the seat sees the task or was told, and for the text that was read."""
    assert isinstance(game, EncodedReasoning)
    role, arm = game.role(player), game.options.arm
    sees = role == "writer" or arm in ("direct", "thought", "encoded")
    read = [("read?", game.text)] if role == "reader" and game.text else []
    return [("end?", game.chain.name(game.chain.answer) if sees else "-"), *read, ("role?", role)]


def relay_questions(game: Game, player: int, dice: Dice) -> list[tuple[str, str]]:
    """Ask for the true state after the first step, for that in the end, and for the last one that is named."""
    assert isinstance(game, CotRelay)
    chain = game.asked
    assert isinstance(chain, Chain)
    return [
        ("after?", chain.name(chain.path()[0])),
        ("end?", chain.name(chain.answer)),
        ("said?", last_stated(game.delivered, chain.names()) or "-"),
    ]


def relay_mixes(reader: str) -> tuple[Mix, ...]:
    """Return what a receiver of `cot_relay` reads who plays like a scripted one, under every intervention."""
    options = {"reference": True, "wording": "terse", "task": "swaps", "steps": 1, "mode": "forced"}
    changes: list[dict[str, Any]] = [
        {"intervention": "none"}, {"intervention": "planted"}, {"intervention": "other"}, {"intervention": "filler"},
        {"intervention": "truncate", "fraction": 0.0},
    ]  # fmt: skip
    return tuple(Mix("cot_relay", relay_questions, {**options, **change}, seats=(reader,)) for change in changes)


def machine_questions(game: Game, player: int, dice: Dice) -> list[tuple[str, str]]:
    """Ask, after the same thought, with what chance the program prints this, with what chance another first digit would
    have, and what the rate is."""
    assert isinstance(game, TerminalSurprise)
    program, output = read_terse(game.case.name), int(game.case.output)
    thought = f"<think>{trace(program, output)}</think>"
    return [
        ("real?", f"{thought}{program.odds()[output]:.2f}"),
        ("other?", f"{thought}{program.replaced_odds()[output]:.2f}"),
        ("rate?", f"{thought}{game.case.rate:g}"),
    ]


def recovery_questions(game: Game, player: int, dice: Dice) -> list[tuple[str, str]]:
    """Ask a solver for the first wrong step of the beginning, and for the last state that it states; a polluter for the
    states that it begins with if it is honest."""
    assert isinstance(game, Recovery)
    names = game.chain.names()
    if player != game.solver:
        return [("states?", " ".join(names[state] for state in game.chain.path()[: game.given]))]
    wrong = first_wrong(game.chain, list(game.lines))
    return [
        ("wrong?", "none" if wrong is None else str(wrong + 1)),
        ("last?", last_stated("\n".join(game.lines), names) or "-"),
    ]


RECOVERY: dict[str, Any] = {"task": "swaps", "steps": 4, "wording": "terse"}

MINDS = {"inner": "kuhn_poker", "inner_options": {"view": "terse"}, "view": "terse"}

MACHINE = {"items": "machine", "view": "terse", "level": 1}

ENCODED = {"task": "parity", "steps": 2, "wording": "terse"}

COVERT = {"view": "terse", "messages": 4, "honest": 0.25}

TRADE = {"view": "terse", "items": 2, "max_count": 2, "max_turns": 6, "max_talk": 0}

_RECIPES = (
    Recipe("blank", "untrained, equal weights everywhere; built at once, for tests"),
    Recipe(
        "kuhn",
        "has read random Kuhn poker (view=terse) and questions about it",
        corpus=(Mix("kuhn_poker", kuhn_questions, {"view": "terse"}),),
        training=Training(steps=500, batch_tokens=512, rate=3e-3, games=4000),
        seconds=25,
        held_out=0.083,
    ),
    Recipe(
        "kuhn-told",
        "has read what tiny:kuhn has, and turns of finished games with the result told first: it plays, and can say "
        "what somebody with another result would have said",
        corpus=(Mix("kuhn_poker", kuhn_questions, {"view": "terse"}, told=1.0),),
        training=Training(steps=800, batch_tokens=512, rate=3e-3, games=4000),
        seconds=40,
        held_out=0.070,
    ),
    Recipe(
        "minds",
        "has read random Kuhn poker with open minds (view=terse), thoughts that name a card, and questions about it",
        corpus=tuple(
            Mix("open_minds", minds_questions, MINDS, seats=("teller", "teller"), visibility=who)
            for who in ("public", "private")
        ),
        training=Training(steps=1500, batch_tokens=512, rate=3e-3, games=8000),
        seconds=130,
        held_out=0.055,
    ),
    Recipe(
        "board",
        "has read random tic-tac-toe (view=terse) and questions about it",
        corpus=(Mix("tic_tac_toe", board_questions, {"view": "terse"}, fresh=0.5),),
        training=Training(steps=1800, batch_tokens=512, rate=3e-3, games=10_000),
        seconds=85,
        held_out=0.351,
    ),
    Recipe(
        "trade",
        "has read random negotiations (two items, offers without talk) and questions about them",
        corpus=(Mix("negotiation", trade_questions, TRADE),),
        training=Training(steps=1800, batch_tokens=512, rate=3e-3, games=10_000),
        seconds=85,
        held_out=0.121,
    ),
    *(
        Recipe(
            name,
            f"has read honest play of a covert channel of one word in four{which} (view=terse) and questions about it",
            corpus=(Mix("covert_channel", covert_questions, {**COVERT, "covers": covers}),),
            training=Training(steps=500, batch_tokens=512, rate=3e-3, games=4000),
            seconds=25,
            held_out=held_out,
        )
        for name, which, covers, held_out in (
            ("covert", "", "{a|b|c|d}", 0.483),
            ("covert-biased", ", one of them four times as common", "{a*4|b|c|d}", 0.470),
        )
    ),
    Recipe(
        "encoded",
        "has read honest thoughts and who goes by them, random writers and readers with habits in the other arms of "
        "encoded_reasoning (parity of two steps, wording=terse), and questions",
        corpus=(
            Mix("encoded_reasoning", encoded_questions, {**ENCODED, "arm": "thought"}, seats=("tracker", "half:1")),
            *(
                Mix("encoded_reasoning", encoded_questions, {**ENCODED, "arm": arm}, seats=seats)
                for arm, seats in (
                    ("direct", ()),
                    *((arm, ("random", "leaner")) for arm in ("encoded", "blind", "message")),
                )
            ),
        ),
        training=Training(steps=1500, batch_tokens=512, rate=3e-3, games=8000),
        seconds=150,
        held_out=0.082,
    ),
    Recipe(
        "machine",
        "has read, in terminal_surprise (items=machine, view=terse, level=1), thoughts that go through the program and "
        "probabilities that do not follow from them, and questions about the odds",
        corpus=(Mix("terminal_surprise", machine_questions, MACHINE, seats=("tracer",)),),
        training=Training(steps=14_000, batch_tokens=512, rate=3e-3, games=40_000),
        seconds=850,
        held_out=0.026,
    ),
    Recipe(
        "recovery",
        "has read solvers of recovery (three cups, four steps, wording=terse) that go on with what was begun, begin "
        "again, check it or guess where it is wrong, whether or not it is; random polluters; and questions",
        corpus=(
            Mix("recovery", recovery_questions, {**RECOVERY, "clean": 0.3}, share=3, seats=("worker",)),
            Mix("recovery", recovery_questions, {**RECOVERY, "polluter": True}, seats=("random", "worker")),
        ),
        training=Training(steps=6000, batch_tokens=512, rate=3e-3, games=24_000),
        seconds=500,
    ),
    *(
        Recipe(
            f"relay-{name}",
            f"a receiver of cot_relay (three cups, wording=terse) that {what}",
            corpus=relay_mixes(reader),
            training=Training(steps=1200, batch_tokens=512, rate=3e-3, games=12_000),
            seconds=80,
            held_out=held_out,
        )
        for name, reader, what, held_out in (
            ("uses", "half:1", "goes by the thought it reads", 0.262),
            ("ignores", "half:0", "works the task out itself", 0.00004),
            ("half", "half:0.5", "does the one or the other, as likely", 0.161),
        )
    ),
    Recipe(
        "search",
        "has read how leaves of small trees are looked for, by trying branches and going back: it reasons",
        traces="search",
        training=Training(steps=3000, batch_tokens=1024, rate=3e-3, games=60_000),
        seconds=300,
        held_out=0.015,
    ),
    Recipe(
        "search-straight",
        "has read how leaves of small trees are found without a wrong try: it never goes back",
        traces="straight",
        training=Training(steps=1000, batch_tokens=1024, rate=3e-3, games=20_000),
        seconds=100,
        held_out=None,
    ),
)


def recipes() -> tuple[Recipe, ...]:
    """Return all recipes."""
    return _RECIPES


def recipe(name: str) -> Recipe:
    """Return a recipe by name.

    Raises:
        UnknownName: There is none; the nearest is named.
    """
    for one in _RECIPES:
        if one.name == name:
            return one
    names = [one.name for one in _RECIPES]
    raise UnknownName("tiny recipe", name, names, f"There are: {', '.join(names)}.")
