"""More hostile programs, against the interpreter they share with the harness: adds to ``hostile_corpus.CORPUS``."""

from __future__ import annotations

from hostile_corpus import MARKER, attempt, faulty, legal

# --- long calls that no alarm interrupts, and big things from small texts --------------------------------------------
faulty(
    "bombs",
    "timeout memory runtime_error",
    factorial="import math\nreturn math.factorial(10**7) % 3",
    binomial="import math\nreturn math.comb(10**8, 5 * 10**7) % 3",
    digits_without_limit="import sys\nsys.set_int_max_str_digits(0)\nreturn len(str(7 ** 10**7)) % 3",
    number_from_digits="import sys\nsys.set_int_max_str_digits(0)\nreturn int('9' * 10**7) % 3",
    number_from_digits_within_limits="return int('9' * 10**6) % 3",
    decimal_power="import decimal\nreturn int(decimal.Decimal(7) ** decimal.Decimal('1e9')) % 3",
    fraction_growth="from fractions import Fraction\nx = Fraction(1, 3)\nwhile True: x = x * x + Fraction(1, 7)",
    regex_nesting="import re\nreturn len(re.compile('(' * 5000 + ')' * 5000).pattern) % 1",
    regex_repeats="import re\nre.compile('(?:a{0,900}){0,900}' * 50).match('a' * 5000 + 'b')\nwhile True: pass",
    regex_references="import re\nre.match(r'(.*)*\\1\\1\\1$', 'ab' * 2000 + 'c')\nwhile True: pass",
    string_replace="x = 'a' * 10**6\nfor _ in range(30): x = x.replace('a', 'aa')\nreturn 0",
    format_width="return len('%*d' % (2**31 - 1, 1)) * 0",
    bytes_join="return len(b'x'.join([b'y' * 10**6] * 10**5)) * 0",
    set_of_collisions="""
        class Same:
            def __hash__(self): return 1
            def __eq__(self, other): return False
        return len({Same() for _ in range(10**6)}) * 0
    """,
    hash_collisions="return len({k * (2**61 - 1) for k in range(10**6)}) * 0",
    sort_that_never_ends="""
        class Odd:
            def __lt__(self, other):
                while True: pass
        return sorted([Odd(), Odd()]) and 0
    """,
    difflib_square="import difflib\nreturn len([*difflib.ndiff(['ab' * 99] * 400, ['ba' * 99] * 400)]) * 0",
    generator_tower="""
        def f(n):
            if n: yield from f(n - 1)
            yield n
        while True: list(f(900))
    """,
    numpy_shapes="import numpy as np\nreturn int(np.broadcast_to(np.ones(1), (10**6, 10**6)).sum()) * 0",
    numpy_einsum="import numpy as np\na = np.ones((60,) * 4)\nreturn int(np.einsum('abcd,efgh->', a, a)) * 0",
    itertools_product="import itertools\nreturn sum(1 for _ in itertools.product(range(99), repeat=9)) * 0",
    zlib_bomb="""
        import zlib
        x = zlib.compress(bytes(1 << 26))
        while True: len(zlib.decompress(x)) + len(zlib.decompress(x) * 20)
    """,
    copy_of_everything="import copy, gc\nwhile True: copy.deepcopy([o for o in gc.get_objects() if type(o) is dict])",
)
faulty(
    "bombs",
    "timeout",
    loops_in_a_sub_interpreter="""
        try:
            import _xxsubinterpreters as interpreters
            interpreters.run_string(interpreters.create(), "while True: pass")
        except BaseException:
            pass
        while True: pass
    """,
    alarm_caught_by_a_context="""
        class Keep:
            def __enter__(self): return self
            def __exit__(self, *a): return True
        while True:
            with Keep():
                while True: int()
    """,
    alarm_lost_in_a_destructor="""
        class Sticky:
            def __del__(self):
                Sticky()
                while True: pass
        Sticky()
        while True: Sticky()
    """,
    waits_for_the_whole_input="import os\nreturn len(os.fdopen(0, 'rb', closefd=False).read())",
    weak_reference_callback="""
        import weakref
        class Thing: pass
        def spin(_):
            while True: pass
        thing = Thing()
        kept = weakref.ref(thing, spin)
        del thing
        return 0
    """,
    context_switch_interval="import sys\nsys.setswitchinterval(10**6)\nwhile True: pass",
)

