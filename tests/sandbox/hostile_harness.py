"""Hostile programs that go for the harness in their own process: adds to :data:`hostile_corpus.CORPUS`."""

from __future__ import annotations

from hostile_corpus import attempt, faulty

_HEAD = "import os\nhead = (observation['round'] + 1).to_bytes(4, 'little')\n"

# --- frames of the protocol, written by hand ----------------------------------------------------------------------
faulty(
    "protocol",
    "killed",
    file_object_on_the_pipe="import io\nio.FileIO(1, 'w', closefd=False).write(b'\\0' * 6)\nreturn 0",
    text_on_the_pipe="print('spam', file=open(1, 'w', closefd=False), flush=True)\nreturn 0",
    numpy_on_the_pipe="""
        import io
        import numpy as np
        np.save(io.FileIO(1, 'w', closefd=False), np.ones(3))
        return 0
    """,
    vectored_write="import posix\nposix.write(1, bytes(64))\nreturn 0",
    library_write="from sandbox.lowlevel import _libc\n_libc.write(1, b'spam', 4)\nreturn 0",
    library_print="from sandbox.lowlevel import _libc\n_libc.printf(b'spam')\n_libc.fflush(None)\nreturn 0",
    blames_the_victim=_HEAD
    + """
body = b'\\x91\\x95\\x00\\xb4' + b'illegal_action' + b'      ' + b'\\xa1x\\xa1x\\x01'
os.write(1, head + bytes([1, 255]) + len(body).to_bytes(4, 'little') + body)
return 0
""",
    failure_of_another_match=_HEAD
    + """
body = b'\\x91\\x94\\xcd\\x40\\x00\\xa6killed\\xa1x\\xa1x'
os.write(1, head + bytes([1, 255]) + len(body).to_bytes(4, 'little') + body + b'more')
while True: pass
""",
    extension_type_in_failure=_HEAD
    + """
body = b'\\x91\\x94\\x00\\xa6killed\\xc7\\x04\\x05spam\\xa1x'
os.write(1, head + bytes([1, 255]) + len(body).to_bytes(4, 'little') + body)
return 0
""",
    map_in_failure=_HEAD
    + """
body = b'\\x81\\xa1x\\xa1x'
os.write(1, head + bytes([1, 255]) + len(body).to_bytes(4, 'little') + body)
return 0
""",
    failures_without_number=_HEAD
    + """
body = b'\\xdd\\xff\\xff\\xff\\xff'
os.write(1, head + bytes([1, 255]) + len(body).to_bytes(4, 'little') + body)
return 0
""",
    failure_that_is_cut_off=_HEAD + "os.write(1, head + bytes([1, 255]) + b'\\0\\1\\0\\0' + b'x')\nwhile True: pass\n",
    distribution_that_is_cut_off=_HEAD + "os.write(1, head + bytes([2, 254]) + bytes(8))\nwhile True: pass\n",
    distribution_without_flag=_HEAD + "os.write(1, head + bytes([0, 254]))\nreturn 0\n",
    all_flags=_HEAD + "os.write(1, head + bytes([255, 254]) + bytes(100))\nreturn 0\n",
    simulation_in_a_game_without=_HEAD + "os.write(1, head + bytes([8]) + bytes(12))\nreturn 0\n",
    next_question_answered=_HEAD
    + "os.write(1, (observation['round'] + 2).to_bytes(4, 'little') + bytes([0, 0]))\nreturn 0\n",
    last_question_answered=_HEAD
    + "os.write(1, observation['round'].to_bytes(4, 'little') + bytes([0, 0]))\nreturn 0\n",
    greeting_again="import os\nos.write(1, b'H')\nreturn 0",
    broken_jail_pretended="import os\nos.write(1, b'Xno seccomp')\nreturn 0",
    pickled_answer="import os, pickle\nos.write(1, pickle.dumps(print))\nreturn 0",
    json_answer="import json, os\nos.write(1, json.dumps({'returns': [9, 0]}).encode())\nreturn 0",
    answer_at_exit="#module\nimport os\nos.write(1, b'R')\nos._exit(0)",
    reads_the_next_question_first="""
        import os
        if observation['round'] == 3:
            for k in (4, 5): os.write(1, k.to_bytes(4, 'little') + bytes([0, 1]))
            os.read(0, 100)
        return 0
    """,
)
faulty(
    "protocol",
    "timeout killed",
    ticks_without_end=_HEAD + "while True: os.write(1, head + bytes([4]))\n",
    tick_of_another_step=_HEAD + "while True: os.write(1, b'\\xff\\xff\\0\\0' + bytes([4]))\n",
    eats_all_questions="import os\nwhile os.read(0, 1 << 16): pass\nreturn 0",
    one_byte_a_second="""
        import os, time
        for byte in (observation['round'] + 1).to_bytes(4, 'little') + bytes([0, 0]):
            end = time.monotonic() + 0.2
            while time.monotonic() < end: pass
            os.write(1, bytes([byte]))
        while True: pass
    """,
)

