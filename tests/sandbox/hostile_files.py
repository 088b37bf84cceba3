"""Hostile programs that want files, processes or the network: adds to :data:`hostile_corpus.CORPUS`."""

from __future__ import annotations

from hostile_corpus import ENVIRONMENT_SECRET, attempt, raw

# --- files, environment, descriptors, memory mappings ------------------------------------------------------------
attempt(
    "files",
    read_passwd="return open('/etc/passwd').read()",
    read_relative="return open('README.md').read()",
    read_proc_environ="return open('/proc/self/environ', 'rb').read()",
    read_proc_mem="return open('/proc/self/mem', 'r+b')",
    read_proc_maps="return open('/proc/self/maps').read()",
    read_parent_cmdline="import os\nreturn open(f'/proc/{os.getppid()}/cmdline').read()",
    read_device="return open('/dev/urandom', 'rb').read(1)",
    write_tmp="open('/tmp/csro-breach', 'w').write('x')\nreturn True",
    write_shm="open('/dev/shm/csro-breach', 'w').write('x')\nreturn True",
    write_home="import os\nreturn open(os.path.expanduser('~/csro-breach'), 'w')",
    list_root="import os\nreturn os.listdir('/') or True",
    walk="import os\nreturn list(os.walk('/')) ",
    stat_root="import os\nreturn os.stat('/')",
    access="import os\nreturn os.access('/', os.F_OK)",
    getcwd="import os\nreturn os.getcwd()",
    chdir="import os\nos.chdir('/')\nreturn True",
    mkdir="import os\nos.mkdir('/tmp/csro-breach-dir')\nreturn True",
    chmod="import os\nos.chmod('/tmp', 0o777)\nreturn True",
    symlink="import os\nos.symlink('/etc/passwd', '/tmp/csro-breach-link')\nreturn True",
    unlink="import os\nos.unlink('/tmp/csro-canary')\nreturn True",
    rename="import os\nos.rename('/tmp/csro-canary', '/tmp/csro-moved')\nreturn True",
    environment=f"import os\nreturn {ENVIRONMENT_SECRET!r} in os.environ or os.environ.get('HOME')",
    libc_environment=f"""
        from sandbox import lowlevel
        lowlevel._libc.getenv.restype = lowlevel.ctypes.c_char_p
        return lowlevel._libc.getenv({ENVIRONMENT_SECRET.encode()!r})
    """,
    pipe="import os\nreturn os.pipe()",
    dup="import os\nreturn os.dup(0)",
    dup_over_stdin="import os\nreturn os.dup2(1, 0)",
    memfd="import os\nreturn os.memfd_create('x') >= 0",
    open_pty="import os\nreturn os.openpty()",
    inherited_descriptors="import os\nreturn any(_works(lambda: os.fstat(fd)) for fd in range(2, 64))",
    executable_mmap="import mmap\nreturn mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)",
    ctypes_callback="""
        from sandbox.lowlevel import ctypes
        return ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1)() == 1
    """,
    import_from_disk="import wave\nreturn True",
    linecache_reads="import linecache\nreturn linecache.getlines('/etc/passwd')",
    truncate_pipe="import os\nos.ftruncate(1, 0)\nreturn True",
    path_home="import pathlib\nreturn list(pathlib.Path('/root').iterdir())",
)
raw(
    "files",
    raw_openat=(257, "L(-100), P(b'/etc/passwd'), L(0)"),
    raw_openat2=(437, "L(-100), P(b'/etc/passwd'), P(bytes(24)), L(24)"),
    raw_statx=(332, "L(-100), P(b'/'), L(0), L(0x7ff), P(bytes(256))"),
    raw_io_uring=(425, "L(4), P(bytes(120))"),
    raw_userfaultfd=(323, "L(0)"),
    raw_inotify=(294, "L(0)"),
    raw_memfd_secret=(447, "L(0)"),
    raw_mprotect_exec=(10, "L(id(0) & ~4095), L(4096), L(7)"),
    raw_x32_getpid=(0x40000000 + 39, "L(0)"),
    raw_open_by_handle=(304, "L(-100), P(bytes(64)), L(0)"),
    raw_close_stdin=(3, "L(0)"),
    raw_fcntl=(72, "L(1), L(0), L(0)"),
    raw_ioctl=(16, "L(0), L(0x541B), P(bytes(8))"),
)

