"""Hosts on this machine, each in namespaces of its own, which reach each other by ssh.

A host has its own network, processes and host name, and a writable layer over the files of this machine. The hosts are
on a bridge in a network namespace of its own, the hub, which is connected to nothing else. All of it ends with the
context.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("ip", "nsenter", "rsync", "ssh", "ssh-keygen", "/usr/sbin/sshd", "unshare", "useradd")
USER, UID = "lab", 1001
PROJECT = "project"
"""Folder of the project in the home of `USER`, as a user would clone it."""

NETWORK = "10.77.0"
HUB = f"{NETWORK}.1"
"""Address of the bridge, and of servers in the hub that all hosts can reach."""

WAIT_S = 900.0
"""Seconds after which an event that a test waits for counts as missing."""

SSH = ("-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")

DOCKERD = "--bridge=none --iptables=false --ip6tables=false --exec-opt native.cgroupdriver=cgroupfs"
"""Options of the server of containers, which use the network of their host."""

INIT = f"""
set -e
folder=$1 name=$2; shift 2
root=$folder/root
hostname "$name"
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$root"
mount -t overlay overlay -o lowerdir=/,upperdir="$folder/upper",workdir="$folder/work" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root/run/sshd"
cp "$folder.hosts" "$root/etc/hosts"
for path in "$@"; do chmod o+rx "$root$path"; done
chroot "$root" useradd -m -u {UID} -s /bin/bash {USER}
chroot "$root" usermod -p '*' {USER}
chroot "$root" ssh-keygen -A > /dev/null
home=$root/home/{USER}
mkdir -m 700 "$home/.ssh"
cp "$folder.key" "$home/.ssh/id_ed25519"
cp "$folder.keys" "$home/.ssh/authorized_keys"
cat "$folder.profile" >> "$home/.profile"
chown -R {UID}:{UID} "$home"
if [ -d "$folder.docker" ]; then
    mount --rbind /sys "$root/sys"
    mkdir -p "$root/var/lib/docker"
    mount --bind "$folder.docker" "$root/var/lib/docker"
    chroot "$root" usermod -aG docker {USER}
fi
until ip address show eth0 2> /dev/null | grep -q inet; do sleep 0.1; done
cd "$root"
mkdir old
pivot_root . old  # and not only `chroot`, so that containers find their own root
exec chroot . bash -c '
    umount -l /old
    if [ -d /var/lib/docker ]; then dockerd {DOCKERD} & fi
    /usr/sbin/sshd -D -e -o UsePAM=no & wait
'
"""
"""Makes the root of a host and starts its ssh server. Arguments behind the first two: folders to open to all users."""


def why_not() -> str | None:
    """Return why there can be no hosts on this machine, or None."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    done = subprocess.run(["unshare", "-n", "-m", "-p", "-f", "true"], capture_output=True, check=False)
    return "needs the right to make namespaces" if done.returncode or os.geteuid() else None


