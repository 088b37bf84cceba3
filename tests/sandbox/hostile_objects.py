"""Hostile programs that attack with what they return and define: adds to :data:`hostile_corpus.CORPUS`."""

from __future__ import annotations

from hostile_corpus import attempt, faulty, legal

# --- moves that are not what they seem ----------------------------------------------------------------------------
faulty(
    "protocol",
    "illegal_action",
    numpy_integer_subclass="""
        import numpy as np
        class Evil(np.int64):
            def __int__(self): raise SystemExit
            __index__ = __eq__ = __le__ = __lt__ = __int__
        return Evil(1)
    """,
    float_subclass="""
        class Evil(float):
            def is_integer(self): return True
            def __int__(self): return 1
        return Evil(1.0)
    """,
    numpy_float_subclass="""
        import numpy as np
        class Evil(np.float64):
            def is_integer(self): raise KeyboardInterrupt
        return Evil(1.0)
    """,
    int_subclass_out_of_range="class Evil(int):\n    def __index__(self): return 1\nreturn Evil(77)",
    lying_class_attribute="""
        class Evil:
            __class__ = int
            def __index__(self): return 1
            def __eq__(self, other): return True
            __le__ = __lt__ = __ge__ = __gt__ = __eq__
        return Evil()
    """,
    metaclass_that_says_int="""
        class Meta(type):
            def __subclasscheck__(cls, other): return True
            def __instancecheck__(cls, other): return True
            def mro(cls): return [cls, object]
            __name__ = property(lambda cls: 1 / 0)
        class Evil(metaclass=Meta): pass
        return Evil()
    """,
    endless_equality="""
        class Evil:
            def __eq__(self, other): return self == other
            def __hash__(self): return hash(self)
            def __index__(self): return self.__index__()
        return Evil()
    """,
    endless_index="class Evil:\n    def __index__(self):\n        while True: pass\nreturn [Evil(), 0, 0]",
    tuple_subclass="""
        class Evil(tuple):
            def __len__(self): raise SystemExit
            __iter__ = __getitem__ = __len__
        return Evil((1.0, 0.0, 0.0))
    """,
    list_of_itself="x = []\nx += [x, x, x]\nreturn x",
    decimal="import decimal\nreturn decimal.Decimal(1)",
    rational_number="import fractions\nreturn fractions.Fraction(1)",
    complex_number="return 1 + 0j",
    fractions_as_probabilities="import fractions\nreturn [fractions.Fraction(1, 3)] * 3",
    scalar_array="import numpy as np\nreturn np.array(1)",
    long_doubles="import numpy as np\nreturn np.array([1, 0, 0], dtype=np.longdouble)",
    complex_array="import numpy as np\nreturn np.array([1, 0, 0], dtype=complex)",
    record_array="import numpy as np\nreturn np.zeros(3, dtype=[('p', 'f8')])",
    dates="import numpy as np\nreturn np.array(['2020', '2021', '2022'], dtype='datetime64[Y]')",
    huge_unsigned_array="import numpy as np\nreturn np.array([2**64 - 1, 0, 0], dtype=np.uint64)",
    infinite_array="import numpy as np\nreturn np.array([np.inf, -np.inf, 1.0])",
    enormous_strided_array="import numpy as np\nreturn np.lib.stride_tricks.as_strided(np.ones(1), (1 << 40,), (0,))",
    buffer="return memoryview(bytes([1]))",
    typed_array="import array\nreturn array.array('d', [1.0, 0.0, 0.0])",
    coroutine="async def later(): return 1\nreturn later()",
    asynchronous_policy="async def policy(observation):\n    return 1",
    asynchronous_generator="async def later(): yield 1\nreturn later()",
    ellipsis="return ...",
    not_implemented="return NotImplemented",
    weak_proxy="""
        import weakref
        class Number:
            def __index__(self): return 1
        policy.kept = Number()
        return weakref.proxy(policy.kept)
    """,
    all_zero="return [0.0, 0.0, 0.0]",
    sums_to_two="return [1, 1, 0]",
    just_beyond_the_tolerance="return [0.5, 0.5, 2e-6]",
    almost_nothing_negative="return [1.0, 1e-300, -1e-300]",
    cancelling_infinities="return [float('inf'), float('-inf'), 1.0]",
    builtin_that_prints="#module\npolicy = print",
    type_as_policy="#module\npolicy = type",
)
legal(
    "protocol",
    booleans_as_probabilities="return [True, False, False]",
    within_the_tolerance="return [0.5, 0.5, 5e-7]",
    single_precision="import numpy as np\nreturn np.array([1 / 3] * 3, dtype=np.float32)",
    reversed_view="import numpy as np\nreturn np.array([0.0, 0.0, 1.0])[::-1]",
    read_only_big_endian="import numpy\na = numpy.array([1, 0, 0], dtype='>f8')\na.flags.writeable = False\nreturn a",
    negative_zero="return -0.0",
    numpy_unsigned="import numpy as np\nreturn np.uint64(1)",
    sleeps_for_a_moment="from time import sleep\nsleep(0.001)\nsleep(0)\nsleep(True / 1000)\nreturn 0",
    closes_what_it_was_given="import os\nos.closerange(0, 1000)\nreturn 0",
)

