"""`make demo`: the main job, on servers of its own, in a throw-away folder, in about a minute."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from infra import sabotage
from infra.process import StackError
from infra.stack import Stack

ROOT = Path(__file__).resolve().parents[1]
APP = "mail-agent"
NORN = [sys.executable, "-m", "norn_reconciler"]


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


class Demo:
    """folder: everything is in it, and it goes when the demo ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = Stack(folder / "stack")
        self.daemon: subprocess.Popen[bytes] | None = None
        self.log = folder / "norn.log"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("NORN_")}
        self.environment = {**inherited, **self.stack.environment(), "NORN_LOG_FORMAT": "json"}

    def run(self) -> None:
        say("1. Servers of our own: PostgreSQL, Valkey, Kafka")
        began = time.monotonic()
        self.stack.start(progress=lambda text: print(f"   {text}\n", end="", flush=True))
        print(f"   up after {time.monotonic() - began:.1f} s")

        say("2. `norn run` watches an empty folder; three files are dropped into it")
        specs = self.folder / "specs"
        specs.mkdir()
        with self.log.open("wb") as out:
            self.daemon = subprocess.Popen(
                [*NORN, "run"], cwd=self.folder, env=self.environment, stdout=out, stderr=out
            )
        self.until(lambda: self.logged("lease.acquired"))
        for path in sorted((ROOT / "specs").glob("*.yaml")):
            shutil.copy(path, specs / path.name)
            print(f"   specs/{path.name}")
        began = time.monotonic()
        self.until(lambda: len(self.ready()) == len(list(specs.glob("*.yaml"))))
        print(f"   all ready {time.monotonic() - began:.1f} s later\n")
        self.norn("status")

        say(f"3. What {APP} is given (`norn env {APP}`)")
        self.norn("env", APP)

        say("4. Somebody changes things by hand")
        self.sabotage()

        say(f"5. `norn reconcile {APP} --wait` (the next resync would do it, too)")
        self.norn("reconcile", APP, "--wait")
        self.norn("events", APP, "--limit", "4")

        say("6. One file is removed: after a grace of 10 s access is revoked, data stays")
        (specs / "thumbnailer.yaml").unlink()
        self.until(lambda: self.logged("app.removed"))
        self.norn("status")
        say("That was it, and everything is removed again. Try it yourself: make infra")

    def sabotage(self) -> None:
        for typed in (
            sabotage.open_database(self.stack, "mailagent_db"),
            sabotage.widen_user(self.stack, APP),
            sabotage.revoke_topic(self.stack, APP, "mail.inbound"),
        ):
            print(f"   {typed}")

    def norn(self, *arguments: str) -> None:
        print(f"   $ norn {' '.join(arguments)}", flush=True)
        done = subprocess.run(
            [*NORN, *arguments], cwd=self.folder, env=self.environment, check=False, text=True,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        print("".join(f"   {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
        if done.returncode != 0:
            raise StackError(f"norn {' '.join(arguments)} ended with {done.returncode}")

    def ready(self) -> list[str]:
        done = subprocess.run(
            [*NORN, "status", "--output", "json"],
            cwd=self.folder, env=self.environment, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            return []
        return [a["app"] for a in json.loads(done.stdout)["apps"] if a["ready"]]

    def logged(self, event: str) -> bool:
        return f'"event": "{event}"' in self.log.read_text()

    def until(self, what: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            if self.daemon is not None and self.daemon.poll() is not None:
                raise StackError("norn run ended:\n" + self.log.read_text()[-3000:])
            if time.monotonic() > deadline:
                raise StackError("this took too long:\n" + self.log.read_text()[-3000:])
            time.sleep(0.1)

    def end(self) -> None:
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.terminate()
            try:
                self.daemon.wait(20)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        self.stack.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def main() -> int:
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # its complaints while the broker boots
    folder = Path(tempfile.mkdtemp(prefix="norn-demo-"))
    folder.chmod(0o711)  # the servers' user passes through; what is secret has modes of its own
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    demo = Demo(folder)
    try:
        demo.run()
    except StackError as fault:
        print(f"\nthe demo failed: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nended", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave servers behind
        demo.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
