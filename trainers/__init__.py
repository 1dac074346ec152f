"""From episodes to better adapters: the RLlib algorithm, credit rules, the token loss, runs and their folders."""
