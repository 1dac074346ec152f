"""Circuits: what a behaviour runs on, how well that carries it, and how one differs from another."""

from palaestra.interp.circuits.attack import Attack, attack
from palaestra.interp.circuits.circuit import Circuit, discover
from palaestra.interp.circuits.edit import EditEffect, edit_effect, edited
from palaestra.interp.circuits.evaluate import Curve, Evaluation, curve, evaluate
from palaestra.interp.circuits.run import run_circuit

__all__ = [
    "Attack",
    "Circuit",
    "Curve",
    "EditEffect",
    "Evaluation",
    "attack",
    "curve",
    "discover",
    "edit_effect",
    "edited",
    "evaluate",
    "run_circuit",
]
