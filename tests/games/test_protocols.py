"""Asking a game for its protocols neither computes its brief each time nor confuses classes."""

from __future__ import annotations

from games.core import ActionHistoryGame, SourceGame
from games.protocols import implements
from games.registry import make_game
from games.repeated_rps import RepeatedRPS
from games.simulation import SimulatedGame


def test_the_answers_are_those_of_isinstance() -> None:
    games = [make_game(name) for name in ("repeated_rps", "repeated_leduc")]
    for game in games * 2:
        for protocol in (ActionHistoryGame, SourceGame, SimulatedGame):
            assert implements(game, protocol) is isinstance(game, protocol)


def test_properties_are_computed_once_for_a_class() -> None:
    computed = []

    class Counted(RepeatedRPS):
        @property
        def brief(self):
            computed.append(1)
            return super().brief

    for _ in range(5):
        assert implements(Counted(), ActionHistoryGame)
    assert len(computed) <= 1
