"""A trained network as a policy program: its weights at half precision in the text, and numpy to run them."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Mapping
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from evolve.reinforcement.core import UNITS
from evolve.reinforcement.features import Features, source_of

_NAMES = ("kernel", "bias", "head", "head_bias")


def policy_program(
    weights: Mapping[str, NDArray[np.float32]], features: Features, num_actions: int, steps: int, opponents: int
) -> str:
    """The text of the program that plays the network ``weights`` (see :mod:`evolve.reinforcement.network`), which has
    been trained for ``steps`` moves against so many ``opponents``. The value's part of the head stays out of it."""
    told = {name: np.asarray(weights[name]) for name in _NAMES}
    told["head"], told["head_bias"] = told["head"][:, :num_actions], told["head_bias"][:num_actions]
    numbers = np.concatenate([told[name].astype("<f2").ravel() for name in _NAMES])
    template = resources.files("evolve.reinforcement").joinpath("policy.txt").read_text(encoding="utf-8")
    return template.format(
        units=UNITS,
        num_actions=num_actions,
        features=source_of(features),
        steps=steps,
        opponents=opponents,
        weights=textwrap.fill(base64.b64encode(numbers.tobytes()).decode(), 120),
        shapes=[told[name].shape for name in _NAMES],
    )
