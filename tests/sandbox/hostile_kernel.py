"""More hostile programs, of the kernel's many doors: adds to :data:`hostile_corpus.CORPUS`."""

from __future__ import annotations

from hostile_corpus import attempt, faulty, raw

# --- memory: execution, mappings, keys, other processes' pages -------------------------------------------------------
raw(
    "files",
    raw_mmap_null_page=(9, "L(0), L(4096), L(3), L(0x32), L(-1), L(0)"),
    raw_mmap_the_pipe=(9, "L(0), L(4096), L(1), L(1), L(0), L(0)"),
    raw_mprotect_exec_high_bits=(10, "L(id(0) & ~4095), L(4096), L(5 | 1 << 40)"),
    raw_pkey_mprotect_exec=(329, "L(id(0) & ~4095), L(4096), L(7), L(-1)"),
    raw_pkey_alloc=(330, "L(0), L(0)"),
    raw_map_shadow_stack=(453, "L(0), L(4096), L(0)"),
    raw_remap_file_pages=(216, "L(id(0) & ~4095), L(4096), L(0), L(0), L(0)"),
    raw_mlockall=(151, "L(3)"),
    raw_mbind=(237, "L(id(0) & ~4095), L(4096), L(0), L(0), L(0), L(0)"),
    raw_madvise_poison=(28, "L(id(bytes(9000)) & ~4095), L(4096), L(100)"),
    raw_madvise_offline=(28, "L(id(bytes(9000)) & ~4095), L(4096), L(101)"),
    raw_process_madvise=(440, "L(0), P(bytes(16)), L(1), L(4), L(0)"),
    raw_process_mrelease=(448, "L(0), L(0)"),
    raw_move_pages=(279, "L(1), L(1), P(bytes(8)), L(0), P(bytes(8)), L(0)"),
    raw_migrate_pages=(256, "L(1), L(8), P(bytes(8)), P(bytes(8))"),
    raw_modify_ldt=(154, "L(1), P(bytes(16)), L(16)"),
    raw_iopl=(172, "L(3)"),
    raw_ioperm=(173, "L(0x80), L(1), L(1)"),
    raw_arch_prctl=(158, "L(0x1011), L(0)"),
    raw_fsopen=(430, "P(b'proc'), L(0)"),
    raw_open_tree=(428, "L(-100), P(b'/'), L(1)"),
    raw_statmount=(457, "P(bytes(24)), P(bytes(256)), L(256), L(0)"),
    raw_name_to_handle=(303, "L(-100), P(b'/'), P(bytes(128)), P(bytes(8)), L(0)"),
    raw_fanotify=(300, "L(0), L(0)"),
    raw_pread=(17, "L(0), P(bytes(8)), L(1), L(0)"),
    raw_readv=(19, "L(0), P(bytes(16)), L(1)"),
    raw_writev=(20, "L(1), P(bytes(16)), L(1)"),
    raw_vmsplice=(278, "L(1), P(bytes(16)), L(1), L(0)"),
    raw_splice=(275, "L(0), L(0), L(1), L(0), L(1), L(0)"),
    raw_tee=(276, "L(0), L(1), L(1), L(0)"),
    raw_sendfile=(40, "L(1), L(0), L(0), L(1)"),
    raw_dup3=(292, "L(1), L(0), L(0)"),
    raw_eventfd=(290, "L(0), L(0)"),
    raw_epoll=(291, "L(0)"),
    raw_read_other_descriptor=(0, "L(3), P(bytes(8)), L(1)"),
    raw_write_other_descriptor=(1, "L(2), P(b'x'), L(1)"),
    raw_write_negative_descriptor=(1, "L(-1), P(b'x'), L(1)"),
    raw_read_descriptor_high_bits=(0, "L(2 | 1 << 32), P(bytes(8)), L(1)"),
)

