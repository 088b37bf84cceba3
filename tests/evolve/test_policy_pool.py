from __future__ import annotations

import msgpack
import pytest

from evolve.policy_pool import PolicyPool, PooledPolicy
from evolve.program import Program

ROCK = '''class Policy:
    """Always rock."""
    def __init__(self, player, seed):
        pass
    def act(self, observation):
        return 0
'''
PAPER = ROCK.replace("rock", "paper").replace("return 0", "return 1")


def pool() -> PolicyPool:
    return PolicyPool((PooledPolicy(Program(ROCK), 0, "seed"), PooledPolicy(Program(PAPER), 1, "br-001")))


def test_order_and_ids() -> None:
    assert pool().ids == (Program(ROCK).id, Program(PAPER).id)
    assert pool()[Program(PAPER).id].name == "br-001"
    assert Program(PAPER).id in pool() and "nobody" not in pool() and len(pool()) == 2


def test_a_program_that_differs_in_layout_only_is_a_duplicate() -> None:
    same = PooledPolicy(Program(ROCK.replace("return 0", "return 0  # a comment")), 2, "br-002")
    with pytest.raises(ValueError, match="in the pool already, as seed"):
        pool().with_policy(same)
    with pytest.raises(ValueError, match="once"):
        PolicyPool((*pool().policies, same))


def test_with_policy_leaves_the_old_pool_as_it_was() -> None:
    old = PolicyPool()
    new = old.with_policy(pool().policies[0])
    assert len(old) == 0 and new.policies == pool().policies[:1]


def test_record_survives_msgpack() -> None:
    packed = msgpack.packb(pool().to_record())
    assert PolicyPool.from_record(msgpack.unpackb(packed)) == pool()


@pytest.mark.parametrize("record", [{}, [{"source": "x"}], [{"source": "x", "iteration": "1", "name": "n"}]])
def test_bad_record_is_refused(record: object) -> None:
    with pytest.raises(ValueError, match="not a p"):
        PolicyPool.from_record(record)
