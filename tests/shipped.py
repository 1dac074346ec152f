"""What this package registers itself, whatever other tests of the same process have registered beside it."""

from palaestra.envs import entry, game_ids

GAMES = [name for name in game_ids() if str(entry(name).factory).startswith("palaestra.")]