# --- crashes ---------------------------------------------------------------------------------------------------------
faulty(
    "exits",
    "killed timeout memory runtime_error",
    malformed_bytecode="f = lambda: 0\nf.__code__ = f.__code__.replace(co_code=bytes([100, 255] * 40))\nreturn f()",
    lying_constants="f = lambda: 12345\nf.__code__ = f.__code__.replace(co_consts=())\nreturn f()",
    marshalled_garbage="import marshal\nreturn marshal.loads(b'c' + bytes(range(256)) * 4)",
    marshalled_references="import marshal\nreturn marshal.loads(b'[\\xff\\xff\\xff\\x7f' + b'r\\0\\0\\0\\0' * 9)",
    unpickled_memory="import pickle\nreturn pickle.loads(b'\\x80\\x04\\x95' + b'\\xff' * 7 + b'\\x0f.')",
    unpickled_recursion="import pickle\nreturn pickle.loads(b'(' * 10**6 + b't' * 10**6 + b'.') and 1 // 0",
    null_object="from sandbox.lowlevel import ctypes\nreturn ctypes.py_object().value",
    forged_object="from sandbox.lowlevel import ctypes\nreturn ctypes.cast(0x1234, ctypes.py_object).value",
    fatal_error="import faulthandler\nfaulthandler._fatal_error_c_thread()\nreturn 1 // 0",
    segmentation_fault="import faulthandler\nfaulthandler._sigsegv()\nreturn 1 // 0",
    c_stack_overflow="import faulthandler\nfaulthandler._stack_overflow()",
    dump_to_the_referee="import faulthandler\nfaulthandler.dump_traceback(1)\nreturn 0",
    fatal_dump_to_the_referee="import faulthandler\nfaulthandler.enable(1)\nfaulthandler._sigsegv()",
    recursion_limit_of_one="""
        import sys
        frame, depth = sys._getframe(), 0
        while frame: frame, depth = frame.f_back, depth + 1
        sys.setrecursionlimit(depth + 3)
        return (lambda: (lambda: (lambda: (lambda: (lambda: (lambda: 0)())())())())())()
    """,
    type_of_types="""
        import gc
        gc.get_referents(int.__dict__)[0]['__add__'] = lambda a, b: 1 / 0
        from sandbox.lowlevel import ctypes
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(int))
        return int(1 // 0)
    """,
    no_none="""
        from sandbox.lowlevel import ctypes
        ctypes.memset(id(None), 0, 16)
        return [None] * 1000 and 1 // 0
    """,
    exit_while_unwinding="""
        import os
        class Evil(Exception):
            def __del__(self): os._exit(0)
        raise Evil
    """,
    deep_copy_of_depth="import copy\nx = []\nfor _ in range(10**5): x = [x]\nreturn copy.deepcopy(x) and 0",
    asks_the_terminal="return int(input())",
    debugger="breakpoint()\nreturn 1 // 0",
)
faulty(
    "exits",
    "syntax_error runtime_error memory",
    null_byte_in_source="#module\nx = 1\x00",
    lone_surrogate_in_source="#module\nx = '\ud800'\ndef policy(o): return [][0]",
    other_encoding="# -*- coding: utf-7 -*-\ndef policy(o): return +AG4-",
    form_feeds="#module\n" + "\x0c" * 90_000 + "def f(:",
    nested_lambdas="#module\nx = " + "lambda: " * 5000 + "0",
    long_conditional="#module\nx = " + "1 if 0 else " * 9000 + "y",
)