# --- processes, privileges, signals, time of others ------------------------------------------------------------------
raw(
    "processes",
    raw_execveat=(322, "L(0), P(b''), L(0), L(0), L(0x1000)"),
    raw_seccomp_listener=(317, "L(1), L(8), P(bytes(16))"),
    raw_prctl_seccomp=(157, "L(22), L(2), P(bytes(16)), L(0), L(0)"),
    raw_prctl_no_death_signal=(157, "L(1), L(0), L(0), L(0), L(0)"),
    raw_prctl_ptracer=(157, "L(0x59616d61), L(-1), L(0), L(0), L(0)"),
    raw_prctl_memory_map=(157, "L(35), L(8), L(id(0)), L(0), L(0)"),
    raw_prctl_subreaper=(157, "L(36), L(1), L(0), L(0), L(0)"),
    raw_prctl_name=(157, "L(15), P(b'systemd'), L(0), L(0), L(0)"),
    raw_prctl_ambient=(157, "L(47), L(2), L(21), L(0), L(0)"),
    raw_capset=(126, "P(bytes(8)), P(bytes([255] * 24))"),
    raw_setresuid=(117, "L(0), L(0), L(0)"),
    raw_setpgid=(109, "L(0), L(1)"),
    raw_kill_group_of_init=(62, "L(-1), L(9)"),
    raw_tkill=(200, "L(1), L(9)"),
    raw_sigprocmask=(14, "L(2), P(b'\\xff' * 8), L(0), L(8)"),
    raw_sigaltstack=(131, "P(bytes(24)), L(0)"),
    raw_signalfd=(289, "L(-1), P(b'\\xff' * 8), L(8), L(0)"),
    raw_timer_create=(222, "L(1), L(0), P(bytes(8))"),
    raw_timerfd=(283, "L(1), L(0)"),
    raw_setitimer=(38, "L(0), P(bytes(32)), L(0)"),
    raw_request_key=(249, "P(b'user'), P(b'x'), L(0), L(-3)"),
    raw_add_key=(248, "P(b'user'), P(b'x'), P(b'y'), L(1), L(-3)"),
    raw_io_uring_enter=(426, "L(0), L(1), L(0), L(0), L(0), L(0)"),
    raw_io_uring_register=(427, "L(-1), L(0), L(0), L(0)"),
    raw_unshare_net=(272, "L(0x40000000)"),
    raw_unshare_time=(272, "L(0x80)"),
    raw_setns_by_pidfd=(308, "L(0), L(0x7e020000)"),
    raw_pivot_root=(155, "P(b'.'), P(b'.')"),
    raw_umount=(166, "P(b'/'), L(2)"),
    raw_landlock_anew=(444, "P(bytes(8)), L(8), L(0)"),
    raw_lsm_attribute=(460, "L(100), P(bytes(32)), L(32), L(0)"),
    raw_sched_setattr=(314, "L(0), P(bytes(56)), L(0)"),
    raw_ioprio=(251, "L(1), L(0), L(0)"),
    raw_set_robust_list=(273, "P(bytes(24)), L(24)"),
    raw_rseq=(334, "P(bytes(32)), L(32), L(0), L(0)"),
    raw_clock_settime=(227, "L(0), P(bytes(16))"),
    raw_adjtimex=(159, "P(bytes(208))"),
    raw_reboot=(169, "L(0xfee1dead), L(0x28121969), L(0), L(0)"),
    raw_syslog=(103, "L(3), P(bytes(64)), L(64)"),
    raw_quotactl=(179, "L(0), L(0), L(0), L(0)"),
    raw_semget=(64, "L(0), L(1), L(0o1600)"),
    raw_shmat=(30, "L(0), L(0), L(0)"),
    raw_mq_open=(240, "P(b'x'), L(66), L(0o600), L(0)"),
    raw_getrusage_children=(98, "L(-1), P(bytes(144))"),
    raw_times=(100, "P(bytes(32))"),
    raw_sysinfo=(99, "P(bytes(128))"),
    raw_uname=(63, "P(bytes(400))"),
)
attempt(
    "processes",
    processor_clock_of_the_parent="import time\nreturn time.clock_gettime((~1 << 3) | 2) > 0",
    processor_clocks_of_neighbours="""
        import time
        return any(_works(lambda: time.clock_gettime((~pid << 3) | 2)) for pid in range(1, 3000))
    """,
    clock_of_a_descriptor="import time\nreturn time.clock_gettime((~1 << 3) | 3)",
    stops_itself="import signal\nsignal.raise_signal(signal.SIGSTOP)\nreturn True",
    waits_for_signals="import signal\nsignal.sigwait([signal.SIGALRM])\nreturn True",
    pidfd_of_itself="import os\nreturn os.pidfd_open(os.getpid() if os.getpid() > 0 else 2)",
    dump_later="import faulthandler\nfaulthandler.dump_traceback_later(0.01, file=1)\nreturn True",
    wake_up_descriptor="import signal\nreturn signal.set_wakeup_fd(1) and False",
    own_alarm_handler="""
        import signal
        signal.signal(signal.SIGALRM, lambda *a: None)
        return True
    """,
    sub_interpreter="""
        import _xxsubinterpreters as interpreters
        one = interpreters.create()
        interpreters.run_string(one, "open('/etc/passwd')")
        return True
    """,
    load_average="import os\nreturn os.getloadavg()",
    machine_name="import os\nreturn os.uname().nodename",
    memory_file_to_run="import os\nfd = os.memfd_create('x')\nos.execve(fd, ['x'], {})\nreturn True",
)
raw(
    "network",
    raw_bind=(49, "L(0), P(bytes(16)), L(16)"),
    raw_connect=(42, "L(0), P(bytes(16)), L(16)"),
    raw_accept4=(288, "L(0), L(0), L(0), L(0)"),
    raw_recvmsg=(47, "L(0), P(bytes(56)), L(0)"),
    raw_recvmmsg=(299, "L(0), P(bytes(64)), L(1), L(0), L(0)"),
    raw_sendmmsg=(307, "L(1), P(bytes(64)), L(1), L(0)"),
    raw_getpeername=(52, "L(0), P(bytes(16)), P(bytes(4))"),
    raw_getsockopt=(55, "L(0), L(1), L(17), P(bytes(12)), P(bytes(4))"),
    raw_socketpair=(53, "L(1), L(1), L(0), P(bytes(8))"),
    raw_socket_xdp=(41, "L(44), L(3), L(0)"),
    raw_socket_bluetooth=(41, "L(31), L(3), L(1)"),
    raw_socket_tipc=(41, "L(30), L(2), L(0)"),
)
attempt(
    "network",
    pass_a_descriptor="""
        from sandbox.jail import socket
        import array
        s = socket.socket(fileno=1)
        s.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0]))])
        return True
    """,
)

# --- crashes that need the kernel ------------------------------------------------------------------------------------
faulty(
    "exits",
    "killed",
    forged_signal_frame="""
        from sandbox import lowlevel
        lowlevel._libc.syscall(lowlevel.ctypes.c_long(lowlevel.syscall_number("rt_sigreturn")))
    """,
    unmaps_its_interpreter="""
        from sandbox import lowlevel
        L = lowlevel.ctypes.c_long
        base = lowlevel.ctypes.cast(lowlevel.ctypes.pythonapi.Py_GetVersion, lowlevel.ctypes.c_void_p).value
        lowlevel._libc.syscall(L(lowlevel.syscall_number("munmap")), L(base & ~0xFFFFF), L(16 << 20))
    """,
    lowers_its_break="""
        from sandbox import lowlevel
        L = lowlevel.ctypes.c_long
        top = lowlevel._libc.sbrk(0)
        here = id(object()) & ~0xFFFFF
        lowlevel._libc.syscall(L(lowlevel.syscall_number("munmap")), L(here), L(1 << 20))
        return len([object() for _ in range(100_000)]) and 0
    """,
)
