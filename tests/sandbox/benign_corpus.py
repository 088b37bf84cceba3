"""Honest programs that use what honest programs use. Each must run unchanged, the same alone as among 64."""

from __future__ import annotations

import textwrap

_CLASS = """
class Policy:
    def __init__(self, player, seed):
        self.player, self.seed = player, seed
        {init}

    def act(self, observation):
        mine, theirs = observation["my_actions"], observation["opponent_actions"]
        {act}
"""


def _program(header: str, init: str, act: str) -> str:
    def block(text: str) -> str:
        return textwrap.indent(textwrap.dedent(text).strip(), " " * 8).strip()

    return textwrap.dedent(header).strip() + "\n" + _CLASS.format(init=block(init), act=block(act))


PROGRAMS = {
    "numpy": _program(
        "import numpy as np",
        "self.rng = np.random.default_rng(seed)\nself.counts = np.ones((3, 3))",
        """
        if len(theirs) > 1:
            self.counts[theirs[-2], theirs[-1]] += 1
        row = self.counts[theirs[-1] if theirs else 0]
        q, _ = np.linalg.qr(self.counts)
        noise = np.abs(np.fft.fft(row))[1] * 1e-3 + np.linalg.svd(q, compute_uv=False)[0] * 1e-3
        big = (np.ones((300, 300)) @ np.ones((300, 300))) * 2.0 if observation["round"] == 3 else 0
        p = row / row.sum() * (1 - noise) + noise / 3
        return (int(self.rng.choice(3, p=p / p.sum())) + 1) % 3
        """,
    ),
    "numpy_global_random": _program(
        "import numpy as np\nfrom numpy.random import randint",
        "np.random.seed(seed)",
        "return int(np.random.randint(3) + randint(3)) % 3",
    ),
    "random_global": _program(
        "import random\nfrom random import choice, random as uniform",
        "random.seed(seed)",
        "return (choice([0, 1, 2]) + int(uniform() * 3) + random.randrange(3)) % 3",
    ),
    "random_unseeded": _program(
        "import random\nimport numpy as np",
        "self.rng = random.Random()\nself.np = np.random.default_rng()",
        "return (self.rng.randrange(3) + int(self.np.integers(3))) % 3",
    ),
    "dataclasses_enum_typing": _program(
        """
        from __future__ import annotations
        from dataclasses import dataclass, field
        from enum import Enum, IntEnum, auto
        from typing import NamedTuple, Optional, TypeVar, Generic, get_type_hints
        T = TypeVar("T")
        class Throw(IntEnum):
            ROCK = 0
            PAPER = 1
            SCISSORS = 2
        class Mood(Enum):
            CALM = auto()
        class Pair(NamedTuple):
            a: int
            b: int = 0
        @dataclass(order=True)
        class Memory(Generic[T]):
            seen: list[int] = field(default_factory=list)
            last: Optional[int] = None
            def add(self, x: int) -> None:
                self.seen.append(x)
                self.last = x
        """,
        "self.memory = Memory()\nself.hints = get_type_hints(Memory)",
        """
        if theirs:
            self.memory.add(theirs[-1])
        pair = Pair(len(mine))
        return int(Throw((self.memory.last or 0) + pair.a) if False else Throw(((self.memory.last or 0) + pair.a) % 3))
        """,
    ),
    "json_re_string": _program(
        "import json, re, string\nPATTERN = re.compile(r'(\\d)(?=\\d*\\1)', re.IGNORECASE)",
        "self.text = json.dumps({'seed': seed, 'name': string.ascii_letters})",
        """
        text = "".join(map(str, theirs[-10:]))
        found = PATTERN.findall(text)
        state = json.loads(self.text)
        return (len(found) + state["seed"]) % 3
        """,
    ),
    "heapq_bisect_collections": _program(
        "import heapq, bisect\nfrom collections import Counter, OrderedDict, defaultdict, deque, ChainMap",
        "self.heap, self.table, self.recent = [], defaultdict(Counter), deque(maxlen=5)",
        """
        if theirs:
            heapq.heappush(self.heap, (theirs[-1], len(theirs)))
            self.table[tuple(self.recent)][theirs[-1]] += 1
            self.recent.append(theirs[-1])
        guess = self.table[tuple(self.recent)].most_common(1)
        return (guess[0][0] + 1) % 3 if guess else bisect.bisect([1, 2, 3], len(self.heap)) % 3
        """,
    ),
    "itertools_functools_operator": _program(
        """
        import functools, itertools, operator
        @functools.lru_cache(maxsize=None)
        def fib(n):
            return n if n < 2 else fib(n - 1) + fib(n - 2)
        """,
        "self.cycle = itertools.cycle([0, 1, 2])",
        """
        total = functools.reduce(operator.add, theirs, 0)
        pairs = sum(a == b for a, b in itertools.pairwise(theirs))
        return (next(self.cycle) + fib(30) + total + pairs) % 3
        """,
    ),
    "statistics_math_fractions": _program(
        "import math, cmath, statistics\nfrom fractions import Fraction\nfrom decimal import Decimal, getcontext",
        "getcontext().prec = 30",
        """
        mean = statistics.fmean(theirs) if theirs else 0.0
        spread = statistics.pstdev(theirs) if theirs else 0.0
        x = Fraction(len(theirs), 7) + Fraction(1, 3)
        d = Decimal(2).sqrt() * 10
        return int(mean + spread + math.log1p(len(mine)) + abs(cmath.exp(1j)) + x.numerator + int(d)) % 3
        """,
    ),
    "copy_hashlib_struct": _program(
        "import copy, hashlib, struct, zlib, array, datetime, textwrap, pprint, types, abc, contextlib",
        "self.state = {'a': [1, 2, {'b': 3}]}",
        """
        state = copy.deepcopy(self.state)
        digest = hashlib.sha256(struct.pack('<I', len(theirs))).digest()
        moment = datetime.datetime.strptime('2020-01-02', '%Y-%m-%d') + datetime.timedelta(days=1)
        return (digest[0] + zlib.crc32(bytes(theirs)) + state['a'][2]['b'] + moment.day) % 3
        """,
    ),
    "big_table": _program(
        "",
        "self.table = {(a, b, c, d): (a * 7 + b * 5 + c * 3 + d) % 3 for a in range(12) for b in range(12) "
        "for c in range(12) for d in range(12)}",
        "return self.table[len(mine) % 12, sum(theirs[-4:]), len(theirs) % 5, 3]",
    ),
    "recursion_900": _program(
        "def depth(n):\n    return 0 if n == 0 else 1 + depth(n - 1)", "pass", "return depth(900) % 3"
    ),
    "module_state": _program(
        "history = []\ncalls = 0",
        "global calls\ncalls += 1",
        "history.append(len(theirs))\nreturn (len(history) + calls) % 3",
    ),
    "generators_closures_print": _program(
        """
        def walker(seed):
            while True:
                seed = (seed * 1103515245 + 12345) % 2**31
                yield seed // 65536 % 3
        """,
        "self.walk = walker(seed)\nprint('ready', player)",
        "move = next(self.walk)\nprint('x') if observation['round'] < 3 else None\nreturn move",
    ),
    "exceptions_handled": _program(
        "class Surprise(Exception):\n    pass",
        "self.count = 0",
        """
        try:
            if len(theirs) % 3 == 0:
                raise Surprise(len(theirs))
            return {}[len(theirs)]
        except (Surprise, KeyError) as error:
            self.count += error.args[0]
        finally:
            self.count += 1
        return self.count % 3
        """,
    ),
    "class_state_and_inheritance": _program(
        """
        from abc import ABC, abstractmethod
        class Base(ABC):
            made = 0
            def __new__(cls, *args):
                Base.made += 1
                return super().__new__(cls)
            @abstractmethod
            def choose(self, n): ...
        class Child(Base):
            __slots__ = ("k",)
            def __init__(self, k): self.k = k
            @property
            def twice(self): return 2 * self.k
            def choose(self, n): return (self.twice + n + Base.made) % 3
        """,
        "self.chooser = Child(seed)",
        "return self.chooser.choose(len(mine))",
    ),
    "distribution": _program("", "pass", "n = len(theirs) % 3\nreturn [0.5 if i == n else 0.25 for i in range(3)]"),
    "numpy_distribution": _program(
        "import numpy as np", "pass", "x = np.exp(np.arange(3.0) * 0.1 * len(theirs))\nreturn x / x.sum()"
    ),
    "function": "def policy(observation):\n    return observation['round'] % 3\n",
    "stateful_function": "seen = []\ndef policy(observation):\n    seen.append(1)\n    return len(seen) % 3\n",
}
