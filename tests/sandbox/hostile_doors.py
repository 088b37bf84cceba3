"""Hostile programs that try the standard library's and numpy's other doors: adds to :data:`hostile_corpus.CORPUS`."""

from __future__ import annotations

from hostile_corpus import attempt, faulty

attempt(
    "files",
    numpy_memory_map="import numpy as np\nreturn np.memmap('/tmp/csro-breach', dtype='u1', mode='w+', shape=4)",
    numpy_load="import numpy as np\nreturn np.load('/etc/passwd', allow_pickle=True)",
    numpy_from_file="import numpy as np\nreturn np.fromfile('/etc/passwd', dtype='u1')",
    numpy_from_question="import numpy as np\nreturn np.fromfile(0, dtype='u1', count=1)",
    numpy_save="import numpy as np\nnp.save('/tmp/csro-breach', np.ones(3))\nreturn True",
    numpy_to_file="import numpy as np\nnp.ones(3).tofile('/tmp/csro-breach')\nreturn True",
    numpy_text="import numpy as np\nreturn np.loadtxt('/etc/passwd', dtype=str)",
    numpy_library="import numpy as np\nreturn np.ctypeslib.load_library('libcrypt', '/usr/lib')",
    numpy_data_source="import numpy as np\nreturn np.lib.npyio.DataSource('/tmp').open('/etc/passwd').read()",
    file_io="import _io\nreturn _io.FileIO('/etc/passwd').read()",
    open_code="import io\nreturn io.open_code('/etc/passwd').read()",
    posix_open="import posix\nreturn posix.open('/etc/passwd', 0)",
    relative_to_the_pipe="import os\nreturn os.open('etc/passwd', 0, dir_fd=0)",
    opener="import os\nreturn open('x', opener=lambda name, flags: os.open('/etc/passwd', 0)).read()",
    loader="from importlib import machinery\nreturn machinery.SourceFileLoader('x', '/').get_data('/etc/passwd')",
    search_path_extended="import sys\nsys.path[:] = ['/usr/lib/python3', '/tmp']\nimport this\nreturn True",
    zip_archive="import zipimport\nreturn zipimport.zipimporter('/usr/lib/python311.zip')",
    extension_module="""
        import _imp
        from importlib.machinery import ModuleSpec
        spec = ModuleSpec('evil', None)
        spec.origin = '/tmp/evil.so'
        return _imp.create_dynamic(spec)
    """,
    another_library="from sandbox.lowlevel import ctypes\nreturn ctypes.CDLL('libcrypt.so.1')",
    log_file="import logging\nlogging.FileHandler('/tmp/csro-breach').emit(logging.makeLogRecord({}))\nreturn True",
    token_source="import tokenize\nreturn tokenize.open('/etc/passwd').read()",
    source_of_the_harness="""
        import inspect
        from sandbox import policy_host
        return inspect.getsource(policy_host)
    """,
    map_the_question="import mmap\nreturn mmap.mmap(0, 4096)",
    map_the_answer="import mmap\nreturn mmap.mmap(1, 4096, prot=mmap.PROT_WRITE)",
    list_descriptors="import os\nreturn list(os.scandir('/proc/self/fd'))",
    executable_name="import os\nreturn os.readlink('/proc/self/exe')",
    parent_of_all="import os\nreturn os.readlink('/proc/1/root')",
    kernel_log="return open('/dev/kmsg').read(1)",
    memory_of_the_machine="return open('/dev/mem', 'rb').read(1)",
    random_files="import os\nreturn os.open('/dev/shm', os.O_TMPFILE | os.O_RDWR)",
    copy_between_pipes="import os\nreturn os.copy_file_range(0, 1, 1)",
    nonblocking="import os\nos.set_blocking(0, False)\nreturn True",
    inheritable="import os\nos.set_inheritable(0, True)\nreturn os.get_inheritable(0) and False",
    terminal="import os\nreturn os.isatty(0) or os.ttyname(0)",
    extended_attributes="import os\nreturn os.listxattr('/') or os.getxattr('/', 'user.x')",
    secure_random="import os\nreturn len(os.urandom(8)) == 8 and False",
)
attempt(
    "processes",
    fork_and_execute="""
        import _posixsubprocess
        return _posixsubprocess.fork_exec([b'/bin/true'], [b'/bin/true'], True, (), None, None, -1, -1, -1, -1, -1, -1,
                                          -1, -1, False, False, 0, None, None, None, -1, None, False)
    """,
    pool_of_threads="""
        from concurrent.futures import ThreadPoolExecutor
        return ThreadPoolExecutor(1).submit(lambda: 1).result() == 1
    """,
    thread_of_the_library="""
        from sandbox.lowlevel import ctypes, _libc
        return _libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, _libc.getpid, None) == 0
    """,
    kills_itself="import os\nos.kill(os.getpid(), 9)\nreturn True",
    kills_its_thread="import signal, threading\nsignal.pthread_kill(threading.get_ident(), 9)\nreturn True",
    raises_a_signal="import signal\nsignal.raise_signal(signal.SIGUSR1)\nreturn True",
    timed_wait="import signal\nsignal.sigtimedwait([signal.SIGALRM], 0.01)\nreturn True",
    signal_interrupts="import signal\nsignal.siginterrupt(signal.SIGALRM, True)\nreturn True",
    handler_in_c="import faulthandler, signal\nfaulthandler.register(signal.SIGALRM, file=1)\nreturn True",
    priority="import os\nos.setpriority(os.PRIO_PROCESS, 0, 5)\nreturn True",
    yields_the_processor="import os\nos.sched_yield()\nreturn True",
    affinity_of_the_parent="import os\nreturn os.sched_getaffinity(os.getppid() or 1)",
    wait_for_anyone="import os\nreturn os.waitpid(-1, os.WNOHANG)",
    change_of_mask="import os\nos.umask(0)\nreturn os.umask(0) == 0",
    new_namespace_by_the_library="from sandbox.lowlevel import _libc\nreturn _libc.unshare(0x10000000) == 0",
    capabilities_back="from sandbox import lowlevel\nlowlevel.drop_capabilities()\nreturn True",
    second_jail="from sandbox import lowlevel\nlowlevel.install_seccomp(lowlevel.seccomp_filter())\nreturn True",
    dumpable="from sandbox import lowlevel\nlowlevel.set_dumpable(True)\nreturn True",
    zygote_from_within="from sandbox import zygote\nreturn zygote._process_cpu_s(1) or zygote._process_cpu_s(2)",
)
attempt(
    "network",
    socket_extension="import importlib\nreturn importlib.import_module('_socket').socket(2, 1)",
    log_to_a_host="""
        import logging.handlers
        logging.handlers.SysLogHandler(('127.0.0.1', 514))
        return True
    """,
    name_of_a_host="from sandbox.lowlevel import _libc\nreturn _libc.gethostbyname(b'localhost')",
    socket_of_the_library="from sandbox.lowlevel import _libc\nreturn _libc.socket(1, 1, 0) >= 0",
    event_loop="import asyncio\nasyncio.new_event_loop()\nreturn True",
    open_url="import webbrowser\nreturn webbrowser.open('http://127.0.0.1')",
)
faulty(
    "bombs",
    "memory",
    byte_array="x = bytearray()\nwhile True: x += bytes(1 << 20)",
    c_buffer="from sandbox.lowlevel import ctypes\nreturn len(ctypes.create_string_buffer(1 << 34)) * 0",
    typed_array_growth="import array\nx = array.array('d', [1.0])\nwhile True: x += x",
    zero_fill="return len('x'.zfill(1 << 34))",
    format_method="return len('{:>{}}'.format('x', 1 << 34))",
    precision="return len('%.*f' % (2**31 - 1, 1.0))",
    repeated_list="return len([0] * (1 << 33))",
    list_of_a_range="return len(list(range(10**11)))",
    random_bytes="import secrets\nreturn len(secrets.token_bytes(1 << 34))",
    numpy_random="import numpy as np\nreturn int(np.random.default_rng(0).random(1 << 31)[0])",
    numpy_outer="import numpy as np\nreturn int(np.add.outer(np.ones(1 << 16), np.ones(1 << 16))[0, 0])",
    suspended_generators="""
        def forever():
            block = [0] * 100_000
            while True: yield block
        kept = []
        while True:
            kept.append(forever())
            next(kept[-1])
    """,
    kept_frames="""
        import sys
        kept = []
        def f():
            block = bytearray(1 << 20)
            return sys._getframe()
        while True: kept.append(f())
    """,
    kept_tracebacks="""
        kept = None
        while True:
            try: raise ValueError(bytearray(1 << 20))
            except ValueError as e:
                e.__context__ = kept
                kept = e
    """,
    cached_results="""
        import functools
        @functools.lru_cache(None)
        def f(n): return bytearray(1 << 20)
        n = 0
        while True: f(n := n + 1)
    """,
    swallowed_memory_errors="""
        kept = []
        while True:
            try:
                while True: kept.append(bytearray(1 << 20))
            except MemoryError:
                kept.append(bytearray(1 << 40))
    """,
    decimal_precision="""
        import decimal
        decimal.getcontext().prec = decimal.MAX_PREC
        return int(decimal.Decimal(1) / 3)
    """,
)
faulty(
    "bombs",
    "timeout",
    sleep_of_ages="import time\ntime.sleep(1e6)\nreturn 0",
    many_short_sleeps="import time\nwhile True: time.sleep(0.001)",
    sleeps_in_the_library="from sandbox.lowlevel import _libc\nwhile True: _libc.usleep(1000)",
    yields_for_ever="""
        def forever():
            while True: yield
        for _ in forever(): pass
    """,
    endless_iterator_to_max="import itertools\nreturn max(itertools.repeat(1))",
    endless_comparison="""
        class Odd:
            def __lt__(self, other): return Odd() < other if int() else self.__lt__(other) if int() else spin()
        def spin():
            while True: pass
        return Odd() < Odd()
    """,
    quantifiers="import re\nreturn len(re.findall(r'(x+x+)+y', 'x' * 64))",
    alternatives="import re\nreturn len(re.sub(r'(a|a|aa)+$', '', 'a' * 64 + 'b'))",
    substring="return ('a' * 10**6 + 'b' + 'a' * 10**6) in ('a' * (4 * 10**6)) and 0 or pow(3, 10**9) % 3",
    held_alarm="""
        import gc
        next(o for o in gc.get_objects() if type(o).__name__ == 'Alarm').hold()
        while True: pass
    """,
    disarmed_alarm="""
        import gc
        next(o for o in gc.get_objects() if type(o).__name__ == 'Alarm').armed = False
        while True: pass
    """,
    byte_code_without_interrupts="""
        import dis
        code = (lambda: 0).__code__
        jump = dis.opmap.get('JUMP_BACKWARD_NO_INTERRUPT', dis.opmap.get('JUMP_ABSOLUTE'))
        resume = bytes([dis.opmap['RESUME'], 0]) if 'RESUME' in dis.opmap else b''
        loop = code.replace(co_code=resume + bytes([dis.opmap['NOP'], 0, jump, 2]))
        (lambda: 0).__class__(loop, {})()
    """,
    endless_unicode="import unicodedata\nwhile True: unicodedata.normalize('NFKD', '\\ufdfa' * 10**5)",
    endless_import="""
        import sys
        class Finder:
            def find_spec(self, *arguments):
                while True: pass
        sys.meta_path.insert(0, Finder())
        import no_such_module
    """,
    endless_warning="""
        import warnings
        def spin(*arguments, **named):
            while True: pass
        warnings.showwarning = spin
        warnings.simplefilter('always')
        warnings.warn('x')
    """,
    endless_unraisable="""
        import sys
        def spin(*arguments):
            while True: pass
        sys.unraisablehook = spin
        class Thing:
            def __del__(self): raise ValueError
        Thing()
        return 0
    """,
)
faulty(
    "bombs",
    "output_flood",
    logging_flood="import logging\nwhile True: logging.error('spam' * 100)",
    traceback_flood="""
        import traceback
        while True:
            try: 1 // 0
            except ZeroDivisionError: traceback.print_exc()
    """,
    pretty_flood="import pprint\npprint.pprint([['spam'] * 100] * 1000)\nreturn 0",
    line_by_line="import sys\nsys.stdout.writelines('spam\\n' for _ in range(10**7))\nreturn 0",
    disassembly_flood="import dis\nwhile True: dis.dis(dis)",
)
faulty(
    "bombs",
    "killed timeout memory runtime_error output_flood",
    endless_join="import itertools\nreturn len(''.join(itertools.repeat('x' * 1000)))",
    lock_taken_twice="import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()\nreturn 1 // 0",
    empty_queue="import queue\nreturn queue.Queue().get()",
    event_that_never_comes="import threading\nwhile not threading.Event().wait(): pass",
    join_with_itself="import threading\nthreading.current_thread().join()",
    flood_from_destructors="""
        class Thing:
            def __del__(self): raise ValueError('spam' * 100)
        while True: Thing()
    """,
    debugged_collector="""
        import gc
        gc.set_debug(gc.DEBUG_STATS | gc.DEBUG_SAVEALL)
        while True: gc.collect()
    """,
)
