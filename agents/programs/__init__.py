"""Chess and Go programs as seats: any engine that speaks UCI or GTP, started by a command line."""

from palaestra.agents.programs.gtp import GtpSeat
from palaestra.agents.programs.pool import ProgramFailed
from palaestra.agents.programs.uci import UciSeat

__all__ = ["GtpSeat", "ProgramFailed", "UciSeat"]
