"""Hostile programs that use up time, memory or output, exit or crash: adds to :data:`hostile_corpus.CORPUS`."""

from __future__ import annotations

from hostile_corpus import faulty

# --- bombs -------------------------------------------------------------------------------------------------------
faulty(
    "bombs",
    "memory",
    list_growth="x = []\nwhile True: x.append('a' * 1_000_000 + str(len(x)))",
    one_allocation="return len(bytearray(1 << 40))",
    doubling="x = b'x'\nwhile True: x += x",
    dictionary="d = {}\nwhile True: d[len(d)] = [0] * 100_000",
    numpy_ones="import numpy as np\nreturn int(np.ones(1 << 32).sum())",
    numpy_growth="import numpy as np\nx = np.ones(1000)\nwhile True: x = np.concatenate([x, x])",
    anonymous_mappings="import mmap\nx = []\nwhile True: x.append(mmap.mmap(-1, 1 << 24))",
    at_load="#module\nx = [b'x' * (1 << 20) + bytes([i % 256]) for i in range(10**6)]",
    kept_between_moves="""
        kept = []
        def policy(observation):
            kept.append(bytearray(16 << 20))
            return 0
    """,
    long_text="return len(f'{0:0{1 << 34}}')",
    huge_integer="return int.bit_length(1 << (1 << 33))",
)
faulty(
    "bombs",
    "timeout",
    busy_loop="while True: pass",
    c_loop="return sum(iter(int, 1))",
    deque_loop="import collections, itertools\ncollections.deque(itertools.count(), maxlen=0)",
    big_power="return (10 ** 10 ** 8) % 3",
    regular_expression="import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
    membership="return 0 if -1 in range(10**30).__iter__() else 1",
    collector_callback="""
        import gc
        def spin(*_):
            while True: pass
        gc.callbacks.append(spin)
        gc.collect()
        return 0
    """,
    finalizer="""
        import weakref
        class Thing: pass
        def spin():
            while True: pass
        thing = Thing()
        weakref.finalize(thing, spin)
        del thing
        return 0
    """,
    endless_notes="""
        class Endless(list):
            def __iter__(self):
                while True: yield 'x'
        e = ValueError('x')
        e.__notes__ = Endless()
        raise e
    """,
    profile_function="""
        import sys
        def spin(*_):
            while True: pass
        sys.setprofile(spin)
        return 0
    """,
    steals_its_question="return open(0, 'rb', closefd=False).read(1)[0]",
    numpy_call="import numpy as np\na = np.ones((1500, 1500))\nfor _ in range(10**6): a = a @ a * 1e-3\nreturn 0",
    swallows_timeouts="""
        while True:
            try:
                while True: int()
            except BaseException:
                pass
    """,
    loop_in_finally="try:\n    while True: int()\nfinally:\n    while True: pass",
    loop_in_del="""
        class Sticky:
            def __del__(self):
                while True: pass
        s = Sticky()
        del s
        return 0
    """,
    loop_in_str="""
        class Evil(Exception):
            def __str__(self):
                while True: pass
        raise Evil
    """,
    loop_at_load="#module\nwhile True: pass",
    loop_in_constructor="""
        class Policy:
            def __init__(self, player, seed):
                while True: pass
            def act(self, observation): return 0
    """,
    answers_after_timeout="try:\n    while True: int()\nexcept BaseException:\n    return 0",
    waits_for_clock="import time\nend = time.time() + 1000\nwhile time.time() < end: pass\nreturn 0",
    patched_alarm="""
        from sandbox.policy_host import Alarm
        Alarm.__call__ = lambda self, number, frame: None
        while True: pass
    """,
    ticking_alarm="""
        import os
        from sandbox import wire
        from sandbox.policy_host import Alarm
        Alarm.__call__ = lambda self, n, f: os.write(1, self._sequence + wire.TICK_FLAG)
        while True: pass
    """,
    reads_until_it_hangs="import os\nwhile True: os.read(0, 1)",
    never_reads="import os\nfrom sandbox import wire\nos.read = lambda *a: iter(int, 1)\nwhile True: pass",
)
faulty(
    "bombs",
    "output_flood",
    print_flood="while True: print('spam' * 100)",
    one_huge_print="print('x' * 10_000_000)\nreturn 0",
    stderr_flood="import sys\nwhile True: sys.stderr.write('spam')",
    original_stdout_flood="import sys\nwhile True: sys.__stdout__.write('spam')",
    warning_flood="import warnings\nfor i in range(10**5): warnings.warn('spam' * 50 + str(i))\nreturn 0",
    swallowed_flood="try:\n    print('x' * 100_000)\nexcept BaseException:\n    pass\nreturn 0",
)
faulty("bombs", "killed", raw_output_flood="import os\nwhile True: os.write(1, b'spam' * 1000)")
faulty(
    "bombs",
    "syntax_error memory timeout runtime_error",
    nested_parentheses="#module\n" + "(" * 20_000 + ")" * 20_000,
    nested_lists="#module\nx = " + "[" * 150 + "]" * 150 + "\nx = " + "-" * 90_000 + "1",
    deep_attribute_chain="#module\nx = a" + ".b" * 40_000,
    compile_at_run="return len(repr(compile('x = ' + '-' * 500_000 + '1', 'x', 'exec')))",
    nested_json="import json\nreturn len(json.loads('[' * 10**6))",
    sleep="import time\ntime.sleep(1000)\nreturn 0",
    too_long="#module\n#" + "x" * 200_000,
)

