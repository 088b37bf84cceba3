"""Repeated Leduc hold'em: 100 hands of ``leduc_poker``, the first to act alternating, who begins drawn at random.

This is the CSRO paper's game, not OpenSpiel's ``repeated_leduc_poker``, in which player 0 acts first in every
hand and both private cards are shown even after a fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from games.briefs import policy_class_api
from games.core import FloatArray, Game, GameBrief, GameSpec, Observation, PolicyFactory
from games.leduc import (
    CALL,
    FOLD,
    MAX_LOSS,
    NUM_ACTIONS,
    NUM_CARDS,
    RAISE,
    Betting,
    LeducHand,
    infoset_key,
    infosets,
    rank,
)

MAX_HANDS = 100_000

_RULES = """\
Repeated Leduc hold'em, a small poker game for two players. A match is {num_hands} hands, and chips never run out.
The deck has six cards: two each of jack (0), queen (1) and king (2), shuffled for every hand. In a hand each player
antes 1 chip and is dealt one private card. The first betting round follows, then one public card is turned,
then the second betting round. The player who acts first acts first in both rounds of the hand; who acts first in the
first hand is drawn at random and alternates after that.
Actions: 0 fold, 1 call (a check when there is nothing to call), 2 raise. A raise adds 2 chips to the amount to match in
the first round and 4 in the second; at most two raises are allowed in a round, and folding only when facing one.
A call, other than a check that opens the round, ends the round. If a player folds, the other wins the pot. Otherwise
both show: a private card equal to the public card wins, else the higher card, and equal cards split the pot.
A player's return is its chips won minus chips lost over all {num_hands} hands; the two returns add to 0."""

_ACT_RETURNS = """\
act returns 0 (fold), 1 (call) or 2 (raise), one of observation["legal_actions"], or a list of 3 probabilities
[fold, call, raise] that add to 1, with 0 for illegal actions, from which the referee draws."""

_OBSERVATION = """
observation is a dict:
  "player": int, this player's seat
  "hand", "num_hands": int, the number of this hand (0 at first) and of all hands in the match
  "acts_first": bool, whether this player acts first in this hand
  "private_card": int, the own card, 0 jack, 1 queen, 2 king
  "public_card": int, or None before it is turned
  "betting": list of one list of actions for each betting round begun, oldest action first; in each of them the player
      who acts first and the other take turns
  "chips": [own, opponent's], chips put into this hand so far
  "legal_actions": list of int
  "total": int, chips won so far in the hands before this one
  "last_hand": None in hand 0, else a dict of the hand before: "acts_first", "private_card", "opponent_card" (None
      unless it was shown), "public_card" (None if it was not turned), "betting", "result" (chips won)"""

_SEED_PROGRAM = '''\
# EVOLVE-BLOCK-START
class Policy:
    """Raises with a good hand, calls with a middling one, and folds the rest to a bet."""

    def __init__(self, player, seed):
        self.raise_from = 2
        self.call_from = 1

    def act(self, observation):
        legal = observation["legal_actions"]
        strength = observation["private_card"]
        if observation["public_card"] == observation["private_card"]:
            strength = strength + 3
        choice = 0
        if strength >= self.call_from:
            choice = 1
        if strength >= self.raise_from:
            choice = 2
        return choice if choice in legal else 1
# EVOLVE-BLOCK-END
'''


