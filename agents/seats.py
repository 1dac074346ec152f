"""Seats by name: what a user writes after ``--seats`` and in the ``opponents`` of a configuration.

    random                       uniformly random legal actions
    human                        a person at the terminal
    mcts, mcts:500               search with so many simulations, in games of perfect information
    greedy, material             one move ahead: a win at once; in chess, material (`palaestra.agents.greedy`)
    conceder:0.5, tit-for-tat, fair
                                 scripted negotiators, with their parameter
    equilibrium                  the equilibria of kuhn_poker, auction and ultimatum
    shapley, shapley:0.2         a scripted player of coalition; how much it gives way by the end
    sleuth, sleuth:0.8           a scripted player of mafia; how often its mafia lie
    warlord, warlord:2           a scripted player of risk; how much stronger it wants to be before it attacks
    codebook, honest, swapper, fixer
                                 scripted players of covert_channel
    candid, fibber, decoder, babbler, whisperer
                                 players of liars
    tracker, parrot, half:0.5, leaner
                                 players of encoded_reasoning, cot_relay and recovery
    worker, worker:check         a solver of recovery who writes its work down: goes on, begins again or checks
    posterior, rate, anchored:0.3, tracer
                                 observers of terminal_surprise and hindsight_bias
    clairvoyant                  a reviewer of review that looks into the finished game
    teller, teller:0.5           a player of open_minds with Kuhn poker inside who thinks aloud
    regex:PATTERN, bag:FILE, embedding:FILE, codebreaker:FILE
                                 overseers that detect (`palaestra.agents.detectors`); the last one receives, too
    stockfish, stockfish:elo=1500, uci:COMMAND;nodes=5000
                                 a chess program (`palaestra.agents.programs.uci`)
    gnugo, gnugo:level=5, gtp:COMMAND
                                 a Go program (`palaestra.agents.programs.gtp`)
    router:smollm2               a model with the library's adapter for the game (`palaestra.agents.router`)
    server:URL;model=NAME        a model behind an OpenAI-compatible server (`palaestra.agents.server`)
    smollm2, tiny:kuhn@runs/x    a language model (`palaestra.agents.models`), with an adapter after the @; at
                                 next_token it reads the document, with its thinking tokens if it has any

Seats of one game can sit at `open_minds` with that game inside, too; there they have no thoughts.

Anything registered here by `register_seat` is a name; anything else is a model source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

from palaestra.agents.shipped_seats import SHIPPED
from palaestra.envs.bridges.opponents import opponent_names, register_opponent
from palaestra.envs.episode import Reply
from palaestra.envs.errors import OptionError, PalaestraError, UnknownName
from palaestra.envs.game import Game
from palaestra.envs.registry import make
from palaestra.envs.seat import RandomSeat, Seat, View

SeatFactory = Callable[[str], Seat]

DOCUMENTS = "next_token"
"""The game at which a language model reads and does not talk."""
_factories: dict[str, SeatFactory] = {}
_only: dict[str, tuple[str, ...]] = {}
"""The games that a seat can play, for those that play some only."""

_checks: dict[str, Callable[[Game], object]] = {}
"""What raises for a game that a seat cannot play, for those that find out by trying."""


def register_seat(
    name: str,
    factory: SeatFactory,
    *,
    games: tuple[str, ...] = (),
    check: Callable[[Game], object] | None = None,
) -> None:
    """Register a kind of seat; ``factory`` gets what the user wrote after ``NAME:``, or an empty string.

    A seat that plays some games only names them, so that it is refused at another table before anything starts; one
    that finds out by trying gives ``check``, which raises for a game at its start that it cannot play.

    The bridges offer it as an opponent, too.

    Raises:
        ValueError: The name is taken.
    """
    if _factories.setdefault(name, factory) is not factory:
        raise ValueError(f"a seat named {name!r} is registered already; choose another name")
    if games:
        _only[name] = games
    if check is not None:
        _checks[name] = check
    if name not in opponent_names():
        register_opponent(name, partial(factory, ""))


def reaches_outside(spec: str) -> bool:
    """Return whether a seat's name spells out a command, an address or a file: never take such a name from a
    stranger's file."""
    return spec.partition(":")[0] in ("uci", "gtp", "server", *(name for name, seat in SHIPPED.items() if seat.file))


def seat_names() -> list[str]:
    """Return the registered names, sorted."""
    return sorted([*_factories, "router", "server"])


def is_model(spec: str) -> bool:
    """Return whether a seat's name means a language model, here or behind a server, and no registered seat."""
    return spec.partition(":")[0] not in _factories


def seats_of(game: str) -> list[str]:
    """Return the registered seats that were written for a game, sorted."""
    return sorted(name for name, games in _only.items() if game in games)


def make_seat(spec: str, *, settings: Any = None, game: Game | None = None, seed: int | None = None) -> Seat:
    """Return a new seat for one match.

    Args:
        spec: See the module docstring.
        settings: `ReplySettings` for a language model.
        game: The game of the match, or another that begins alike: a language model reads the document of `next_token`
            (`palaestra.agents.document_reader`), where it would talk at another table, or without knowing the game.
        seed: Of the match; the game's if None.

    Raises:
        UnknownName: Neither a registered name nor a model that can be found.
        OptionError: The seat cannot have this parameter, or the model cannot read the document.
    """
    name, _, argument = spec.partition(":")
    if name == "server":
        from palaestra.agents.server import ServerSeat, parse_server

        return ServerSeat(parse_server(argument, settings), spec)
    if name == "router":
        from palaestra.agents.router import RouterSeat

        return RouterSeat(argument, settings)
    if name in _factories:
        try:
            seat = _factories[name](argument)
            return _AtHome(seat, _only[name]) if name in _only else seat
        except PalaestraError:
            raise
        except (TypeError, ValueError) as error:
            why = f" ({error})" if _number(argument) else "; it is a number"
            raise OptionError(f"seat {spec!r} cannot have the parameter {argument!r}{why}.") from None
    try:
        return _model_seat(spec, settings, game, seed)
    except UnknownName as error:
        raise _neither(spec, error) from None