# --- exits and crashes -------------------------------------------------------------------------------------------
faulty(
    "exits",
    "killed",
    exit_0="import os\nos._exit(0)",
    exit_1="import os\nos._exit(1)",
    abort="import os\nos.abort()",
    null_pointer="from sandbox.lowlevel import ctypes\nctypes.string_at(0)",
    forbidden_call="""
        from sandbox import lowlevel
        lowlevel._libc.syscall(lowlevel.ctypes.c_long(lowlevel.syscall_number("execve")), 0, 0, 0)
    """,
    exit_at_load="#module\nimport os\nos._exit(0)",
    corrupted_heap="""
        from sandbox.lowlevel import ctypes
        x = object()
        ctypes.memset(id(x) - 64, 255, 4096)
        return [object() for _ in range(1000)] and 0
    """,
)
faulty("exits", "memory", pretends_memory="import os\nos._exit(96)", raises_memory_error="raise MemoryError('really')")
faulty(
    "exits",
    "runtime_error",
    sys_exit="import sys\nsys.exit(0)",
    keyboard_interrupt="raise KeyboardInterrupt",
    generator_exit="raise GeneratorExit",
    base_exception="class Mine(BaseException): pass\nraise Mine('x')",
    endless_recursion="""
        def f(n): return f(n + 1)
        return f(0)
    """,
    stop_iteration="raise StopIteration",
    exception_group="raise ExceptionGroup('x', [ValueError(1), TypeError(2)])",
    endless_cause="""
        e = ValueError('0')
        for i in range(10_000):
            f = ValueError(str(i)); f.__cause__ = e; e = f
        raise e
    """,
    circular_cause="e = ValueError('a'); f = ValueError('b'); e.__cause__ = f; f.__context__ = e\nraise e",
    lying_class="""
        class Liar(Exception):
            __class__ = property(lambda self: int)
            def __str__(self): raise SystemExit
        raise Liar
    """,
    evil_metaclass="""
        class Meta(type):
            __name__ = property(lambda cls: 1 / 0)
        class Evil(Exception, metaclass=Meta): pass
        raise Evil
    """,
    lying_traceback="""
        class Liar(Exception):
            __traceback__ = property(lambda self: self)
        raise Liar
    """,
    evil_equality="""
        class Evil(Exception):
            def __eq__(self, other): raise SystemExit
            def __hash__(self): raise SystemExit
        raise Evil
    """,
    huge_notes="e = ValueError('x'); e.__notes__ = ['n' * 10**6] * 5\nraise e",
    huge_message="raise ValueError('\\ud800' * 10**6 + chr(0))",
    no_policy="#module\nx = 1",
    policy_is_not_callable="#module\npolicy = 3",
    constructor_arguments="class Policy:\n    def act(self, observation): return 0",
)
faulty(
    "exits",
    "killed runtime_error memory timeout",
    recursion_without_limit="""
        import sys
        sys.setrecursionlimit(10**9)
        def f(x): return f([x])
        return f(0)
    """,
    recursion_in_c="""
        import sys
        sys.setrecursionlimit(10**9)
        x = []
        for _ in range(10**6): x = [x]
        return len(repr(x))
    """,
    recursive_del="x = None\nfor _ in range(10**6): x = (x,)\ndel x\nreturn 1 // 0",
    no_builtins="import builtins\nfor n in list(vars(builtins)): delattr(builtins, n)\nreturn [].nope",
)
