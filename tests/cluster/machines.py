"""Machines on one machine: network, process and mount namespaces on a bridge, each with an sshd, an unprivileged user
and a home of its own, as ``ray up`` expects them. Needs root, openssh-server, rsync and iproute2.

They are prepared as a machine is on which csro was set up before: a copy of this checkout's virtual environment lies at
``~/csro/.venv``. A stand-in for systemd's user manager does what ``deploy/csro-head.service`` asks of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.workers.runs import wait_until

CHECKOUT = Path(__file__).parents[2]
USER, UID, HOME = "csro", 2099, "/home/csro"
NAMES = {"head": "10.0.0.1", "one": "10.0.0.2", "two": "10.0.0.3"}
"""The addresses of ``deploy/cluster.yaml``, which is used as it is."""
OUTSIDE = "10.0.0.100"
BRIDGE, HOST = "csro-drill", "csro-drill-host"
"""The bridge, and the name of the network that it and the near ends of the cables are in."""
CLONE_NEWNET = 0x40000000
AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")
"""While it is on, niceness counts within a session only."""

SYSTEMCTL = """#!/bin/sh
# Stands in for systemd's user manager: `systemctl --user COMMAND [UNIT]`, and `boot` for a machine that starts.
units=$HOME/.config/systemd/user
value() { sed -n "s|^$2=||p" "$units/$1.service" | sed "s|%h|$HOME|g"; }
start() {
    enabled=$units/$1.enabled; touch "$enabled"
    setsid nohup "$0" --user keep "$1" >>"$HOME/$1.log" 2>&1 &
}
# systemd ends all that a unit started before it starts it again; here that is the user's Python, and what Ray brings.
end_all() {
    for each in /proc/[0-9]*; do
        case $(readlink $each/exe 2>/dev/null) in
        */python3* | */gcs_server | */raylet) grep -q connect_ex $each/cmdline || kill -9 ${each#/proc/} ;;
        esac
    done
}
case $2 in
show-environment | daemon-reload) ;;
enable) start "$4" && eval "$(value "$4" ExecStartPost)" ;;
keep) while [ -e "$units/$3.enabled" ]; do $(value "$3" ExecStart); end_all; sleep "$(value "$3" RestartSec)"; done ;;
stop) rm -f "$units/$3.enabled" ;;
boot) for file in "$units"/*.enabled; do if [ -e "$file" ]; then start "$(basename "$file" .enabled)"; fi; done ;;
*) echo "systemctl: $*" >&2; exit 1 ;;
esac
"""

BOOT = """
set -e
hostname csro-$NAME
mount -t tmpfs -o mode=755 tmpfs /mnt && mkdir /mnt/home /mnt/python
mount --bind "$FILES/home" /mnt/home
mount --bind "$PYTHON" /mnt/python
mount -t tmpfs -o mode=755 tmpfs /home && mkdir /home/csro && mount --bind /mnt/home /home/csro
if [ -n "$CLOSED" ]; then # a Python that only root reaches
    mount -t tmpfs -o mode=755 tmpfs "$CLOSED" && mkdir -p "$PYTHON" && mount --bind /mnt/python "$PYTHON"
fi
mkdir -p /run/sshd /tmp/ray
mount -t tmpfs -o mode=1777 tmpfs /tmp/ray
mount -t tmpfs -o mode=1777,size=8g tmpfs /dev/shm
mount --bind "$FILES/passwd" /etc/passwd
setpriv --reuid=$UID_ --regid=$UID_ --clear-groups env -i HOME=/home/csro PATH=/usr/bin:/bin \
    /home/csro/bin/systemctl --user boot
exec env -i PATH=/usr/bin:/bin /usr/sbin/sshd -D -e -f "$FILES/sshd.conf"
"""

SSHD = """ListenAddress {address}
HostKey {key}
StrictModes no
UsePAM no
PasswordAuthentication no
PidFile none
MaxSessions 100
MaxStartups 100
"""


def call(*words: str, check: bool = True) -> None:
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0 or not check, f"{' '.join(words)}: {result.stderr}"


@dataclass
class Machine:
    """``files`` holds what outlives its end: its home, its keys."""

    name: str
    address: str
    files: Path
    _init: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def namespace(self) -> str:
        return f"csro-drill-{self.name}"

    @property
    def home(self) -> Path:
        return self.files / "home"

    def boot(self) -> None:
        """Starts it: nothing runs there but sshd, and what its user enabled."""
        environment = {
            "NAME": self.name,
            "FILES": str(self.files),
            "PYTHON": sys.base_prefix,
            "CLOSED": closed_ancestor(Path(sys.base_prefix)),
            "UID_": str(UID),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }
        # Real machines have processors of their own: here the workers' load must not keep a head from coming up.
        words = [] if self.name == "head" else ["nice", "-n", "19"]
        words += ["ip", "netns", "exec", self.namespace, "unshare", "--pid", "--fork", "--mount", "--uts"]
        words += ["--propagation", "private", "--mount-proc", "--kill-child", "sh", "-c", BOOT]
        with (self.files / "boot.log").open("ab") as log:
            self._init = subprocess.Popen(words, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def end(self) -> None:
        """As if its power were cut: no process of it is left."""
        if self._init is not None:
            self._init.send_signal(signal.SIGKILL)  # the first process of its namespace ends with it, and so do all
            self._init.wait()
            self._init = None

    def cable(self, state: str) -> None:
        """``up``, or ``down`` as when it is pulled out: its own processes still reach each other."""
        call("ip", "-n", HOST, "link", "set", f"drill-{self.name}", state)


def closed_ancestor(path: Path) -> str:
    """The first folder on the way to ``path`` that only its owner may enter; empty if there is none."""
    for folder in (*reversed(path.parents), path):
        if not folder.stat().st_mode & 0o001:
            return str(folder)
    return ""


@contextlib.contextmanager
def machines(folder: Path) -> Iterator[dict[str, Machine]]:
    """The three machines of the cluster, running. This process is outside, at ``OUTSIDE`` on their network, and keeps
    its files, the key to the machines among them, in ``folder``."""
    missing = [word for word in ("sshd", "rsync", "ip", "unshare", "setpriv") if not shutil.which(word, path=PATHS)]
    assert os.geteuid() == 0 and not missing, f"the drill needs root, and these programs: {missing}"
    (folder / ".ssh").mkdir(parents=True)
    call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / ".ssh" / "id_ed25519"))
    call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host_key"))
    found = {name: Machine(name, address, folder / name) for name, address in NAMES.items()}
    home_namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    grouped = AUTOGROUP.read_text() if AUTOGROUP.exists() else ""
    try:
        if grouped:
            AUTOGROUP.write_text("0")
        _remove_network()
        call("ip", "netns", "attach", HOST, str(os.getpid()))
        call("ip", "link", "add", BRIDGE, "type", "bridge")
        call("ip", "link", "set", BRIDGE, "up")
        for name, address in {**NAMES, "outside": OUTSIDE}.items():
            _connect(name, address)
        for machine in found.values():
            _furnish(machine, folder)
            machine.boot()
        _enter(Path("/run/netns/csro-drill-outside"))
        wait_until(lambda: all(answers_ssh(machine.address) for machine in found.values()), "sshd on all machines")
        yield found
    finally:
        for machine in found.values():
            machine.end()
        if grouped:
            AUTOGROUP.write_text(grouped)
        _setns(home_namespace)
        os.close(home_namespace)
        _remove_network()


PATHS = "/usr/sbin:/usr/bin:/sbin:/bin"


def _connect(name: str, address: str) -> None:
    namespace, cable = f"csro-drill-{name}", f"drill-{name}"
    call("ip", "netns", "add", namespace)
    call("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    call("ip", "link", "set", cable, "master", BRIDGE, "up")
    call("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
    for device in ("eth0", "lo"):
        call("ip", "-n", namespace, "link", "set", device, "up")
    call("ip", "-n", namespace, "route", "add", "default", "dev", "eth0")  # by which Ray knows its own address


def _remove_network() -> None:
    for name in (*NAMES, "outside"):
        call("ip", "netns", "delete", f"csro-drill-{name}", check=False)
        call("ip", "link", "delete", f"drill-{name}", check=False)
    call("ip", "link", "delete", BRIDGE, check=False)
    call("ip", "netns", "delete", HOST, check=False)


def _furnish(machine: Machine, folder: Path) -> None:
    home = machine.home
    for each in (home / ".ssh", home / "bin", home / "csro"):
        each.mkdir(parents=True)
    shutil.copy(folder / ".ssh" / "id_ed25519.pub", home / ".ssh" / "authorized_keys")
    for name, text in (("systemctl", SYSTEMCTL), ("loginctl", "#!/bin/sh\n")):  # its user lingers
        (home / "bin" / name).write_text(text)
        (home / "bin" / name).chmod(0o755)
    (home / ".bash_profile").write_text("PATH=$HOME/bin:$PATH\n")
    passwd = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith(f"{USER}:")]
    (machine.files / "passwd").write_text("\n".join([*passwd, f"{USER}:*:{UID}:{UID}::{HOME}:/bin/bash", ""]))
    (machine.files / "sshd.conf").write_text(SSHD.format(address=machine.address, key=folder / "host_key"))
    _copy_environment(home / "csro" / ".venv")
    for directory, _, _ in os.walk(home):
        os.chown(directory, UID, UID)  # the files stay ours: most are links to those of the checkout


def _copy_environment(target: Path) -> None:
    """This checkout's virtual environment as it would be had it been made at the machine's ``~/csro``."""
    ours, theirs = str(CHECKOUT), f"{HOME}/csro"
    target.mkdir()
    for name in ("bin", "lib", "include", "pyvenv.cfg", ".installed"):
        call("cp", "-al", str(CHECKOUT / ".venv" / name), str(target / name))
    for path in (*(target / "bin").iterdir(), *target.glob("lib/*/site-packages/__editable__*")):
        if path.is_file() and not path.is_symlink() and ours.encode() in path.read_bytes()[:200_000]:
            text, mode = path.read_text(), path.stat().st_mode
            path.unlink()
            path.write_text(text.replace(ours, theirs))
            path.chmod(mode)


def answers_ssh(address: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, 22), 1):
        return True
    return False


def _enter(namespace: Path) -> None:
    with namespace.open() as file:
        _setns(file.fileno())


def _setns(descriptor: int) -> None:
    """Moves this thread, and the threads and processes it starts from now on, into another network."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