@dataclass(frozen=True)
class RepeatedLeduc:
    """Symmetric and zero-sum: seats differ only in who acts first, which is drawn at random."""

    num_hands: int = 100

    def __post_init__(self) -> None:
        if type(self.num_hands) is not int or not 1 <= self.num_hands <= MAX_HANDS:
            raise ValueError(f"num_hands must be an integer from 1 to {MAX_HANDS}, not {self.num_hands!r}")

    @property
    def spec(self) -> GameSpec:
        most = float(MAX_LOSS * self.num_hands)
        return GameSpec(
            name="repeated_leduc",
            num_players=2,
            num_actions=NUM_ACTIONS,
            symmetric=True,
            utility="zero_sum",
            return_range=(-most, most),
        )

    @property
    def brief(self) -> GameBrief:
        return GameBrief(
            rules=_RULES.format(num_hands=self.num_hands),
            policy_api=policy_class_api(_ACT_RETURNS, _OBSERVATION),
            seed_program=_SEED_PROGRAM,
            smoke_observations=self._smoke_observations(),
        )

    @staticmethod
    def features(observation: Mapping[str, Any], num_actions: int) -> list[float]:
        """Who acts first, the cards, the betting, and what the hand before came to."""
        seen = [float(observation["acts_first"])]
        last = observation["last_hand"] or {}
        for card in (observation["private_card"], observation["public_card"], last.get("opponent_card")):
            seen += [float(card == rank) for rank in range(3)]
        for betting in (*observation["betting"], [], [])[:2]:
            for place in range(4):
                action = betting[place] if place < len(betting) else None
                seen += [float(action == known) for known in range(num_actions)]
        return [*seen, last.get("result", 0) / 13]

    def _smoke_observations(self) -> tuple[Observation, ...]:
        """Player 0 in two short hands: it calls a raise and loses at the showdown, then opens the next hand."""
        episode = RepeatedLeducEpisode([((2, 0), 3), ((4, 1), 2)][: self.num_hands], 1, self.num_hands)
        seen: list[Observation] = []
        for action in (RAISE, CALL, CALL, CALL, CALL, CALL):
            pending = episode.pending()
            if not pending:
                break
            seen += [observation for seat, observation in pending.items() if seat == 0]
            episode.step(dict.fromkeys(pending, action))
        return tuple(seen)

    def new_episode(self, rng: np.random.Generator) -> RepeatedLeducEpisode:
        """One match; ``rng`` draws who acts first in the first hand and shuffles for every hand."""
        first = int(rng.integers(2))
        decks = rng.permuted(np.tile(np.arange(NUM_CARDS), (self.num_hands, 1)), axis=1)
        deals = [((a, b), public) for a, b, public in decks[:, :3].tolist()]
        return RepeatedLeducEpisode(deals, first, self.num_hands)

    def reference_population(self) -> Mapping[str, PolicyFactory]:
        """The three of the paper: CFR+ after 10,000 iterations, AlwaysCall and AlwaysFold."""
        named = self.reference_policies()
        return {name: named[name] for name in ("cfr+", "AlwaysCall", "AlwaysFold")}

    def reference_policies(self) -> Mapping[str, PolicyFactory]:
        """The reference population and AlwaysRaise, which is no member of it."""
        return {
            "cfr+": _CfrPlus,
            "AlwaysCall": partial(_Always, CALL),
            "AlwaysFold": partial(_Always, FOLD),
            "AlwaysRaise": partial(_Always, RAISE),
        }

    def decision_points(self, player: int, rng: np.random.Generator | None = None) -> tuple[Observation, ...]:
        """One observation for each of a hand's 288 information sets; see :class:`games.stationary.StationaryGame`."""
        return tuple(self._point(player, *infoset, rng) for infoset in infosets())

    def _point(
        self,
        player: int,
        own: int,
        public: int | None,
        betting: Betting,
        position: int,
        legal: list[int],
        rng: np.random.Generator | None,
    ) -> Observation:
        hand = LeducHand((2 * own, 2 * own), 2 * (public or 0))
        for action in (a for actions in betting for a in actions):
            hand.step(action)
        number, total, last = 0, 0, None
        if rng is not None and self.num_hands > 1:
            number = int(rng.integers(1, self.num_hands))
            total = int(rng.integers(-MAX_LOSS, MAX_LOSS + 1))
            last = _some_past_hand(rng)
        return _observation(player, hand, position, number, self.num_hands, total, last)

    def stationary_returns(self, profile: Sequence[FloatArray]) -> FloatArray:
        """Exact returns: each player acts first in half of the hands."""
        from games.leduc_cfr import hand_value

        first, second = (dict(zip(_keys(), table.tolist(), strict=True)) for table in profile)
        value = self.num_hands * (hand_value(first, second) - hand_value(second, first)) / 2
        return np.array([value, -value])


def _observation(
    player: int, hand: LeducHand, position: int, number: int, num_hands: int, total: int, last: object
) -> dict[str, object]:
    return {
        "player": player,
        "hand": number,
        "num_hands": num_hands,
        "acts_first": position == 0,
        "private_card": rank(hand.private[position]),
        "public_card": hand.public_rank,
        "betting": [list(actions) for actions in hand.rounds],
        "chips": [hand.chips[position], hand.chips[1 - position]],
        "legal_actions": hand.legal_actions(),
        "total": total,
        "last_hand": last,
    }


