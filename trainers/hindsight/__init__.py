"""Hindsight: what should have been said, asked of a reference that never moves, and tried out before it is believed.

Words. A *claim* says that at one turn of an episode another reply would have done better. Its *gain* is the mean
difference of the player's return between continuations with the proposed reply and with the one that was given, paired
by their seeds (common random numbers), with a one-sided lower bound; a claim is *accepted* if that is above 0.
"""