# --- policies that are not what they seem -------------------------------------------------------------------------
faulty(
    "exits",
    "runtime_error",
    act_is_a_property="""
        class Policy:
            def __init__(self, player, seed): pass
            @property
            def act(self): raise KeyboardInterrupt
    """,
    instance_of_another_class="class Policy:\n    def __new__(cls, player, seed): return 3",
    attribute_of_everything="""
        class Policy:
            def __init__(self, player, seed): pass
            def __getattr__(self, name): return getattr(self, name)
    """,
    metaclass_that_exits="""
        class Meta(type):
            def __call__(cls, *arguments): raise SystemExit(0)
        class Policy(metaclass=Meta):
            def act(self, observation): return 0
    """,
    sleeps_backwards="import time\ntime.sleep(-1)\nreturn 0",
    sleeps_for_no_number="import time\ntime.sleep(float('nan'))\nreturn 0",
    exit_as_policy="#module\npolicy = exit",
    exit_in_a_default="import sys\ndef policy(observation, code=sys.exit(0)): return 0",
    exit_in_a_decorator="@exit\ndef policy(observation): return 0",
    namespace_that_raises="""
        class Names(dict):
            def __getitem__(self, name): raise SystemExit
        class Meta(type):
            @classmethod
            def __prepare__(cls, *arguments): return Names()
        class Policy(metaclass=Meta):
            x = len
        def policy(observation): return 0
    """,
    recursion_in_equality="""
        class Deep:
            def __eq__(self, other): return Deep() == other
        return int(Deep() == 1)
    """,
    recursion_in_hash="class Deep:\n    def __hash__(self): return hash((self,))\nreturn {Deep(): 0}[1]",
    recursion_in_attributes="class Deep:\n    def __getattribute__(self, name): return self.x\nreturn Deep().act",
    group_of_exits="raise BaseExceptionGroup('x', [SystemExit(0), KeyboardInterrupt(), GeneratorExit()])",
    exception_that_raises_itself="""
        class Evil(Exception):
            __cause__ = __context__ = property(lambda self: self.__cause__)
            args = property(lambda self: 1 / 0)
            def __repr__(self): raise self
            __str__ = __repr__
        raise Evil
    """,
    traceback_of_a_thousand_frames="""
        def f(n):
            if n == 0: raise ValueError('x' * 10**6)
            try: f(n - 1)
            except ValueError as e: raise KeyError(n) from e
        f(200)
    """,
    generator_that_resists="""
        def stubborn():
            while True:
                try: yield
                except BaseException: pass
        policy.kept = stubborn()
        next(policy.kept)
        policy.kept.close()
    """,
    asynchronous_hooks="""
        import sys
        def hook(generator): raise SystemExit
        sys.set_asyncgen_hooks(firstiter=hook, finalizer=hook)
        async def endless():
            while True: yield 1
        endless().__anext__().send(None)
    """,
)
faulty(
    "exits",
    "import_error",
    subprocess="import subprocess\nreturn subprocess.run(['true']).returncode",
    ctypes="import ctypes\nreturn ctypes.string_at(0)",
    socket_module="import socket\nreturn 0",
    asyncio_module="import asyncio\nreturn asyncio.run(asyncio.sleep(0)) or 0",
    multiprocessing_module="import multiprocessing\nreturn multiprocessing.cpu_count() * 0",
    sqlite="import sqlite3\nreturn 0",
    urllib_request="import urllib.request\nreturn 0",
    relative_import="from . import policy\nreturn 0",
    traced_allocations="import tracemalloc\ntracemalloc.start(10_000)\nreturn 0",
    import_error_by_hand="raise ImportError('x' * 10**6)",
)
attempt(
    "leaks",
    machine_name_cached="""
        import platform
        return platform._uname_cache is None or platform._uname_cache.node != 'sandbox'
    """,
    machine_name_kept="""
        import os, sys
        kept = [value for module in list(sys.modules.values()) for value in list(vars(module).values())]
        return any(isinstance(value, os.uname_result) for value in kept)
    """,
    machine_name_asked_for="import platform\nreturn platform.node() != 'sandbox'",
    network_card="import uuid\nreturn not uuid.getnode() >> 40 & 1",
    users="import pwd\nreturn pwd.getpwuid(0)",
    last_path_argument="""
        from sandbox.lowlevel import ctypes, _libc
        _libc.getauxval.restype = ctypes.c_ulong
        where = _libc.getauxval(ctypes.c_ulong(31))
        return b'csro-run' in ctypes.string_at(where)
    """,
)