def _summary(hand: LeducHand, position: int) -> dict[str, object]:
    """What the player in ``position`` has seen of a finished hand."""
    return {
        "acts_first": position == 0,
        "private_card": rank(hand.private[position]),
        "opponent_card": rank(hand.private[1 - position]) if hand.showdown else None,
        "public_card": hand.public_rank,
        "betting": [list(actions) for actions in hand.rounds],
        "result": hand.payoff() if position == 0 else -hand.payoff(),
    }


def _some_past_hand(rng: np.random.Generator) -> dict[str, object]:
    first, second, public = rng.permutation(NUM_CARDS)[:3].tolist()
    hand = LeducHand((first, second), public)
    while not hand.over:
        hand.step(int(rng.choice(hand.legal_actions())))
    return _summary(hand, int(rng.integers(2)))


class RepeatedLeducEpisode:
    """One match in progress. ``deals`` are (private cards by seat, public card); seat ``first`` opens hand 0."""

    def __init__(self, deals: Sequence[tuple[tuple[int, int], int]], first: int, num_hands: int) -> None:
        self._deals = deals
        self._first = first
        self._num_hands = num_hands
        self._number = 0
        self._totals = [0, 0]
        self._last: list[dict[str, object] | None] = [None, None]
        self._hand = self._deal()

    def _deal(self) -> LeducHand:
        private, public = self._deals[self._number]
        return LeducHand((private[self._seat(0)], private[self._seat(1)]), public)

    def _seat(self, position: int) -> int:
        """The seat in ``position`` of the present hand (and the position of that seat: the map is its own inverse)."""
        return (position + self._first + self._number) % 2

    def pending(self) -> Mapping[int, Observation]:
        if self._number == self._num_hands:
            return {}
        position = self._hand.actor
        seat = self._seat(position)
        total, last = self._totals[seat], self._last[seat]
        return {seat: _observation(seat, self._hand, position, self._number, self._num_hands, total, last)}

    def step(self, actions: Mapping[int, int]) -> None:
        if self._number == self._num_hands:
            raise ValueError(f"the match is over after {self._num_hands} hands")
        seat = self._seat(self._hand.actor)
        if set(actions) != {seat}:
            raise ValueError(f"it is player {seat} who acts, not {sorted(actions)}")
        self._hand.step(actions[seat])
        if self._hand.over:
            self._finish_hand()

    def _finish_hand(self) -> None:
        for position in (0, 1):
            seat = self._seat(position)
            summary = _summary(self._hand, position)
            self._last[seat] = summary
            self._totals[seat] += self._hand.payoff() if position == 0 else -self._hand.payoff()
        self._number += 1
        if self._number < self._num_hands:
            self._hand = self._deal()

    def returns(self) -> FloatArray:
        return np.array(self._totals, dtype=np.float64)


class _Always:
    """The same action wherever it is legal, else a call."""

    def __init__(self, action: int, player: int, seed: int) -> None:
        self._action = action

    def act(self, observation: Observation) -> int:
        legal: list[int] = observation["legal_actions"]  # type: ignore[assignment]
        return self._action if self._action in legal else CALL


class _CfrPlus:
    """The equilibrium strategy of one hand, played in every hand."""

    def __init__(self, player: int, seed: int) -> None:
        from games.leduc_cfr import cfr_plus

        self._table = cfr_plus()

    def act(self, observation: Observation) -> Sequence[float]:
        betting: list[list[int]] = observation["betting"]  # type: ignore[assignment]
        own: int = observation["private_card"]  # type: ignore[assignment]
        public: int | None = observation["public_card"]  # type: ignore[assignment]
        return self._table[infoset_key(own, public, tuple(map(tuple, betting)))]


@cache
def _keys() -> tuple[str, ...]:
    return tuple(infoset_key(own, public, betting) for own, public, betting, _, _ in infosets())


GAMES: Mapping[str, Callable[..., Game]] = {"repeated_leduc": RepeatedLeduc}