class _AtHome:
    """A seat of some games: at a game that has one of them inside it plays that, and has no thought of its own."""

    def __init__(self, seat: Seat, games: tuple[str, ...]) -> None:
        self.seat, self.games = seat, games
        self.name = seat.name

    async def act(self, view: View) -> Reply:
        """Return the seat's reply, or a random one where no move of its game is asked for."""
        if view.game_id in self.games or view.inside_id() not in self.games:
            return await self.seat.act(view)
        inside = view.inside()
        return Reply(view.sample_action()) if inside is None else await self.seat.act(inside)

    def close(self) -> None:
        """Close the seat."""
        if (close := getattr(self.seat, "close", None)) is not None:
            close()


def check_seat(spec: str, game: str | None = None, options: Mapping[str, Any] | None = None) -> None:
    """Find out, without loading a model, whether `make_seat` knows the name and the seat can play the game.

    Args:
        spec: As for `make_seat`.
        game: The game's name; any if None.
        options: The game's options: where it is played around another one, seats of that one can sit, too.

    Raises:
        UnknownName, OptionError: As for `make_seat`; the second one for another game, too.
        ModelError: The adapter that is named cannot be found.
    """
    from palaestra.agents.models import adapters
    from palaestra.agents.models.sources import ModelSource

    name = spec.partition(":")[0]
    if name in ("router", "server"):
        make_seat(spec)
        if name == "router" and game == DOCUMENTS:
            raise OptionError(f"a router talks, and at {DOCUMENTS} a model reads; seat the model with its adapter.")
        return
    if name in _factories:
        make_seat(spec)
        if game is not None and name in _only and not _at_home(name, game, options or {}):
            games = " and ".join(_only[name])
            raise OptionError(f"the {name!r} seat plays {games} only; seat it there, not at {game}.")
        if game is not None and name in _checks:
            _checks[name](make(game, **(options or {})))
        return
    try:
        source = ModelSource.parse(spec)
    except UnknownName as error:
        raise _neither(spec, error) from None
    if source.adapter is not None:
        adapters.resolve(source.adapter)


def _at_home(name: str, game: str, options: Mapping[str, Any]) -> bool:
    inside = None if game in _only[name] else make(game, **options).inside
    return game in _only[name] or (inside is not None and inside.id in _only[name])


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _neither(spec: str, error: UnknownName) -> UnknownName:
    """Return what to say of a name that is no model: the nearest of all names."""
    if error.nearest is not None:
        return error
    return UnknownName("seat", spec, seat_names(), f"Seats are {', '.join(seat_names())}, or a model.")


def _model_seat(spec: str, settings: Any, game: Game | None, seed: int | None) -> Seat:
    if game is not None and game.id == DOCUMENTS:
        return _document_seat(spec, settings, game, game.seed if seed is None else seed)
    from palaestra.agents.language_model import LanguageModelSeat

    engine, codec, policy = _engine(spec)
    return LanguageModelSeat(engine, codec, policy=policy, settings=settings, name=spec)


def _document_seat(spec: str, settings: Any, game: Game, seed: int) -> Seat:
    from palaestra.envs.games.next_token import NextToken

    assert isinstance(game, NextToken)
    reader, codec, policy = _reader(spec)
    from palaestra.agents.document_reader import DocumentSeat

    temperature = 1.0 if settings is None else settings.temperature
    return DocumentSeat(reader, codec, policy, game, seed, temperature=temperature, name=spec)


@lru_cache(maxsize=4)
def _loaded(spec: str) -> Any:
    """Load a model once per process."""
    from palaestra.agents.models.sources import ModelSource

    return ModelSource.parse(spec).load()  # a wrong name is found before torch is imported


@lru_cache(maxsize=4)
def _engine(spec: str) -> tuple[Any, Any, str]:
    """Return what a model talks with: engine, codec and policy."""
    loaded = _loaded(spec)
    from palaestra.agents.engines.base import BASE
    from palaestra.agents.engines.transformers_engine import TransformersEngine

    engine = TransformersEngine(loaded.model)
    if loaded.adapter is None:
        return engine, loaded.codec, BASE
    engine.add_policy(spec, loaded.adapter)
    return engine, loaded.codec, spec


@lru_cache(maxsize=4)
def _reader(spec: str) -> tuple[Any, Any, str]:
    """Return what a model reads documents with: reader, codec and policy."""
    loaded = _loaded(spec)
    from palaestra.agents.document_reader import DocumentReader
    from palaestra.agents.engines.base import BASE
    from palaestra.agents.vocabularies import ModelVocabulary

    reader = DocumentReader(loaded.model, ModelVocabulary(loaded.codec).start)
    if loaded.adapter is None:
        return reader, loaded.codec, BASE
    reader.add_policy(spec, loaded.adapter)
    return reader, loaded.codec, spec


def _searchable(game: Game) -> object:
    from palaestra.envs.games.spiel_twins import to_spiel

    return to_spiel(game)


for _name, _shipped in SHIPPED.items():
    register_seat(
        _name,
        partial(_shipped.made, _name),
        games=_shipped.games,
        check=_searchable if _name == "mcts" else None,
    )
register_seat("random", lambda argument: RandomSeat(int(argument) if argument else 0))
