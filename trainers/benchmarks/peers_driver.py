"""Plays random games in another library's environments; `palaestra bench peers` runs it with that library's Python.

It needs nothing of palaestra. One line of JSON comes in, ``{"peer": ..., "game": ..., "steps": ...}``, and one goes
out: ``{"steps": ..., "games": ...}``, or ``{"error": ...}``. Games are played through the library's own interface, with
the observation taken at every step; who moves knows the legal moves from the library, or where it does not tell them,
from bookkeeping that costs next to nothing.
"""

# mypy: ignore-errors
# It runs with other interpreters, beside libraries that are not installed here.

import contextlib
import io
import json
import random
import sys


def textarena(game, steps):
    import textarena as ta

    name, mover = {
        "tic_tac_toe": ("TicTacToe-v0", _TextArenaTicTacToe),
        "connect_four": ("ConnectFour-v0", _TextArenaConnectFour),
        "kuhn_poker": ("KuhnPoker-v0", _TextArenaKuhn),
        "liars_dice": ("LiarsDice-v0", _TextArenaLiarsDice),
        "chess": ("Chess-v0", _TextArenaChess),
    }[game]
    done_steps = games = 0
    while done_steps < steps:
        env = ta.make(name)
        env.reset(num_players=2, seed=games)
        choose = mover(env, random.Random(games))
        over = False
        while not over:
            env.get_observation()
            over, _ = env.step(choose())
            done_steps += 1
        env.close()
        games += 1
    return done_steps, games


class _TextArenaTicTacToe:
    def __init__(self, env, dice):
        self.left = list(range(9))
        dice.shuffle(self.left)

    def __call__(self):
        return f"[{self.left.pop()}]"


class _TextArenaConnectFour:
    def __init__(self, env, dice):
        self.left = [column for column in range(7) for _ in range(6)]
        dice.shuffle(self.left)

    def __call__(self):
        return f"[col {self.left.pop()}]"


class _TextArenaKuhn:
    def __init__(self, env, dice):
        self.state, self.dice = env.state, dice

    def __call__(self):
        return f"[{self.dice.choice(list(self.state.game_state['current_legal_action_tree']))}]"


class _TextArenaLiarsDice:
    def __init__(self, env, dice):
        self.state, self.dice = env.state, dice

    def __call__(self):
        bid = self.state.game_state["current_bid"]
        if bid["quantity"] and self.dice.random() < 0.4:
            return "[Call]"
        if bid["quantity"] >= sum(self.state.game_state["remaining_dice"].values()):
            return "[Call]"
        return f"[Bid: {bid['quantity'] + 1}, {self.dice.randint(1, 6)}]"


class _TextArenaChess:
    def __init__(self, env, dice):
        self.state, self.dice = env.state, dice

    def __call__(self):
        return f"[{self.dice.choice(list(self.state.game_state['board'].legal_moves)).uci()}]"


def pettingzoo(game, steps):
    import importlib

    name, options = {
        "tic_tac_toe": ("tictactoe_v3", {}),
        "connect_four": ("connect_four_v3", {}),
        "chess": ("chess_v6", {}),
        "go": ("go_v5", {"board_size": 9, "komi": 7.5}),
        "leduc_poker": ("leduc_holdem_v4", {}),
    }[game]
    env = importlib.import_module(f"pettingzoo.classic.{name}").env(**options)
    done_steps = games = 0
    while done_steps < steps:
        env.reset(seed=games)
        for agent in env.agent_iter():
            observation, _, terminated, truncated, info = env.last()
            if terminated or truncated:
                env.step(None)
                continue
            mask = observation["action_mask"] if isinstance(observation, dict) else info["action_mask"]
            env.step(env.action_space(agent).sample(mask))
            done_steps += 1
        games += 1
    return done_steps, games


def kaggle(game, steps):
    from kaggle_environments import make

    name, configuration = {
        "tic_tac_toe": ("open_spiel_tic_tac_toe", {"includeLegalActions": True}),
        "connect_four": ("connectx", {}),
        "chess": ("open_spiel_chess", {"includeLegalActions": True}),
        "go": ("open_spiel_go", {"includeLegalActions": True}),
    }[game]
    done_steps = games = 0
    while done_steps < steps:
        env = make(name, configuration={**configuration, "seed": games})
        played = env.run(["random", "random"])
        # The first state is the opening; its OpenSpiel games have one more, in which nobody moves yet.
        done_steps += len(played) - (2 if name.startswith("open_spiel") else 1)
        games += 1
    return done_steps, games


PEERS = {"textarena": textarena, "pettingzoo": pettingzoo, "kaggle-environments": kaggle}


def main():
    out = sys.stdout
    for line in sys.stdin:
        asked = json.loads(line)
        random.seed(0)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                steps, games = PEERS[asked["peer"]](asked["game"], asked["steps"])
            answer = {"steps": steps, "games": games}
        except BaseException as error:
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]}
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