# --- patches to what the harness uses -----------------------------------------------------------------------------
attempt(
    "protocol",
    names_of_the_harness="""
        from sandbox import policy_host
        policy_host.len = policy_host.range = policy_host.type = None
        return False
    """,
    answers_of_the_harness="""
        import gc
        from sandbox import policy_host
        host = next(o for o in gc.get_objects() if type(o) is policy_host.PolicyHost)
        host._acts[:] = [lambda observation: 0] * len(host._acts)
        host._count = 1
        return False
    """,
    numbers_of_the_harness="""
        import gc
        from sandbox import wire
        wire.FIRST, wire.SKIP = 0, 1
        for o in gc.get_objects():
            if type(o) is dict and 'num_actions' in o and 'seeds' in o: o['num_rounds'] = 10**9
        return False
    """,
    meter_of_the_harness="""
        import sys
        sys.stdout._allowance = 10**18
        print('spam' * 10**6)
        return False
    """,
    stream_of_its_own="""
        import io, sys
        sys.stdout = sys.stderr = sys.__stdout__ = io.StringIO()
        print('spam' * 10**6)
        return False
    """,
    patched_json="import json\njson.loads = json.dumps = json.JSONEncoder = None\nreturn False",
    patched_msgpack="import msgpack\nmsgpack.packb = msgpack.unpackb = msgpack.Packer = None\nreturn False",
    patched_array="import array\narray.array = list\nreturn False",
    patched_seeds="""
        from games import seeds
        seeds.seat_seed = seeds.match_seed = lambda *arguments: 1
        return False
    """,
    patched_traceback="""
        import linecache, traceback
        traceback.TracebackException = traceback.format_exception = None
        linecache.cache.clear()
        return False
    """,
    import_hook="""
        import sys
        class Finder:
            def find_spec(self, name, path, target=None): raise SystemExit(name)
        sys.meta_path[:] = [Finder()]
        sys.path_hooks[:] = [lambda path: 1 / 0]
        import decimal
        return False
    """,
    module_that_lies="""
        import sys, types
        class Liar(types.ModuleType):
            def __getattribute__(self, name): raise SystemExit
        for name in ('sandbox.wire', 'sandbox.moves', 'numpy', 'random', 'os'):
            sys.modules[name] = Liar(name)
        return False
    """,
    warnings_as_errors="import warnings\nwarnings.simplefilter('error')\nwarnings.filters.insert(0, 3)\nreturn False",
    numpy_errors="import numpy as np\nnp.seterr(all='raise')\nnp.seterrcall(lambda *a: 1 / 0)\nreturn False",
    decimal_traps="import decimal\ndecimal.getcontext().traps[decimal.Inexact] = True\nreturn False",
    byte_code_of_the_harness="""
        from sandbox import moves
        moves.read_move.__code__ = (lambda move, n: 0).__code__
        moves.read_move.__defaults__ = (1, 2)
        return False
    """,
    pending_call="""
        from sandbox.lowlevel import ctypes
        ctypes.pythonapi.Py_AddPendingCall(ctypes.pythonapi.PyErr_Clear, None)
        return False
    """,
    raised_from_nowhere="""
        from sandbox.lowlevel import ctypes
        thread = ctypes.c_ulong(ctypes.pythonapi.PyThread_get_thread_ident())
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(ZeroDivisionError))
        return False
    """,
    interrupted_main="import _thread\n_thread.interrupt_main()\nreturn False",
    recursion_limit_for_the_harness="""
        import sys
        frame, depth = sys._getframe(), 0
        while frame: frame, depth = frame.f_back, depth + 1
        sys.setrecursionlimit(depth + 1)
        return False
    """,
    surrogate_names="globals()['\\ud800'] = type('\\ud801', (), {})()\nreturn False",
)
faulty(
    "protocol",
    "killed",
    answers_all_questions_itself="""
        import os
        if observation['round'] == 0:
            for k in range(2, 13): os.write(1, k.to_bytes(4, 'little') + bytes([0, 1]))
            from sandbox import policy_host
            policy_host.os.write = lambda fd, data: len(data)
        return 0
    """,
)

