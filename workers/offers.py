"""Programs that other jobs offer to a run's pool: made to its store at any time, taken in between two iterations.

Offers and what became of them are lines of the run's event log, so that a replay takes the same in at the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from evolve.archive.store import Store, each_event
from evolve.program import Program

OFFERED = "offer"
TAKEN = "offer_taken"
START = "start"
"""The event of a run that did not begin with the game's seed program: ``state`` is the PSRO state it began with."""


@dataclass(frozen=True)
class Offer:
    """A program for the pool of ``player``, found by the run named ``origin``."""

    program_id: str
    source: str
    player: int
    origin: str

    def event(self, kind: str, **more: object) -> dict[str, object]:
        fields = {"program": self.program_id, "source": self.source, "player": self.player, "origin": self.origin}
        return {"type": kind, **fields, **more}


def make(store: Store, offer: Offer) -> bool:
    """Leaves an offer in a run's store; the same program for the same player once. False if it was there."""
    known = {(found.program_id, found.player) for found in _offers(each_event(store), OFFERED)}
    if (offer.program_id, offer.player) in known:
        return False
    store.log(offer.event(OFFERED))
    return True


def from_store(store: Store) -> Callable[[int], list[tuple[int, Program]]]:
    """For a driver: asked before each search with the number of responses so far, all programs taken in up to there.

    What is new is written down as taken; what was is given again, so that a resumed run misses none."""

    def take(responses: int) -> list[tuple[int, Program]]:
        events = [event for event in each_event(store) if event["type"] in (OFFERED, TAKEN)]
        taken = {(offer.program_id, offer.player) for offer in _offers(events, TAKEN)}
        for offer in _offers(events, OFFERED):
            if (offer.program_id, offer.player) not in taken:
                store.log(offer.event(TAKEN, responses=responses))
        return [(offer.player, Program(offer.source)) for offer in _offers(each_event(store), TAKEN)]

    return take


def from_events(events: Sequence[Mapping[str, object]]) -> Callable[[int], list[tuple[int, Program]]]:
    """For a replay: what the run had taken in at each place."""

    def take(responses: int) -> list[tuple[int, Program]]:
        known = [e for e in events if e["type"] == TAKEN and int(str(e["responses"])) <= responses]
        return [(offer.player, Program(offer.source)) for offer in _offers(known, TAKEN)]

    return take


def _offers(events: Iterable[Mapping[str, object]], kind: str) -> list[Offer]:
    return [
        Offer(str(e["program"]), str(e["source"]), int(str(e["player"])), str(e["origin"]))
        for e in events
        if e["type"] == kind
    ]
