"""Seeds of matches, of seats and of episodes, all derived from one seed by keyed hashing.

No seat can compute another seat's seed or the episode's from its own, because each is a keyed BLAKE2b
digest of the match seed. The same arguments give the same seeds on every machine.
"""

from __future__ import annotations

import hashlib

import numpy as np

MATCH_SEED_BITS = 63
SEAT_SEED_BITS = 32
"""What ``numpy.random.RandomState`` and ``numpy.random.seed`` still accept; policies use both."""

_KEY_BYTES = 16


def _digest(seed: int, *labels: str | int) -> int:
    """256 bits of ``labels`` under the key ``seed``; every label is framed, so ("a", "b") differs from ("ab",)."""
    try:
        key = seed.to_bytes(_KEY_BYTES, "big")
    except OverflowError:
        raise ValueError(f"a seed is an integer from 0 to 2**{8 * _KEY_BYTES} - 1, not {seed}") from None
    digest = hashlib.blake2b(key=key, digest_size=32)
    for label in labels:
        kind = b"s" if isinstance(label, str) else b"i"
        text = str(label).encode("utf-8", "surrogatepass")
        digest.update(kind + len(text).to_bytes(8, "big") + text)
    return int.from_bytes(digest.digest(), "big")


def match_seed(seed: int, *labels: str | int) -> int:
    """Seed of one match, in ``[0, 2**63)``, from a run's ``seed`` and what tells this match from others."""
    return _digest(seed, "match", *labels) >> (256 - MATCH_SEED_BITS)


def seat_seed(match_seed: int, seat: int) -> int:
    """Seed handed to the policy of ``seat``, in ``[0, 2**32)``."""
    return _digest(match_seed, "seat", seat) >> (256 - SEAT_SEED_BITS)


def episode_rng(match_seed: int) -> np.random.Generator:
    """Generator of the game's own chance: cards, dealers, starting positions."""
    return np.random.default_rng(_digest(match_seed, "episode"))


def sampling_rng(match_seed: int, seat: int) -> np.random.Generator:
    """Generator with which the referee samples the distributions that the policy of ``seat`` returns.

    One per seat, so that what one player mixes over does not shift the draws of another.
    """
    return np.random.default_rng(_digest(match_seed, "sampling", seat))