# --- crashes from below -------------------------------------------------------------------------------------------
_C = "from sandbox.lowlevel import ctypes, _libc\napi = ctypes.pythonapi\n"
faulty(
    "exits",
    "killed",
    c_fatal_error=_C + "api.Py_FatalError(b'x')",
    c_exit=_C + "_libc.exit(0)",
    c_quick_exit=_C + "_libc._exit(3)",
    c_abort=_C + "_libc.abort()",
    exit_code_of_a_signal="import os\nos._exit(137)",
    python_exit=_C + "api.Py_Exit(0)",
    c_jump=_C + "_libc.longjmp(bytes(400), 1)",
    c_free_twice=_C
    + "_libc.free.argtypes = [ctypes.c_void_p]\n_libc.free(id(policy))\n_libc.free(id(policy))\nreturn 0",
    c_trap=_C + "ctypes.memset(id(type(None)), 65, 400)\nreturn None + type(None)()",
)
faulty(
    "exits",
    "killed timeout runtime_error memory",
    c_finalize=_C + "api.Py_FinalizeEx()\nreturn 1 // 0",
    c_lost_lock=_C + "api.PyEval_SaveThread()\nreturn 1 // 0",
    c_end_of_interpreter=_C + "api.Py_EndInterpreter(api.PyThreadState_Get())\nreturn 1 // 0",
    c_stack=_C + "api.Py_EnterRecursiveCall.restype = ctypes.c_int\nreturn 1 // 0",
    wrong_reference_counts=_C + "for _ in range(10**5): api.Py_DecRef(ctypes.py_object(Exception))\nreturn 1 // 0",
    code_from_garbage="""
        import types
        f = types.FunctionType(policy.__code__.replace(co_code=bytes(range(1, 255)) * 2, co_stacksize=2), {})
        return f(1)
    """,
    exception_table_of_garbage="""
        code = policy.__code__
        code = code.replace(co_exceptiontable=bytes(range(256))) if hasattr(code, 'co_exceptiontable') else code
        exec(code.replace(co_argcount=0, co_nlocals=0, co_varnames=()))
        return 1 // 0
    """,
    marshalled_code="""
        import marshal
        data = bytearray(marshal.dumps(policy.__code__))
        for k in range(30, len(data), 3): data[k] ^= 0x55
        exec(marshal.loads(bytes(data)))
        return 1 // 0
    """,
    frame_without_end="""
        def endless(): yield from endless()
        return next(endless())
    """,
    finalizers_in_a_row="""
        class Chain:
            def __init__(self, tail): self.tail = tail
            def __del__(self): self.tail = None
        chain = None
        for _ in range(10**5): chain = Chain(chain)
        del chain
        return 1 // 0
    """,
)

# --- leaks --------------------------------------------------------------------------------------------------------
attempt(
    "leaks",
    seeds_of_the_other_seat="""
        import gc
        from games.seeds import seat_seed
        other = seat_seed(int('5EED' + '0F7E575', 16), 1)
        seen = [o for d in gc.get_objects() if type(d) in (list, tuple, dict)
                for o in (d.values() if type(d) is dict else d) if type(o) is int]
        return seen.count(other) > 1
    """,
    question_of_the_other_seat="""
        import gc
        names = ('opponent_seed', 'opponent_source', 'returns', 'master_seed')
        return any(name in d for d in gc.get_objects() if type(d) is dict and d.get('__name__') is None
                   for name in names)
    """,
    frames_of_all_threads="import sys\nreturn len(sys._current_frames()) > 1",
    stray_modules="import sys\nreturn {'evolve', 'workers', 'ray'} & {name.split('.')[0] for name in sys.modules}",
    programs_before_this_one="""
        import linecache, sys
        return sum(key == '<policy>' for key in linecache.cache) > 1 or 'Rehearsed' in repr(sys.modules.get('policy'))
    """,
)
