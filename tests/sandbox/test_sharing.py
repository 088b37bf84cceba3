"""Which programs may share one copy of their module among matches: only those that cannot tell the difference."""

from __future__ import annotations

import pytest
from benign_corpus import PROGRAMS

from sandbox.sharing import keeps_state_in_instances

CLASS = """
class Policy:
    def __init__(self, player, seed):
        self.rng = {rng}
        self.seen = []
    def act(self, observation):
        {act}
"""


DATACLASS = "from dataclasses import dataclass, field\n@dataclass\nclass M:\n    xs: list = field(default_factory=list)"
CLOSURE = """total = 0
        def inner(k):
            nonlocal total
            total += k
        inner(1)
        return total"""


def policy(act: str = "return 0", head: str = "", rng: str = "random.Random(seed)") -> str:
    return f"import random, math\nimport numpy as np\n{head}\n{CLASS.format(act=act, rng=rng)}"


@pytest.mark.parametrize(
    "source",
    [
        policy("self.seen.append(observation['round']); self.count = len(self.seen)\n        return self.count % 3"),
        policy("return BEATS[observation['round'] % 3]", "BEATS = {0: 1, 1: 2, 2: 0}"),
        policy("return max(MOVES) if 3 in MOVES else sum(m for m in MOVES)", "MOVES = [0, 1, 2]"),
        policy("return ROCK", "ROCK, PAPER, SCISSORS = 0, 1, 2\nALL = (ROCK, PAPER)\nSET = frozenset({1, 2})"),
        policy(
            "row = [0] * 3\n        row[1] += 1\n        return helper(row)",
            "def helper(x, n=3):\n    return x.index(1)",
        ),
        policy("return int(self.rng.integers(3))", rng="np.random.default_rng(seed)"),
        policy(head="from enum import IntEnum\nclass Throw(IntEnum):\n    ROCK = 0\n    PAPER = 1"),
        policy(head=DATACLASS),
        policy(CLOSURE),
        "def policy(observation):\n    return [1 / 3] * 3\n",
        policy("self.rng.random(); self.rng.shuffle(self.seen); return self.rng.choice([0, 1, 2])"),
    ],
)
def test_state_in_instances_is_seen(source: str) -> None:
    compile(source, "<test>", "exec")
    assert keeps_state_in_instances(source)


SHARED_STATE = {
    "global": policy("global k\n        k = k + 1\n        return k % 3", "k = 0"),
    "list": policy("HISTORY.append(1)\n        return 0", "HISTORY = []"),
    "item": policy("TABLE[0] = 1\n        return 0", "TABLE = {0: 0}"),
    "deletion": policy("del TABLE[0]\n        return 0", "TABLE = {0: 0}"),
    "alias": policy("t = TABLE\n        t[0] = 1\n        return 0", "TABLE = [0]"),
    "kept": policy("self.t = TABLE\n        return 0", "TABLE = [0]"),
    "returned": policy("return helper()[0]", "TABLE = [0]\ndef helper():\n    return TABLE"),
    "argument": policy("return push(TABLE)", "TABLE = [0]\ndef push(x):\n    x.append(1)\n    return 0"),
    "shadowed": policy("return sum(TABLE)", "TABLE = [0]\ndef sum(x):\n    x.append(1)\n    return 0"),
    "nested": policy("return 0", "TABLE = [[0], [1]]"),
    "default": policy("return 0", "def f(x=[]):\n    x.append(1)"),
    "lambda_default": policy("f = lambda x={}: x\n        return 0"),
    "class_attribute": policy("return 0").replace("class Policy:", "class Policy:\n    seen = []"),
    "class_counter": policy("Policy.count = 1\n        return 0"),
    "type_counter": policy("type(self).count = 1\n        return 0"),
    "dunder_class": policy("self.__class__.count = 1\n        return 0"),
    "classmethod": policy("return 0") + "    @classmethod\n    def hit(cls):\n        cls.count = 1\n",
    "new": policy("return 0")
    + "    def __new__(cls, *a):\n        cls.count = 1\n        return object.__new__(cls)\n",
    "function_attribute": policy("helper.count = 1\n        return 0", "def helper():\n    pass"),
    "static": policy("return 0") + "    @staticmethod\n    def hit(x):\n        x.count = 1\n",
    "rebound_self": policy("self = Policy\n        self.count = 1\n        return 0"),
    "inner_self": policy("def f(self):\n            self.count = 1\n        f(Policy)\n        return 0"),
    "cache": policy("return f(1)", "import functools\n@functools.lru_cache\ndef f(x):\n    return 0"),
    "imported_cache": policy("return f(1)", "from functools import cache\n@cache\ndef f(x):\n    return 0"),
    "iterator": policy("return next(IT)", "import itertools\nIT = itertools.count()"),
    "instance": policy("return 0", "SHARED = Policy"),
    "enum_member": policy(
        "return 0",
        "from enum import Enum\nclass E(Enum):\n    A = 1\n    def hit(self):\n        self.count = 1",
    ),
    "enum_mixin": policy(
        "return 0",
        "from enum import Enum\nclass Mix:\n    def hit(self):\n        self.n = 1\nclass E(Mix, Enum):\n    A = 1",
    ),
    "module_random": policy("return random.randrange(3)"),
    "imported_random": policy("return choice([0, 1])", "from random import choice"),
    "unseeded": policy(rng="random.Random()"),
    "numpy_random": policy("return int(np.random.randint(3))"),
    "numpy_seed": policy("np.random.seed(1)\n        return 0"),
    "numpy_alias": policy("return r.randint(3)", "import numpy.random as r"),
    "numpy_from": policy("return r.randint(3)", "from numpy import random as r"),
    "numpy_unseeded": policy(rng="np.random.default_rng()"),
    "numpy_state": policy("np.seterr(all='ignore')\n        return 0"),
    "module_alias": policy("m = random\n        return m.randrange(3)"),
    "module_attribute": policy("math.count = 1\n        return 0"),
    "module_item": policy("math.__dict__['k'] = 1\n        return 0"),
    "other_module": policy("return 0", "import sys"),
    "setattr": policy("setattr(Policy, 'k', 1)\n        return 0"),
    "globals": policy("globals()['k'] = 1\n        return 0"),
    "exec": policy("exec('k = 1')\n        return 0"),
    "import_call": policy("__import__('sys')\n        return 0"),
    "metaclass": policy("return 0").replace("class Policy:", "class Policy(metaclass=type):"),
    "conditional": "import random\nif True:\n    k = []\n" + policy("return 0"),
    "star": "from math import *\n" + policy("return 0"),
    "walrus_call": policy("return 0", "X = print(1)"),
    "array": policy("return 0", "A = np.zeros(3)"),
    "starred": policy("return f(*[TABLE])", "TABLE = [0]\ndef f(x):\n    x.append(1)\n    return 0"),
    "inner_class": policy("class K:\n            n = []\n        return 0"),
}


@pytest.mark.parametrize("name", SHARED_STATE)
def test_state_that_outlives_a_match_is_seen(name: str) -> None:
    compile(SHARED_STATE[name], "<test>", "exec")
    assert not keeps_state_in_instances(SHARED_STATE[name])


def test_the_benign_corpus_holds_both_kinds() -> None:
    shared = {name for name, source in PROGRAMS.items() if keeps_state_in_instances(source)}
    assert {"big_table", "function", "distribution", "recursion_900"} <= shared
    assert not shared & {
        "module_state", "stateful_function", "random_global", "random_unseeded", "numpy_global_random",
        "class_state_and_inheritance", "itertools_functools_operator",
    }  # fmt: skip