# --- processes, threads, signals, privileges ---------------------------------------------------------------------
attempt(
    "processes",
    fork="import os\npid = os.fork()\nif pid == 0: os._exit(0)\nreturn True",
    forkpty="import os\nreturn os.forkpty()",
    system="import os\nreturn os.system('true') == 0",
    posix_spawn="import os\nreturn os.posix_spawn('/bin/true', ['true'], {})",
    popen="import os\nreturn os.popen('echo 1').read()",
    execv="import os\nos.execv('/bin/true', ['true'])",
    thread="import threading\nt = threading.Thread(target=int)\nt.start()\nreturn True",
    low_level_thread="import _thread\nreturn _thread.start_new_thread(int, ())",
    thread_timer="import threading\nthreading.Timer(0, int).start()\nreturn True",
    kill_parent="import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nreturn True",
    kill_everyone="import os\nos.kill(-1, 9)\nreturn True",
    kill_group="import os\nos.killpg(0, 9)\nreturn True",
    kill_init="import os\nos.kill(1, 0)\nreturn True",
    kill_neighbours="import os\nreturn [pid for pid in range(1, 400) if _works(lambda: os.kill(pid, 0))]",
    ignore_alarm="import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nreturn True",
    block_signals="import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\nreturn True",
    own_alarm="import signal\nsignal.alarm(7)\nreturn signal.alarm(0) == 7",
    interval_timer="import signal\nsignal.setitimer(signal.ITIMER_REAL, 5)\nreturn True",
    setuid_root="import os\nos.setuid(0)\nreturn True",
    setgid="import os\nos.setgid(0)\nreturn True",
    setsid="import os\nos.setsid()\nreturn True",
    nice="import os\nos.nice(1)\nreturn True",
    affinity="import os\nos.sched_setaffinity(0, {0, 1})\nreturn True",
    scheduler="import os\nos.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))\nreturn True",
    raise_limits="from sandbox.jail import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nreturn True",
    chroot="import os\nos.chroot('/')\nreturn True",
)
raw(
    "processes",
    raw_vfork=(58, "L(0)"),
    raw_clone=(56, "L(17), L(0), L(0), L(0), L(0)"),
    raw_clone3=(435, "P(bytes(88)), L(88)"),
    raw_execve=(59, "P(b'/bin/true'), L(0), L(0)"),
    raw_ptrace=(101, "L(0), L(0), L(0), L(0)"),
    raw_vm_readv=(310, "L(1), L(0), L(0), L(0), L(0), L(0)"),
    raw_vm_writev=(311, "L(1), L(0), L(0), L(0), L(0), L(0)"),
    raw_pidfd_open=(434, "L(1), L(0)"),
    raw_pidfd_signal=(424, "L(0), L(0), L(0), L(0)"),
    raw_pidfd_getfd=(438, "L(0), L(0), L(0)"),
    raw_prlimit=(302, "L(0), L(9), L(0), P(bytes(16))"),
    raw_unshare_user=(272, "L(0x10000000)"),
    raw_setns=(308, "L(0), L(0)"),
    raw_mount=(165, "P(b'x'), P(b'/'), P(b'tmpfs'), L(0), L(0)"),
    raw_bpf=(321, "L(0), P(bytes(64)), L(64)"),
    raw_perf=(298, "P(bytes(112)), L(0), L(-1), L(-1), L(0)"),
    raw_keyctl=(250, "L(0), L(-3), L(0)"),
    raw_kcmp=(312, "L(1), L(1), L(0), L(0), L(0)"),
    raw_second_filter=(317, "L(1), L(0), P(bytes(16))"),
    raw_prctl_dumpable=(157, "L(4), L(1), L(0), L(0), L(0)"),
    raw_personality=(135, "L(0x0040000)"),
    raw_sethostname=(170, "P(b'x'), L(1)"),
    raw_init_module=(175, "L(0), L(0), L(0)"),
    raw_tgkill=(234, "L(1), L(1), L(9)"),
    raw_sigqueue=(129, "L(1), L(9), P(bytes(128))"),
    raw_shmget=(29, "L(0), L(4096), L(0o1600)"),
    raw_msgget=(68, "L(0), L(0o1600)"),
    raw_futex=(202, "P(bytes(8)), L(1), L(1), L(0)"),
    raw_sigaction=(13, "L(14), L(0), P(bytes(152)), L(8)"),
    raw_getppid=(110, "L(0)"),
)

# --- network -----------------------------------------------------------------------------------------------------
attempt(
    "network",
    tcp="from sandbox.jail import socket\nreturn socket.create_connection(('127.0.0.1', 6379), 0.1)",
    udp="from sandbox.jail import socket\nreturn socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    listen="from sandbox.jail import socket\ns = socket.socket()\ns.bind(('', 0))\nreturn True",
    tcp6="from sandbox.jail import socket\nreturn socket.socket(socket.AF_INET6)",
    unix="from sandbox.jail import socket\nreturn socket.socket(socket.AF_UNIX)",
    abstract_unix="from sandbox.jail import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0x')\nreturn True",
    pair="from sandbox.jail import socket\nreturn socket.socketpair()",
    netlink="from sandbox.jail import socket\nreturn socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    packet="from sandbox.jail import socket\nreturn socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    crypto="from sandbox.jail import socket\nreturn socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
    vsock="from sandbox.jail import socket\nreturn socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
    resolve="from sandbox.jail import socket\nreturn socket.getaddrinfo('localhost', 80)",
    adopt_descriptor="""
        from sandbox.jail import socket
        return any(_works(lambda: socket.socket(fileno=fd).getpeername()) for fd in range(0, 16))
    """,
)
raw(
    "network",
    raw_socket=(41, "L(2), L(1), L(0)"),
    raw_sendto=(44, "L(1), P(b'x'), L(1), L(0), L(0), L(0)"),
    raw_sendmsg=(46, "L(1), P(bytes(56)), L(0)"),
)
