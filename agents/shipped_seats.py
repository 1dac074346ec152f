"""The seats that come with Palaestra: what makes each, what may be written after its name, and where it sits.

Nothing of this is imported before somebody asks for a seat of that name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from palaestra.envs.errors import OptionError
from palaestra.envs.seat import Seat

WRITTEN = str
"""Takes whatever is written after the name, or nothing, as it is."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """How to make a seat.

    Attributes:
        place: What makes it, as ``module:name`` within `palaestra.agents`.
        games: The games it can play; all if empty.
        takes: What reads the text after its name; None if there may be none. A number may be left out, `WRITTEN` may be
            anything.
        given: What it is made with before that.
        file: What `palaestra detector fit` calls the detector whose file has to be named.
    """

    place: str
    games: tuple[str, ...] = ()
    takes: Callable[[str], Any] | None = None
    given: tuple[Any, ...] = ()
    file: str = ""

    def made(self, name: str, argument: str) -> Seat:
        """Return a seat.

        Args:
            name: What it is called.
            argument: What was written after its name and a colon.

        Raises:
            OptionError: No file where one is needed, or what the seat itself refuses.
            ValueError: A text where there is none, or one that is no number.
        """
        if argument and self.takes is None:
            raise ValueError("it has none")
        if self.file and not argument:
            raise OptionError(
                f"seat {name!r} needs the file of a detector, such as {name}:FILE.json; `palaestra detector fit "
                f"{self.file}` writes one."
            )
        module, _, path = self.place.partition(":")
        made: Any = importlib.import_module(f"palaestra.agents.{module}")
        for part in path.split("."):
            made = getattr(made, part)
        taken = [self.takes(argument)] if self.takes is not None and (argument or self.takes is WRITTEN) else []
        seat: Seat = made(*self.given, *taken)
        return seat


BARGAINS = ("negotiation", "bargaining")
CHESS = ("chess", "chess_puzzle")
READERS = ("covert_channel", "encoded_reasoning")
REASONING = ("encoded_reasoning", "cot_relay", "recovery")
SURPRISE = ("terminal_surprise", "hindsight_bias")

SHIPPED = {
    "anchored": Shipped("scripted_surprise:Posterior.anchored", SURPRISE, float),
    "bag": Shipped("detectors:BagDetector.of", READERS, WRITTEN, file="bag"),
    "clairvoyant": Shipped("scripted_review:Clairvoyant", ("review",)),
    "codebook": Shipped("scripted_covert:Codebook", ("covert_channel",), float),
    "codebreaker": Shipped("decoder:CodeBreaker.of", READERS, WRITTEN, file="decoder"),
    "conceder": Shipped("scripted_negotiators:Conceder", BARGAINS, float),
    "embedding": Shipped("embedding_detector:EmbeddingDetector.of", READERS, WRITTEN, file="embedding"),
    "equilibrium": Shipped("equilibrium:Equilibrium", ("kuhn_poker", "auction", "ultimatum"), float),
    "fair": Shipped("scripted_negotiators:Fair", BARGAINS),
    "fixer": Shipped("scripted_covert:Fixer", ("covert_channel",)),
    "gnugo": Shipped("programs.gtp:GtpSeat.gnugo", ("go",), WRITTEN),
    "greedy": Shipped("greedy:GreedySeat"),
    "gtp": Shipped("programs.gtp:GtpSeat.of", ("go",), WRITTEN),
    "half": Shipped("scripted_reasoning:Reasoner.half", REASONING, float),
    "honest": Shipped("scripted_covert:Honest", ("covert_channel",), float),
    "human": Shipped("human:HumanSeat"),
    "leaner": Shipped("scripted_reasoning:Leaner", ("encoded_reasoning", "cot_relay")),
    "material": Shipped("greedy:MaterialSeat", ("chess",)),
    "mcts": Shipped("mcts:MctsSeat", takes=int),
    "parrot": Shipped("scripted_reasoning:Reasoner.parrot", REASONING),
    "posterior": Shipped("scripted_surprise:Posterior", SURPRISE),
    "rate": Shipped("scripted_surprise:Rate", SURPRISE, float),
    "regex": Shipped("detectors:RegexDetector", READERS, WRITTEN),
    "shapley": Shipped("scripted_coalition:Shapley", ("coalition",), float),
    "sleuth": Shipped("scripted_mafia:Sleuth", ("mafia",), float),
    "stockfish": Shipped("programs.uci:strength", CHESS, WRITTEN),
    "swapper": Shipped("scripted_covert:Swapper", ("covert_channel",)),
    "teller": Shipped("scripted_minds:Teller", ("open_minds",), float),
    "tit-for-tat": Shipped("scripted_negotiators:TitForTat", BARGAINS, float),
    "tracer": Shipped("scripted_surprise:Tracer", SURPRISE),
    "tracker": Shipped("scripted_reasoning:Reasoner", REASONING),
    "uci": Shipped("programs.uci:UciSeat.of", CHESS, WRITTEN),
    "warlord": Shipped("scripted_risk:Warlord", ("risk",), float),
    "worker": Shipped("scripted_recovery:Worker", ("recovery",), WRITTEN),
    **{
        name: Shipped("scripted_liars:LiarsPlayer", ("liars",), given=(name,))
        for name in ("candid", "fibber", "decoder", "babbler", "whisperer")
    },
}
