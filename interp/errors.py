"""What can go wrong when a model is opened, drawn once; every message names cause and cure."""

from __future__ import annotations

from palaestra.envs.errors import PalaestraError


class InterpError(PalaestraError, ValueError):
    """A model, adapter, prompt or number that an analysis cannot be made of."""


class UnsupportedArchitecture(InterpError):
    """The model's type is in no table of `palaestra.interp.architecture`, or does not compute what its table says."""


class AdapterNotLanded(InterpError):
    """An adapter's weights are not in the model, or change nothing, so that before and after would be one model."""


class UnequalTokens(InterpError):
    """A clean and a corrupt prompt do not line up token by token."""
