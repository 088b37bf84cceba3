"""What happens to islands between proposals: migration, the reset of the weaker half, a new start after stagnation.

``upkeep.lua`` mirrors this module operation by operation.
"""

from __future__ import annotations

from collections.abc import Sequence

from evolve.archive.core import ArchiveSettings
from evolve.archive.island import Island


def migrate(islands: Sequence[Island], settings: ArchiveSettings, uniforms: Sequence[float]) -> int:
    """Each island's best ``migrants`` are copied to the next island of the ring, or to another drawn by
    ``uniforms[i]``, all as they were before the move. Returns how many were new to their island."""
    count, arrived = len(islands), 0
    travellers = [island.ranking[: settings.migrants] for island in islands]
    for index, group in enumerate(travellers):
        step = 1
        if settings.migration == "random" and count > 1:
            step = 1 + int(uniforms[index] * (count - 1))
        target = islands[(index + step) % count]
        for traveller in group:
            if target.find(traveller.id) is None:
                target.register(traveller)
                arrived += 1
    return arrived


def reset_weaker_half(islands: Sequence[Island], uniforms: Sequence[float]) -> int:
    """Empties the weaker half (best score, then mean, then index) and founds each anew with a survivor's best. Returns
    how many islands these were.

    ``uniforms[i]`` chooses the surviving island whose best refounds island i.
    """
    by_strength = sorted(range(len(islands)), key=lambda i: (islands[i].ranking[0].score, islands[i].mean, i))
    weak = by_strength[: len(islands) // 2]
    survivors = sorted(by_strength[len(islands) // 2 :])
    for index in weak:
        islands[index].refound(islands[survivors[int(uniforms[index] * len(survivors))]].ranking[0])
    return len(weak)


def reseed(islands: Sequence[Island], index: int, uniform: float) -> bool:
    """Founds island ``index`` anew with the best of another one, drawn by ``uniform``. False if there is no other."""
    if len(islands) < 2:
        return False
    other = (index + 1 + int(uniform * (len(islands) - 1))) % len(islands)
    islands[index].refound(islands[other].ranking[0])
    return True
