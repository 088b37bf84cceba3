"""One hand of two-player Leduc hold'em: cards, betting and payoffs, as in OpenSpiel's ``leduc_poker``.

The deck has two suits of three ranks (0 jack, 1 queen, 2 king). Each player antes 1 and gets a private card;
after the first betting round a public card is turned. A raise adds 2 chips in the first round and 4 in the second,
with at most two raises a round. Position 0 acts first in both rounds. A pair with the public card wins, then the
higher rank; equal ranks split. The state machine is our own so that a match costs no calls into OpenSpiel; a test
walks both trees side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

FOLD, CALL, RAISE = range(3)
NUM_ACTIONS = 3
NUM_CARDS = 6
NUM_RANKS = 3
MAX_LOSS = 13
_RAISE_CHIPS = (2, 4)
_MAX_RAISES = 2

Betting = tuple[tuple[int, ...], ...]
"""Actions of each betting round begun so far, in order, position 0 first in each."""


def rank(card: int) -> int:
    """0, 1 or 2 of a card 0 to 5."""
    return card // 2


class LeducHand:
    """A hand in progress. Cards are dealt beforehand: ``private[position]`` and ``public``, each 0 to 5."""

    __slots__ = ("_folded", "_raises", "chips", "over", "private", "public", "rounds")

    def __init__(self, private: tuple[int, int], public: int) -> None:
        self.private = private
        self.public = public
        self.rounds: list[list[int]] = [[]]
        self.chips = [1, 1]
        self.over = False
        self._raises = 0
        self._folded: int | None = None

    @property
    def actor(self) -> int:
        """The position that acts next."""
        return len(self.rounds[-1]) % 2

    @property
    def public_rank(self) -> int | None:
        """Rank of the public card once it is turned."""
        return rank(self.public) if len(self.rounds) == 2 else None

    @property
    def betting(self) -> Betting:
        return tuple(tuple(actions) for actions in self.rounds)

    @property
    def showdown(self) -> bool:
        """Did the hand end with both cards shown?"""
        return self.over and self._folded is None

    def legal_actions(self) -> list[int]:
        """What :attr:`actor` may do: fold only when facing a bet, raise only below the limit."""
        actor = self.actor
        actions = [FOLD, CALL] if self.chips[actor] < self.chips[1 - actor] else [CALL]
        return [*actions, RAISE] if self._raises < _MAX_RAISES else actions

    def step(self, action: int) -> None:
        """Raises ``ValueError`` on an illegal action or after the end."""
        if self.over or action not in self.legal_actions():
            raise ValueError(f"action {action!r} is illegal after {self.betting}")
        actor, current = self.actor, self.rounds[-1]
        current.append(action)
        if action == FOLD:
            self._folded, self.over = actor, True
        elif action == RAISE:
            self.chips[actor] = self.chips[1 - actor] + _RAISE_CHIPS[len(self.rounds) - 1]
            self._raises += 1
        else:
            self.chips[actor] = self.chips[1 - actor]
            if len(current) > 1:  # any call but an opening check closes the round
                self._close_round()

    def _close_round(self) -> None:
        if len(self.rounds) == 2:
            self.over = True
        else:
            self.rounds.append([])
            self._raises = 0

    def payoff(self) -> int:
        """Chips that position 0 wins from position 1; 0 while the hand is on."""
        if not self.over:
            return 0
        if self._folded is not None:
            return self.chips[1] if self._folded == 1 else -self.chips[0]
        return self.chips[0] * showdown_sign(rank(self.private[0]), rank(self.private[1]), rank(self.public))


def showdown_sign(first: int, second: int, public: int) -> int:
    """1, 0 or -1 as the first of two ranks wins, splits or loses beside a public rank."""
    strength = [own + (NUM_RANKS if own == public else 0) for own in (first, second)]
    return (strength[0] > strength[1]) - (strength[0] < strength[1])


def infoset_key(private_rank: int, public_rank: int | None, betting: Betting) -> str:
    """Name of an information set: ``"2-:1"`` holds a king and faces a check, ``"20:12,"`` has seen a jack turned."""
    public = "-" if public_rank is None else str(public_rank)
    return f"{private_rank}{public}:{','.join(''.join(map(str, actions)) for actions in betting)}"


def betting_nodes() -> Iterator[tuple[Betting, int, list[int]]]:
    """Every betting sequence at which someone acts, depth first, with the position that acts and its legal actions."""

    def walk(path: tuple[int, ...]) -> Iterator[tuple[Betting, int, list[int]]]:
        hand = LeducHand((0, 2), 4)
        for action in path:
            hand.step(action)
        if hand.over:
            return
        yield hand.betting, hand.actor, hand.legal_actions()
        for action in hand.legal_actions():
            yield from walk((*path, action))

    return walk(())


def infosets() -> list[tuple[int, int | None, Betting, int, list[int]]]:
    """All 288 information sets up to suits: private rank, public rank, betting, position, legal actions."""
    found: list[tuple[int, int | None, Betting, int, list[int]]] = []
    for betting, position, legal in betting_nodes():
        publics: tuple[int | None, ...] = (None,) if len(betting) == 1 else tuple(range(NUM_RANKS))
        found += [(own, public, betting, position, legal) for own, public in product(range(NUM_RANKS), publics)]
    return found
