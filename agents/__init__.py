"""Who can sit in a seat, and the models and engines behind those who are language models.

Importing this package is light; torch and transformers are imported when a model is first loaded.
"""

from palaestra.agents import vocabularies as _vocabularies  # noqa: F401  documents learn of models' tokenizers
from palaestra.agents.seats import check_seat, is_model, make_seat, register_seat, seat_names
from palaestra.envs.seat import RandomSeat, Scripted

__all__ = ["RandomSeat", "Scripted", "check_seat", "is_model", "make_seat", "register_seat", "seat_names"]
