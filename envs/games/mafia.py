"""Mafia: a hidden minority that knows itself against a majority that has only words and votes.

Nights and days alternate, beginning with a night. In the *night* the mafia whisper to each other and choose a victim
(most names, ties by lot), the detective learns whether one player is mafia, the doctor protects one player (not the
same one twice in a row), and the vigilante may once shoot; all at once and in secret. By *day* the dead are found,
the living talk, nominate, hear the two defendants, and vote. The player with more votes than any other, and than
"nobody", is out, and may say last words.

The town wins when no mafia is left, the mafia when they are as many as all others together, or when the last day
passes. A jester who is voted out wins alone, and the game is over. A hunter who dies takes another player along.
Winners get +1, also if they are dead, the others -1; a player who forfeits leaves the table, gets -1 whatever comes,
and the others play on.

How answers are read and what is shown stand in `palaestra.envs.games.mafia_words`, what a finished game is measured by
in `palaestra.envs.games.mafia_measures`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

from palaestra.envs.errors import IllegalAction
from palaestra.envs.events import EventKind
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.games import mafia_words as words
from palaestra.envs.games.mafia_measures import measures
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice

VILLAGER, MAFIA = "villager", "mafia"
ROLES = (VILLAGER, MAFIA, "detective", "doctor", "jester", "hunter", "vigilante")

Phase = Literal["whisper", "night", "talk", "bid", "nominate", "defend", "vote", "last words", "hunter", "over"]
Winner = Literal["town", "mafia", "jester"]
NOBODY = -1
"""The choice of no player, in nominations, votes and shots."""

CHOICES: tuple[Phase, ...] = ("night", "nominate", "vote", "hunter")
"""Phases in which a player is named; in all others but `bid` the players talk."""

DEFENDANTS = 2
HIGHEST_BID = 4


@dataclass(frozen=True)
class MafiaOptions:
    """Who plays and how.

    Attributes:
        players: 5 to 12.
        mafia: How many of them are mafia; None for one in four, rounded as usual at tables (1 of 5, 2 of 7, 3 of 11).
        detective, doctor, jester, hunter, vigilante: Whether there is one.
        discussion: Whether the living speak in ``rounds``, or bid for the floor before each speech (``bidding``).
        talk_rounds: Speeches a day, for each player who is alive in the morning.
        whisper_rounds: Messages of each mafioso to the others in a night, as long as there are two.
        nomination: Whether a vote needs nominations and defence first.
        vote: Whether everybody learns who nominated and voted for whom (``public``), or the counts only (``secret``).
        ties: Who is out when two players get most votes: ``nobody``, or one of them by ``lot``.
        last_words: Whether a player who is voted out may speak once more.
        reveal: What becomes known of the dead.
        max_days: Days after which the mafia win.
        max_talk: Characters of one message. Longer ones are illegal, never cut.
    """

    players: int = 7
    mafia: int | None = None
    detective: bool = True
    doctor: bool = True
    jester: bool = False
    hunter: bool = False
    vigilante: bool = False
    discussion: Literal["rounds", "bidding"] = "rounds"
    talk_rounds: int = 1
    whisper_rounds: int = 1
    nomination: bool = True
    vote: Literal["public", "secret"] = "public"
    ties: Literal["nobody", "lot"] = "nobody"
    last_words: bool = True
    reveal: Literal["role", "team", "nothing"] = "role"
    max_days: int = 8
    max_talk: int = 300

    def __post_init__(self) -> None:
        if not 5 <= self.players <= 12:
            raise ValueError(f"players is {self.players}, expected 5 to 12")
        least = {"talk_rounds": 0, "whisper_rounds": 0, "max_days": 1, "max_talk": 20}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {lowest}")
        if self.mafia is not None and not 1 <= self.mafia < self.players / 2:
            raise ValueError(
                f"mafia is {self.mafia}, expected at least 1 and fewer than half of {self.players} players"
            )
        others = sum(getattr(self, role) for role in ROLES[2:])
        if self.count() + others > self.players:
            raise ValueError(f"{self.count()} mafia and {others} special roles are more than {self.players} players")

    def count(self) -> int:
        """Return how many players are mafia."""
        return (self.players + 1) // 4 if self.mafia is None else self.mafia

    def cast(self) -> list[str]:
        """Return the roles in play, one per player, in the order of `ROLES`."""
        special = [role for role in ROLES[2:] if getattr(self, role)]
        fixed = [MAFIA] * self.count() + special
        return [VILLAGER] * (self.players - len(fixed)) + fixed


class Mafia(Game):
    """One game; players are numbered from 0 in code and from 1 in text."""

    id = "mafia"
    version = 1
    summary = "hidden roles, talk and votes for 5 to 12 players"
    Options = MafiaOptions

    roles: tuple[str, ...]
    alive: tuple[int, ...]
    phase: Phase
    day: int
    """Number of the day, and of the night before it."""
    pending: dict[int, Any]
    """What those who act at once have chosen so far: a player, a bid or a message."""
    queue: tuple[int, ...]
    """Who speaks next, in rounds of talk, in defence, after being voted out, or as a hunter who dies."""
    left: int
    """Rounds of whispers, or speeches, that are still to come in this phase."""
    defendants: tuple[int, ...]
    protected: int
    """Whom the doctor protected last; `NOBODY` at first."""
    bullets: int
    """Shots that the vigilante has left."""
    absent: tuple[int, ...]
    """Players who have forfeited, dead or alive."""
    deaths: tuple[tuple[int, int, str], ...]
    """(player, day, how) of the dead in order; how is ``"night"``, ``"vote"``, ``"hunter"`` or ``"left"``."""
    findings: tuple[tuple[int, int], ...]
    """(day, player) of the detective's investigations."""
    record: tuple[str, ...]
    """The public history, one line for each thing that was decided."""
    ballots: tuple[tuple[int, str, tuple[tuple[int, int], ...]], ...]
    """(day, ``"nominate"`` or ``"vote"``, ((voter, target), ...)), for measures."""
    said: tuple[tuple[int, int, str], ...]
    """(day, player, text) of all public speech, for measures."""
    winner: Winner | None

    @property
    def facts(self) -> GameFacts:
        return self._facts

    def setup(self) -> None:
        options: MafiaOptions = self.options
        roles = options.cast()
        self.dice.shuffle(roles)
        self.roles = tuple(roles)
        self.alive = tuple(range(options.players))
        self.day = 0
        self.pending = {}
        self.queue, self.defendants, self.absent = (), (), ()
        self.left = 0
        self.protected = NOBODY
        self.bullets = 1
        self.deaths, self.findings, self.record, self.ballots, self.said = (), (), (), (), ()
        self.winner = None
        self._facts = _facts(options)
        self._begin_night()

    # ------------------------------------------------------------------ who acts

    def players_to_move(self) -> tuple[int, ...]:
        if self.phase == "over":
            return ()
        if self.phase in ("talk", "defend", "last words", "hunter"):
            return self.queue[:1]
        return tuple(player for player in self._actors() if player not in self.pending)

    def _actors(self) -> tuple[int, ...]:
        """Return who acts at once in this phase."""
        if self.phase == "whisper":
            return self.living(MAFIA)
        if self.phase == "night":
            return tuple(player for player in self.alive if self._acts_at_night(player))
        return self.alive

    def _acts_at_night(self, player: int) -> bool:
        return self.roles[player] in (MAFIA, "detective", "doctor") or (
            self.roles[player] == "vigilante" and self.bullets > 0
        )

    def living(self, role: str) -> tuple[int, ...]:
        """Return the living players of a role."""
        return tuple(player for player in self.alive if self.roles[player] == role)

    def role(self, player: int) -> str:
        return self.roles[player]

    def team(self, player: int) -> int:
        """Return the same for all mafia; everybody else knows no partner, and so is alone."""
        return 0 if self.roles[player] == MAFIA else player + 1

    def targets(self, player: int) -> tuple[int, ...]:
        """Return whom ``player`` may name now, `NOBODY` last where that is allowed."""
        others = tuple(other for other in self.alive if other != player)
        if self.phase == "vote":
            return (*(one for one in (self.defendants or self.alive) if one != player), NOBODY)
        if self.phase in ("nominate", "hunter"):
            return (*others, NOBODY)
        match self.roles[player]:
            case "mafia":
                return tuple(other for other in others if self.roles[other] != MAFIA)
            case "doctor":
                return tuple(one for one in self.alive if one != self.protected)
            case "vigilante":
                return (*others, NOBODY)
        return others

    # ------------------------------------------------------------------ what players see and say

    def prompt(self, player: int) -> str:
        return words.prompt(self, player)

    def recap(self, player: int) -> str:
        return words.recap(self, player)

    def board(self, player: int) -> str:
        return words.board(self, player)

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return role, partners, who is alive, what is asked, findings, and every event this player has seen."""
        asked = player in self.players_to_move()
        return {
            "player": player,
            "role": self.roles[player],
            "partners": list(self.partners(player)),
            "cast": sorted(self.roles),
            "alive": list(self.alive),
            "day": self.day,
            "night": self.is_night(),
            "phase": self.phase if asked else "",
            "targets": list(self.targets(player)) if asked and self.phase in CHOICES else [],
            "findings": self.found(player),
            "deaths": [[victim, day, how, self.epitaph(victim)] for victim, day, how in self.deaths],
            "events": [event.to_json() for event in self.log if event.visible_to(player)],
        }

    def partners(self, player: int) -> tuple[int, ...]:
        """Return the other mafia, to a mafioso; nobody to others."""
        if self.roles[player] != MAFIA:
            return ()
        return tuple(other for other, role in enumerate(self.roles) if role == MAFIA and other != player)

    def found(self, player: int) -> dict[str, bool]:
        """Return, to the detective, whether each player looked at is mafia, by the player's number in text."""
        if self.roles[player] != "detective":
            return {}
        return {str(target + 1): self.roles[target] == MAFIA for _, target in self.findings}

    def revealed(self, player: int) -> str:
        """Return who had which role."""
        roles = (f"{words.name(other)} was {role}" for other, role in enumerate(self.roles) if other != player)
        return f"{'; '.join(roles)}."

    def epitaph(self, player: int) -> str:
        """Return what is known of a dead player: role, team, or an empty text; everything once the game is over."""
        if self.options.reveal == "role" or self.phase == "over":
            return self.roles[player]
        if self.options.reveal == "team":
            return MAFIA if self.roles[player] == MAFIA else "not mafia"
        return ""

    def is_night(self) -> bool:
        """Return whether it is night, as everybody knows; a hunter who dies in the night shoots in the morning."""
        return self.phase in ("whisper", "night")

    def legal_actions(self, player: int) -> Sequence[str]:
        """Return whom the player may name, or the bids; while the players talk, examples."""
        if self.phase in CHOICES:
            return [words.name(target) for target in self.targets(player)]
        if self.phase == "bid":
            return [str(bid) for bid in range(HIGHEST_BID + 1)]
        return list(words.small_talk(self, player))

    def action_words(self, player: int) -> Sequence[str]:
        if self.phase in CHOICES:
            return [*(words.name(other) for other in range(self.options.players)), words.name(NOBODY)]
        return self.legal_actions(player)

    def parse(self, player: int, text: str) -> Action:
        if self.phase in CHOICES:
            return words.read_choice(text, self.action_words(player), self.legal_actions(player))
        if self.phase == "bid":
            return super().parse(player, text)
        return words.read_talk(text)

    def check(self, player: int, action: Action) -> None:
        if self.phase in CHOICES or self.phase == "bid":
            if action not in self.legal_actions(player):
                raise IllegalAction(words.refusal(self, player, action))
            return
        if not isinstance(action, str) or not action or action != words.in_a_line(action):
            raise IllegalAction(f"{action!r} is not one line of text; pass what `parse` returns.")
        if len(action) > self.options.max_talk:
            raise IllegalAction(
                f"your message has {len(action)} characters; at most {self.options.max_talk} are allowed."
            )

    def sample_action(self, player: int, dice: Dice) -> Action:
        return dice.choice(self.legal_actions(player))

    # ------------------------------------------------------------------ what happens

    def _apply(self, player: int, action: Action) -> None:
        text = cast(str, action)
        match self.phase:
            case "talk" | "defend" | "last words":
                self._speak(player, text)
                self.queue = self.queue[1:]
                self._go_on()
            case "hunter":
                self.queue = self.queue[1:]
                self._hunter_shoots(player, words.number(text))
            case "whisper":
                self.pending = {**self.pending, player: text}
                self._go_on()
            case _:
                chosen = int(text) if self.phase == "bid" else words.number(text)
                self.pending = {**self.pending, player: chosen}
                self._go_on()

    def _speak(self, player: int, text: str) -> None:
        if text != words.PASS:
            self.said = (*self.said, (self.day, player, text))
            self.emit("message", text, source=player)

    def _go_on(self) -> None:
        """Move on when everybody who acts in this phase has acted."""
        while self.phase != "over" and not self.players_to_move():
            chosen, self.pending = self.pending, {}
            match self.phase:
                case "whisper":
                    self._whispers(chosen)
                case "night":
                    self._dawn(chosen)
                case "bid":
                    self._give_the_floor(chosen)
                case "nominate":
                    self._nominations(chosen)
                case "vote":
                    self._count_votes(chosen)
                case "talk":
                    self._after_talk()
                case "defend" if self.defendants:
                    self.phase = "vote"
                case "defend":
                    self._begin_night()
                case "last words":
                    self._begin_night()
                case "hunter":
                    self._after_deaths()

    def _begin_night(self) -> None:
        if self.day >= self.options.max_days:
            self._end("mafia", f"Day {self.day} was the last, and the mafia is still there.")
            return
        self.day += 1
        self._tell(f"Night {self.day} falls.")
        self.defendants = ()
        self.left = self.options.whisper_rounds
        self.phase = "whisper" if self.left and len(self.living(MAFIA)) > 1 else "night"

    def _whispers(self, said: dict[int, str]) -> None:
        mafia = tuple(player for player, role in enumerate(self.roles) if role == MAFIA)
        for player in sorted(said):
            if said[player] != words.PASS:
                self.emit("message", said[player], source=player, to=mafia)
        self.left -= 1
        if self.left <= 0 or len(self.living(MAFIA)) < 2:
            self.phase = "night"

    def _dawn(self, chosen: dict[int, int]) -> None:
        """Carry out what was chosen in the night; protection comes before every shot."""
        shots = []
        guarded = NOBODY
        names = Counter(target for player, target in chosen.items() if self.roles[player] == MAFIA)
        if names:
            shots.append(self._most(names))
        for player, target in sorted(chosen.items()):
            match self.roles[player]:
                case "doctor":
                    guarded = target
                case "vigilante" if target != NOBODY:
                    self.bullets -= 1
                    shots.append(target)
                case "detective":
                    self.findings = (*self.findings, (self.day, target))
                    is_mafia = "is mafia" if self.roles[target] == MAFIA else "is not mafia"
                    self.emit("admin", f"You find out that {words.name(target)} {is_mafia}.", to=(player,))
        self.protected = guarded
        victims = sorted(set(shots) - {guarded})
        self._tell(f"Day {self.day} breaks." + ("" if victims else " Nobody died in the night."))
        self.phase = "hunter"
        for victim in victims:
            self._dies(victim, "night", f"{words.name(victim)} was found dead")
        self._after_deaths()

    def _most(self, names: Counter[int]) -> int:
        """Return the most frequent; ties by lot."""
        highest = max(names.values())
        first = sorted(target for target, count in names.items() if count == highest)
        return first[0] if len(first) == 1 else self.dice.choice(first)

    def _dies(self, player: int, how: str, told: str) -> None:
        """Take a player off the living; a hunter will shoot."""
        self.alive = tuple(other for other in self.alive if other != player)
        self.deaths = (*self.deaths, (player, self.day, how))
        known = self.epitaph(player)
        self._write(f"{told}; {words.name(player)} was {known}." if known else f"{told}.")
        if self.roles[player] == "hunter" and how != "left":
            self.queue = (*self.queue, player)

    def _hunter_shoots(self, player: int, target: int) -> None:
        if target == NOBODY:
            self._write(f"{words.name(player)} was the hunter, and shoots nobody.")
        else:
            self._dies(target, "hunter", f"{words.name(player)} was the hunter, and shoots {words.name(target)}")
        self._go_on()

    def _after_deaths(self) -> None:
        """After deaths and hunters' shots: is the game over, and if not, does a day begin or end?"""
        if self._over() or self.queue:
            return
        if self.ballots and self.ballots[-1][:2] == (self.day, "vote"):
            self._begin_last_words()
        else:
            self._begin_talk()

    def _begin_last_words(self) -> None:
        out = next(player for player, day, how in reversed(self.deaths) if (day, how) == (self.day, "vote"))
        self.phase = "last words"
        self.queue = (out,) if self.options.last_words and out not in self.absent else ()

    def _begin_talk(self) -> None:
        living = self.alive
        first = (self.day - 1) % len(living)
        order = living[first:] + living[:first]
        self.left = self.options.talk_rounds * len(living)
        if self.options.discussion == "bidding":
            self.phase, self.queue = "bid", ()
        else:
            self.phase, self.queue = "talk", order * self.options.talk_rounds
        if not self.left:
            self._begin_decision()

    def _give_the_floor(self, bids: dict[int, int]) -> None:
        wanted = Counter({player: bid for player, bid in bids.items() if bid})
        if not wanted:
            self._begin_decision()
            return
        self.phase, self.queue = "talk", (self._most(wanted),)
        self.left -= 1

    def _after_talk(self) -> None:
        if self.options.discussion == "bidding" and self.left > 0:
            self.phase = "bid"
        else:
            self._begin_decision()

    def _begin_decision(self) -> None:
        self.queue = ()
        self.phase = "nominate" if self.options.nomination else "vote"

    def _nominations(self, chosen: dict[int, int]) -> None:
        self.ballots = (*self.ballots, (self.day, "nominate", tuple(sorted(chosen.items()))))
        counts = Counter(target for target in chosen.values() if target != NOBODY)
        defendants: list[int] = []
        while counts and len(defendants) < DEFENDANTS:
            defendants.append(self._most(counts))
            del counts[defendants[-1]]
        self._write(f"Nominations: {self._ballot(chosen)}.")
        if not defendants:
            self._write("Nobody stands trial.")
            self._begin_night()
            return
        self.defendants = tuple(defendants)
        self._tell(f"On trial: {words.names(self.defendants)}.")
        self.phase, self.queue = "defend", self.defendants

    def _count_votes(self, chosen: dict[int, int]) -> None:
        self.ballots = (*self.ballots, (self.day, "vote", tuple(sorted(chosen.items()))))
        self._write(f"Votes: {self._ballot(chosen)}.")
        counts = Counter(chosen.values())
        highest = max(counts.values(), default=0)
        first = sorted(target for target, count in counts.items() if count == highest)
        if not first or NOBODY in first or (len(first) > 1 and self.options.ties == "nobody"):
            self._write("Nobody is voted out.")
            self._begin_night()
            return
        out = self._most(counts)
        self._dies(out, "vote", f"{words.name(out)} is voted out")
        if self.roles[out] == "jester":
            self._end("jester", f"{words.name(out)} was the jester and wanted this.")
            return
        if self.queue:
            self.phase = "hunter"
        elif not self._over():
            self._begin_last_words()

    def _ballot(self, chosen: dict[int, int]) -> str:
        return words.tally(chosen) if self.options.vote == "public" else words.counts(chosen)

    def _over(self) -> bool:
        """End the game if a side has won; a hunter's shot that is due comes first."""
        if self.queue and self.phase == "hunter":
            return False
        mafia = len(self.living(MAFIA))
        if not mafia:
            self._end("town", "No mafia is left.")
        elif 2 * mafia >= len(self.alive):
            self._end("mafia", "The mafia are as many as all others.")
        return self.phase == "over"

    def _end(self, winner: Winner, why: str) -> None:
        self.winner = winner
        self.phase = "over"
        self.queue = ()
        self.pending = {}
        roles = ", ".join(f"{words.name(player)} {role}" for player, role in enumerate(self.roles))
        self._tell(f"{why} The {winner} wins. The roles were: {roles}.")

    def withdraw(self, player: int) -> bool:
        """Take the player off the table; the others play on, and who had named it chooses again."""
        if player not in self.absent:
            self.absent = (*self.absent, player)
        if player in self.alive:
            self._dies(player, "left", f"{words.name(player)} has left the table")
        self.queue = tuple(other for other in self.queue if other != player)
        named = self.phase in CHOICES
        self.pending = {
            other: choice
            for other, choice in self.pending.items()
            if other != player and not (named and choice == player)
        }
        tried = self.defendants
        self.defendants = tuple(other for other in tried if other != player)
        if self._over():
            return True
        if self.phase == "vote" and tried and not self.defendants:
            self.pending = {}
            self._begin_night()
        self._go_on()
        return True

    def _tell(self, text: str, kind: EventKind = "admin") -> None:
        self.emit(kind, text)

    def _write(self, text: str) -> None:
        """Tell everybody, and keep it in the public record."""
        self.record = (*self.record, f"{'Night' if self.is_night() else 'Day'} {self.day}: {text}")
        self._tell(text)

    # ------------------------------------------------------------------ how it ends

    def returns(self) -> tuple[float, ...]:
        return tuple(
            1.0 if self._side(player) == self.winner and player not in self.absent else -1.0
            for player in range(len(self.roles))
        )

    def _side(self, player: int) -> Winner:
        return cast(Winner, self.roles[player] if self.roles[player] in (MAFIA, "jester") else "town")

    def result(self) -> dict[str, Any]:
        """Return the winner, roles, deaths, and the measures of `palaestra.envs.games.mafia_measures.measures`."""
        return {
            "winner": self.winner,
            "days": self.day,
            "roles": list(self.roles),
            "deaths": [{"player": player, "day": day, "how": how} for player, day, how in self.deaths],
            **measures(self),
        }

    def state(self) -> dict[str, Any]:
        return {
            "roles": self.roles,
            "alive": self.alive,
            "phase": self.phase,
            "day": self.day,
            "pending": sorted(self.pending.items()),
            "queue": self.queue,
            "left": self.left,
            "defendants": self.defendants,
            "protected": self.protected,
            "bullets": self.bullets,
            "absent": self.absent,
            "deaths": self.deaths,
            "findings": self.findings,
            "record": self.record,
            "ballots": self.ballots,
            "said": self.said,
            "winner": self.winner,
        }

    def _clone_state_into(self, twin: Self) -> None:
        """Everything is immutable or replaced as a whole, so a shallow copy is a copy."""


def _facts(options: MafiaOptions) -> GameFacts:
    """Return the facts; the bounds let every player live to the last day."""
    players = options.players
    speeches = options.talk_rounds * players
    talk = speeches * (players + 1) + players if options.discussion == "bidding" else speeches
    night = options.count() * options.whisper_rounds + players
    day = talk + 2 * players + DEFENDANTS + 1
    chars = (
        2600 + words.RECAP_MESSAGES * (options.max_talk + 30) + options.max_days * (26 * players + 300) + 80 * players
    )
    return GameFacts(
        players=players,
        min_return=-1.0,
        max_return=1.0,
        max_turns=options.max_days * (night + day) + players,
        max_observation_chars=chars,
        roles=ROLES,
        simultaneous=True,
        chance=True,
        information="imperfect",
        utility="general_sum",
        enumerable=False,
    )
