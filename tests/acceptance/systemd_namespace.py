"""A real systemd as PID 1 of its own namespaces, over a throw-away overlay of this machine's root.

The host's files are never touched: whatever is written lands in a tmpfs, and /tmp, which systemd's
boot cleans, is another one. The network is the host's: servers on loopback are reached."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.acceptance.harness import until

SYSTEMD = Path("/lib/systemd/systemd")
SOURCES = ("norn_reconciler", "infra", "systemd", "docs", "pyproject.toml", "README.md", "LICENSE",
           "requirements.lock")  # fmt: skip
CHECKOUT = "/usr/src/norn-reconciler"

# Argument: an empty folder. The namespaces' end is the mounts' end.
BOOT = r"""
set -eu
base=$1
mount -t tmpfs -o mode=0755 norn-test "$base"
mkdir "$base/up" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/up,workdir=$base/work" "$base/root"
root=$base/root
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
# A /dev of its own: journald puts its socket's link there, and the host's is one for all.
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
  touch "$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir -m 1777 "$root/dev/shm"
mkdir "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
# Kernel settings are the host's: systemd-sysctl and udev find nothing they could write.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
cat > "$root/etc/systemd/system/norn-test.target" <<'UNIT'
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service dbus.socket
After=systemd-journald.service
UNIT
# As every container manager does: systemd mounts credentials in a helper's namespace, whence they
# must get into ours. The host has no part in it: `unshare` made all of this private first.
mount --make-rshared "$root"
export container=norn
exec chroot "$root" /lib/systemd/systemd --system --unit=norn-test.target \
  --log-target=journal --show-status=no
"""

PROBE = r"""
set -e
mount -t tmpfs norn-test "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
mount -t sysfs sysfs "$1/root/sys"
mount -t cgroup2 cgroup2 "$1/root/sys/fs/cgroup"
"""

UNSHARE = ("unshare", "--fork", "--kill-child", "--pid", "--mount", "--propagation", "private",
           "--uts", "--ipc", "--cgroup")  # fmt: skip


def obstacle() -> str | None:
    """Why no systemd can be started in namespaces here; None when one can."""
    if os.geteuid() != 0:
        return "not root"
    if not SYSTEMD.exists():
        return "the package systemd is not installed"
    root = _cgroup2()
    if root is None:
        return "no cgroup2 is mounted"
    with tempfile.TemporaryDirectory(prefix="norn-probe-") as folder:
        cgroup = root / Path(folder).name
        try:
            cgroup.mkdir()
            cgroup.rmdir()
        except OSError as fault:
            return f"no cgroup can be made: {fault.strerror}"
        done = subprocess.run(
            [*UNSHARE, "bash", "-c", PROBE, "bash", folder],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or ["unshare failed"])[0]


class Machine:
    """`with Machine() as machine`: booted on entry, gone without a trace on exit."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="norn-systemd-"))
        root = _cgroup2()
        assert root is not None
        self.cgroup = root / self.base.name
        self._unshare: subprocess.Popen[bytes] | None = None
        self.console = self.base.with_suffix(".console")
        self.pid = 0  # of systemd, as the host counts

    def __enter__(self) -> Machine:
        self.cgroup.mkdir()
        try:
            self._boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _boot(self) -> None:
        # It enters its own cgroup first, so that the cgroup namespace has that one for its root and
        # a host's systemd never meets this one's slices.
        enter = f'echo $$ > "{self.cgroup}/cgroup.procs"; exec "$@"'
        with self.console.open("wb") as out:
            self._unshare = subprocess.Popen(
                ["bash", "-c", enter, "bash", *UNSHARE, "bash", "-c", BOOT, "bash", self.base],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        until(self._booted, 30.0, told=self.console.read_text)
        self.run("mkdir", "-p", CHECKOUT)
        self._copy_checkout()

    def _booted(self) -> bool:
        assert self._unshare is not None
        assert self._unshare.poll() is None, self.console.read_text()
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        found = children.read_text().split()
        if not found:
            return False
        self.pid = int(found[0])
        if Path(f"/proc/{self.pid}/comm").read_text().strip() != "systemd":
            return False
        done = self._nsenter("systemctl", "is-system-running")
        return done.stdout.strip() in {"running", "degraded"}

    def _copy_checkout(self) -> None:
        here = Path(__file__).parents[2]
        tar = subprocess.run(
            ["tar", "-C", here, "--exclude=__pycache__", "--exclude=.mypy_cache", "-cf", "-"]
            + [name for name in SOURCES if (here / name).exists()],
            capture_output=True,
            check=True,
        )
        self._nsenter("tar", "-C", CHECKOUT, "-xf", "-", stdin=tar.stdout, text=False)

    def _nsenter(
        self,
        *command: str,
        stdin: bytes | str | None = None,
        text: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[Any]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("NORN_")}
        return subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-C",
             "chroot", f"/proc/{self.pid}/root", *command],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=text,
            env={**inherited, **(env or {})},
            timeout=240,
            check=False,
        )  # fmt: skip

    def run(self, *command: str, code: int | None = 0, stdin: str | None = None) -> str:
        """A command's output inside, as root; asserts its exit code."""
        done = self._nsenter(*command, stdin=stdin)
        output: str = done.stdout
        assert code is None or done.returncode == code, (
            f"{command}: {done.returncode}\n{output}\n{done.stderr}"
        )
        return output

    def put(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file whole, by rename."""
        script = 'umask 077; cat > "$1.half"; chmod "$2" "$1.half"; mv "$1.half" "$1"'
        self.run("bash", "-c", script, "bash", path, mode, stdin=text)

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def journal(self, unit: str, *options: str) -> list[dict[str, Any]]:
        """What journald has of a unit: its own fields, and in "line" the JSON the unit wrote."""
        command = ("journalctl", "-u", unit, "-o", "json", "--no-pager", "--all", *options)
        output = self.run(*command)
        entries = []
        for row in output.splitlines():
            entry = json.loads(row)
            entry["line"] = {}
            with contextlib.suppress(ValueError, TypeError):
                entry["line"] = json.loads(entry["MESSAGE"])
            entries.append(entry)
        return entries

    def __exit__(self, *_: object) -> None:
        if self._unshare is not None:
            # The kernel ends everything in a PID namespace with its first process.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL) if self.pid else self._unshare.kill()
            self._unshare.wait(20)
        _remove_cgroups(self.cgroup)
        self.base.rmdir()  # it is empty: its mounts were in the namespace
        self.console.unlink(missing_ok=True)


def _cgroup2() -> Path | None:
    """Where the unified hierarchy is mounted."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, folder, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(folder)
    return None


def _remove_cgroups(folder: Path) -> None:
    """A cgroup can be removed once its last process is reaped, which is soon."""
    folders: Sequence[Path] = [Path(p) for p, _, _ in os.walk(folder, topdown=False)]
    for path in folders:
        deadline = time.monotonic() + 10
        while True:
            try:
                path.rmdir()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
