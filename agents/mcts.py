"""A seat that searches: OpenSpiel's Monte Carlo tree search (UCT, random play-outs), where information is perfect.

Kocsis & Szepesvári (2006). Each simulation walks down the tree by upper confidence bounds, adds a node, plays on at
random to the end and counts the result on the way back. Proven wins and losses are backed up exactly (*solve*), so a
forced mate within reach of the simulations is found for certain.

The search runs on a thread of its own, outside Python's lock, so other matches go on. It is seeded by the request,
and a new tree is grown for every move: the same position asked with the same seed gives the same answer.
"""

from __future__ import annotations

from typing import Any

import pyspiel

from palaestra.agents.threads import in_thread
from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError, OptionError, PalaestraError
from palaestra.envs.game import Game
from palaestra.envs.games.spiel_twins import SpielTwin, to_spiel
from palaestra.envs.seat import View
from palaestra.envs.seeding import derive


class UnsearchableGame(PalaestraError, RuntimeError):
    """The game's rules do not fit the search; the message says why."""


class MctsSeat:
    """Plays the best move of ``simulations`` simulated games.

    Args:
        simulations: Simulations a move.
        exploration: The constant of the confidence bound, in units of a game's results; OpenSpiel suggests 2 for
            results between -1 and 1.
        rollouts: Random play-outs per simulation.
        memory_mb: Size at which the tree stops growing.

    Raises:
        OptionError: A number that makes no sense.

    While playing:
        InformationError: The game has hidden information, so its state may not be looked into.
        NoTwin, UnsearchableGame: The game cannot be searched by OpenSpiel.
    """

    def __init__(
        self, simulations: int = 1000, *, exploration: float = 2.0, rollouts: int = 1, memory_mb: int = 500
    ) -> None:
        if simulations < 1 or rollouts < 1 or memory_mb < 1 or not exploration >= 0:
            raise OptionError(
                f"mcts with {simulations} simulations, {rollouts} rollouts, exploration {exploration:g} and "
                f"{memory_mb} MB makes no sense; all must be positive."
            )
        self.simulations = simulations
        self.exploration = exploration
        self.rollouts = rollouts
        self.memory_mb = memory_mb
        self.name = f"mcts:{simulations}"

    async def act(self, view: View) -> Reply:
        """Return the best move found, and in ``info`` what the search cost."""
        if view.facts.information != "perfect":
            raise InformationError(
                f"mcts searches the true state, which {view.game_id} hides from its players; seat random, human or a "
                "model there."
            )
        if view.facts.simultaneous:
            raise UnsearchableGame(f"mcts searches moves in turn, but in {view.game_id} players move at once.")
        if view.facts.enumerable and len(only := view.legal_actions()) == 1:
            return Reply(only[0], info={"simulations": 0})
        twin = to_spiel(view.clone_game(), view.player)
        number = await in_thread(self._search, twin, view.seed, view.game_id)
        return Reply(twin.text_action(number), info={"simulations": self.simulations})

    def best_action(self, game: Game, seed: int = 0) -> str:
        """Return the move for the player to move in ``game``, without a match around it."""
        twin = to_spiel(game)
        return twin.text_action(self._search(twin, seed, game.id))

    def _search(self, twin: SpielTwin, seed: int, game_id: str) -> int:
        spiel: Any = twin.state.get_game()
        if spiel.get_type().reward_model != pyspiel.GameType.RewardModel.TERMINAL:
            raise UnsearchableGame(f"mcts needs a result at the end only, but {game_id} rewards moves on the way.")
        try:
            evaluator = pyspiel.RandomRolloutEvaluator(self.rollouts, derive(seed, "play-outs") % (1 << 31))
            bot = pyspiel.MCTSBot(
                spiel,
                evaluator,
                self.exploration,
                self.simulations,
                self.memory_mb,
                True,
                derive(seed, "tree") % (1 << 31),
                False,
            )
            number = int(bot.step(twin.state))
            if number in twin.numbers.values():
                return number
            # Our rules may be narrower than OpenSpiel's, as superko is: the most visited of the moves that are legal.
            tried = [child for child in bot.mcts_search(twin.state).children if child.action in twin.numbers.values()]
            return int(max(tried, key=lambda child: child.explore_count).action)
        except pyspiel.SpielError as error:
            raise UnsearchableGame(f"mcts cannot search {game_id}: {' '.join(str(error).split())}") from None


__all__ = ["MctsSeat", "UnsearchableGame"]
