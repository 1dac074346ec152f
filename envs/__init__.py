"""Games, matches, episodes, replays, and bridges to other ecosystems.

``make`` starts a game, ``play`` (or `Match`, a coroutine) seats players at it, ``read_replay`` reads what was
recorded. Importing this package needs neither torch nor ray, and registers every game as a gymnasium environment.
"""

from importlib import import_module
from types import ModuleType

from palaestra.envs.bridges.ids import register_ids
from palaestra.envs.bridges.opponents import register_opponent
from palaestra.envs.episode import Attempt, Episode, Reply, Segment, TokenRecord, Turn
from palaestra.envs.errors import PalaestraError
from palaestra.envs.events import Event
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.match import Match, MatchRules, OnFailure, play
from palaestra.envs.registry import entry, game_ids, make, register, register_family
from palaestra.envs.replay import ReplayWriter, read_replay, resume, verify, write_replay
from palaestra.envs.seat import RandomSeat, Scripted, Seat, View

_VERSIONS = {
    "cot_relay": 7,
    "covert_channel": 7,
    "encoded_reasoning": 8,
    "hindsight_bias": 5,
    "mafia": 1,
    "recovery": 3,
    "review": 1,
    "terminal_surprise": 5,
}
"""Of games that are not at version 0, so that they can be listed without being imported."""

for _id, _path in {
    "tic_tac_toe": "tic_tac_toe:TicTacToe",
    "kuhn_poker": "kuhn_poker:KuhnPoker",
    "chess": "chess:Chess",
    "chess_puzzle": "chess_puzzle:ChessPuzzle",
    "negotiation": "negotiation:Negotiation",
    "bargaining": "bargaining:Bargaining",
    "coalition": "coalition:Coalition",
    "go": "go:Go",
    "mafia": "mafia:Mafia",
    "recovery": "recovery:Recovery",
    "review": "review:Review",
    "risk": "risk:Risk",
    "ultimatum": "ultimatum:Ultimatum",
    "contest": "contest:Contest",
    "auction": "auction:Auction",
    "covert_channel": "covert_channel:CovertChannel",
    "matrix_game": "matrix_game:MatrixGame",
    "terminal_surprise": "terminal_surprise:TerminalSurprise",
    "hindsight_bias": "hindsight_bias:HindsightBias",
    "encoded_reasoning": "encoded_reasoning:EncodedReasoning",
    "cot_relay": "cot_relay:CotRelay",
    "next_token": "next_token:NextToken",
}.items():
    register(_id, f"palaestra.envs.games.{_path}", version=_VERSIONS.get(_id))
register("liars", "palaestra.envs.games.liars:Liars", visibility="public", version=6)
register("open_minds", "palaestra.envs.games.open_minds:OpenMinds", visibility="public", version=1)
register_ids()


def _open_spiel() -> ModuleType:
    """Return the bridge, imported at first use: OpenSpiel's register is large."""
    return import_module("palaestra.envs.games.open_spiel")


def _textarena() -> ModuleType:
    """Return the bridge, imported at first use: the extra may not be there."""
    return import_module("palaestra.envs.games.textarena")


register_family("textarena/", lambda id: _textarena().resolve(id), lambda: _textarena().members())
register_family("openspiel/", lambda id: _open_spiel().resolve(id), lambda: _open_spiel().members())

__all__ = [
    "Attempt",
    "Episode",
    "Event",
    "Game",
    "GameFacts",
    "Match",
    "MatchRules",
    "OnFailure",
    "PalaestraError",
    "RandomSeat",
    "ReplayWriter",
    "Reply",
    "Scripted",
    "Seat",
    "Segment",
    "TokenRecord",
    "Turn",
    "View",
    "entry",
    "game_ids",
    "make",
    "play",
    "read_replay",
    "register",
    "register_family",
    "register_opponent",
    "resume",
    "verify",
    "write_replay",
]