# --- the protocol: late and slow answers, patches below Python -------------------------------------------------------
faulty(
    "protocol",
    "killed timeout",
    drips="""
        import os, time
        for byte in (observation['round'] + 1).to_bytes(4, 'little'):
            os.write(1, bytes([byte]))
            end = time.monotonic() + 0.15
            while time.monotonic() < end: pass
        while True: pass
    """,
    answer_of_a_destructor="""
        import os
        class Late(int):
            def __del__(self): os.write(1, b'late')
        return Late(0)
    """,
    answer_of_a_collection="""
        import gc, os
        gc.callbacks.append(lambda phase, info: os.write(1, b'gc') and None)
        gc.set_threshold(1, 1, 1)
        gc.collect()
        return 0
    """,
    answer_of_a_hook="""
        import os, sys
        sys.addaudithook(lambda *a: os.write(1, b'hook') and None)
        sys._getframe()
        return 0
    """,
    answer_of_a_trace="""
        import os, sys
        def trace(frame, event, argument):
            os.write(1, b'trace')
            return trace
        sys.settrace(trace)
        return [k for k in range(3)][0]
    """,
    header_without_answer="""
        import os
        os.write(1, (observation['round'] + 1).to_bytes(4, 'little') + bytes([1]))
        while True: pass
    """,
    failure_and_distribution="""
        import os
        os.write(1, (observation['round'] + 1).to_bytes(4, 'little') + bytes([3, 254]) + b'\\xff' * 28)
        return 0
    """,
    replaced_write="""
        import os
        from sandbox import lowlevel
        ctypes = lowlevel.ctypes
        ctypes.memmove(id(os.write) + 16, id(os.read) + 16, 8)
        return 0
    """,
)
attempt(
    "protocol",
    overwritten_code="""
        import sys
        from sandbox.lowlevel import ctypes
        code = sys._getframe(1).f_code
        ctypes.memset(id(code) + type(code).__basicsize__ - 8, 0, 64)
        return False
    """,
    stack_of_no_size="""
        f = lambda a: [a, [a, [a]]]
        f.__code__ = f.__code__.replace(co_stacksize=0)
        return f(1) and False
    """,
    swapped_small_integers="""
        from sandbox.lowlevel import ctypes
        ctypes.memmove(id(200), id(201), 32)
        return False
    """,
    trace_of_the_harness="""
        import sys
        def trace(frame, event, argument):
            for name in ('opponent', 'theirs', 'own'):
                if name in frame.f_locals: frame.f_locals[name] = b'\\x02' * 8
            return trace
        frame = sys._getframe(1)
        while frame: frame.f_trace, frame = trace, frame.f_back
        sys.settrace(trace)
        return False
    """,
    patched_time="import time\ntime.time = time.monotonic = time.perf_counter = lambda: 0.0\nreturn False",
    patched_random="""
        import random
        import numpy as np
        random.Random.random = random.Random.randrange = lambda *a: 0
        np.random.Generator = np.random.RandomState = np.random.default_rng = None
        return False
    """,
    patched_numpy="import numpy as np\nnp.ndarray = np.array = np.float64 = None\nreturn False",
    patched_encoding="""
        import codecs
        codecs.lookup = codecs.encode = codecs.decode = None
        return False
    """,
    frozen_objects="import gc\ngc.freeze()\ngc.disable()\nreturn False",
    forgotten_frames="""
        import sys
        frame = sys._getframe(1)
        while frame:
            try: frame.clear()
            except RuntimeError: pass
            frame = frame.f_back
        return False
    """,
    endless_error_handler="import codecs\ncodecs.register_error('replace', lambda e: ('', 0))\nreturn False",
    late_callbacks="""
        import atexit, os, weakref
        class Thing: pass
        thing = Thing()
        weakref.finalize(thing, os.write, 1, b'late')
        policy.kept = thing
        atexit.register(os.write, 1, b'later')
        return False
    """,
    answers_for_the_victim="""
        import gc
        for o in gc.get_objects():
            if type(o) is dict and o.get('opponent_actions') is not None:
                o['opponent_actions'] = [2] * 9
        return False
    """,
)
legal(
    "protocol",
    int_flag="import enum\nclass Bits(enum.IntFlag):\n    ONE = 1\nreturn Bits.ONE",
    tiny_probabilities="return [1.0, 5e-324, -0.0]",
    numpy_bool="import numpy as np\nreturn np.bool_(True)",
    numpy_half="import numpy as np\nreturn np.float16(1.0)",
)

# --- leaks -----------------------------------------------------------------------------------------------------------
attempt(
    "leaks",
    start_arguments="""
        import sys
        return any('import_path' in text or 'unprivileged' in text for text in (*sys.argv, *sys.orig_argv))
    """,
    search_path="import sys\nreturn any(sys.path)",
    names_of_the_machine="""
        import os, sys
        return any(k in os.environ for k in ('HOSTNAME', 'USER', 'HOME', 'PATH', 'PWD')) or bool(os.environ)
    """,
    command_line_in_memory=f"""
        from sandbox.lowlevel import ctypes
        secret = ({MARKER[:10]!r} + {MARKER[10:]!r}).encode()
        argc, argv = ctypes.c_int(), ctypes.POINTER(ctypes.c_wchar_p)()
        ctypes.pythonapi.Py_GetArgcArgv(ctypes.byref(argc), ctypes.byref(argv))
        return any(secret.decode() in argv[k] or '"seed' in argv[k] for k in range(argc.value))
    """,
    seeds_of_the_referee="""
        import gc
        return any(
            type(o) is int and o == int('5EED' + '0F7E575', 16)
            for d in gc.get_objects() if type(d) in (list, tuple, dict)
            for o in (d.values() if type(d) is dict else d)
        )
    """,
    freed_memory="""
        import gc
        from sandbox.lowlevel import ctypes
        secret = b'the-victims' + b'-secret'
        blocks = [bytearray(1 << 16) for _ in range(64)]
        where = [ctypes.addressof(ctypes.c_char.from_buffer(b)) for b in blocks]
        del blocks
        return any(secret in ctypes.string_at(a, 1 << 12) for a in where[:1])
    """,
)