def wait_for(condition: Callable[[], bool], why: Callable[[], str] = str) -> None:
    """Wait until a function returns True. Fail after `WAIT_S` with the text of another one."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, why()
        time.sleep(0.2)


class Hosts:
    """Running hosts.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of their files.
    hub : int
        Id of the process that keeps the namespace of the hub.
    stack : contextlib.ExitStack
        Context that ends the hosts.

    Attributes
    ----------
    addresses : dict
        Name → address of each host.
    images : pathlib.Path or None
        Data folder of a server of containers. Hosts that start later run such a server with a copy of it.
    """

    def __init__(self, folder: Path, hub: int, stack: ExitStack) -> None:
        self.folder, self.hub, self._stack = folder, hub, stack
        self.addresses: dict[str, str] = {}
        self.images: Path | None = None
        self._inits: dict[str, int] = {}

    def start(self, name: str, address: str, keys: str = "", profile: str = "") -> None:
        """Start a host without waiting for its ssh server.

        Parameters
        ----------
        name, address : str
            Name and address of the host.
        keys : str
            Public keys that `USER` accepts besides that of `run`.
        profile : str
            Script that a login shell of `USER` runs.
        """
        self.addresses[name] = address
        own, key = self.folder / name, self.folder / "key"
        own.mkdir()
        if self.images is not None:
            subprocess.run(["cp", "-a", str(self.images), f"{own}.docker"], check=True)
        known = [f"{where} {who}" for who, where in self.addresses.items()]
        for suffix, content in (
            ("hosts", "\n".join(["127.0.0.1 localhost", *known, ""])),
            ("key", key.read_text(encoding="utf-8")),
            ("keys", f"{key.with_suffix('.pub').read_text(encoding='utf-8')}{keys}\n"),
            ("profile", profile),
        ):
            (self.folder / f"{name}.{suffix}").write_text(content, encoding="utf-8")
            (self.folder / f"{name}.{suffix}").chmod(0o600 if suffix == "key" else 0o644)
        namespaces = ("-n", "-m", "-p", "-f", "-u", "-i", "--kill-child", "--propagation", "private")
        script = ["bash", "-c", INIT, "init", str(own), name, *folders_to_open()]
        parent = _start(self._stack, ["unshare", *namespaces, *script], self.folder / f"{name}.log")
        wait_for(lambda: _child(parent) is not None)
        self._inits[name] = _child(parent) or 0
        self._connect(name)

    def is_ready(self, name: str) -> bool:
        """Return whether the ssh server of a host listens."""
        return "listening" in (self.folder / f"{name}.log").read_text()

    def _connect(self, name: str) -> None:
        """Connect a host to the bridge."""
        init, outside = str(self._inits[name]), f"v{len(self._inits)}"
        wait_for(lambda: _namespace(int(init), "net") != _namespace(os.getpid(), "net"))
        link = ("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", init)
        subprocess.run(self.in_hub("ip", *link), check=True)
        subprocess.run(self.in_hub("ip", "link", "set", outside, "master", "br0", "up"), check=True)
        inside = ["nsenter", "-t", init, "-n", "ip"]
        for command in (
            "link set lo up",
            f"address add {self.addresses[name]}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {HUB}",  # without one, Ray takes the address of the loopback interface
        ):
            subprocess.run([*inside, *command.split()], check=True)

    def in_hub(self, *command: str) -> list[str]:
        """Return a command that runs in the hub."""
        return ["nsenter", "-t", str(self.hub), "-n", *command]

    def run(self, name: str, script: str) -> str:
        """Run a script on a host as `USER`, and return its output. Fail if it fails."""
        key = str(self.folder / "key")
        command = self.in_hub("ssh", *SSH, "-i", key, f"{USER}@{self.addresses[name]}", "bash -s")
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, timeout=WAIT_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def copy(self, source: Path, name: str, target: str, *options: str) -> None:
        """Copy a file or the content of a folder to a host."""
        whole = f"{source}/" if source.is_dir() else str(source)
        self._synchronise(whole, f"{USER}@{self.addresses[name]}:{target}", *options)

    def fetch(self, name: str, source: str, target: Path) -> None:
        """Copy a file from a host."""
        self._synchronise(f"{USER}@{self.addresses[name]}:{source}", str(target))

    def install_project(self, name: str) -> None:
        """Copy this project to `PROJECT` on a host, with the packages of this machine as its virtual environment."""
        root = Path(__file__).parents[1]
        self.copy(root, name, PROJECT, "--exclude=.git", "--exclude=.venv", "--exclude=__pycache__")
        self.run(name, f"ln -sfn {sys.prefix} {PROJECT}/.venv")

    def _synchronise(self, *words: str) -> None:
        shell = " ".join(("ssh", *SSH, "-i", str(self.folder / "key")))
        subprocess.run(self.in_hub("rsync", "-a", "-e", shell, *words), check=True, timeout=WAIT_S)

    def end(self, name: str) -> None:
        """Switch a host off."""
        os.kill(self._inits[name], signal.SIGKILL)


def folders_to_open() -> list[str]:
    """Return the folders on the way to this Python and to the project, which other users may not enter."""
    places = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1]}
    return sorted({str(folder) for place in places for folder in (place, *place.parents)} - {"/"})


@contextmanager
def running_hosts(folder: Path, *names: str) -> Iterator[Hosts]:
    """Run hosts while the context is open.

    Parameters
    ----------
    folder : pathlib.Path
        Empty folder for their files.
    *names : str
        Names of the hosts.
    """
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    with ExitStack() as stack:
        hub = _start(stack, ["unshare", "-n", "sleep", "infinity"], folder / "hub.log")
        hosts = Hosts(folder, hub, stack)
        wait_for(lambda: _namespace(hub, "net") != _namespace(os.getpid(), "net"))
        for command in (
            "link set lo up",
            "link add br0 type bridge",
            f"address add {HUB}/24 dev br0",
            "link set br0 up",
        ):
            subprocess.run(hosts.in_hub("ip", *command.split()), check=True)
        hosts.addresses = {name: f"{NETWORK}.{10 + number}" for number, name in enumerate(names)}
        for name in names:
            hosts.start(name, hosts.addresses[name])
        wait_for(lambda: all(map(hosts.is_ready, names)))
        yield hosts


def _start(stack: ExitStack, command: list[str], log: Path) -> int:
    process = subprocess.Popen(command, stdout=log.open("wb"), stderr=subprocess.STDOUT, start_new_session=True)

    def end() -> None:
        process.kill()
        process.wait()

    stack.callback(end)
    return process.pid


def _child(process: int) -> int | None:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return int(children[0]) if children else None


def _namespace(process: int, kind: str) -> str:
    return os.readlink(f"/proc/{process}/ns/{kind}")
