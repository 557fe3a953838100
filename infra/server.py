"""What the three servers have in common: a folder, a port, a password, a life."""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from infra.accounts import Account, reachable, unprivileged
from infra.ports import listening
from infra.process import Process, StackError


class Server(ABC):
    """One server on 127.0.0.1:`port`; its data in `home`/`name` survives it.

    home: what root or we own: pid file, log, configuration. password: of its administrator.
    """

    title: ClassVar[str]
    patience: ClassVar[float] = 60.0  # seconds to become ready
    farewell: ClassVar[int] = signal.SIGTERM

    def __init__(self, home: Path, name: str, port: int, password: str) -> None:
        self.home = home
        self.name = name
        self.port = port
        self.password = password
        self.folder = home / name
        self.process = Process(self.title, home / f"{name}.pid", home / f"{name}.log")

    def start(self) -> None:
        """Until it answers an administrator's login. One that runs is left as it is. Raises
        StackError, which quotes the log; nothing is left running then."""
        if self.process.pid is not None:
            return
        if listening(self.port):
            raise StackError(f"{self.title}: something else listens on 127.0.0.1:{self.port}")
        account = unprivileged()
        if account is not None and not reachable(self.home):
            raise StackError(
                f"{self.title} runs as {account.name}, who can't get at {self.home}: "
                "choose a folder below /var/lib or /tmp"
            )
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account is not None:
            account.take(self.folder)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
        }
        self.process.spawn(self.prepare(account), account, environment)
        try:
            self.process.wait(self.answers, self.patience)
        except BaseException:
            self.process.kill()
            raise

    def stop(self) -> None:
        """In order, as an administrator would."""
        self.process.stop(self.farewell)

    def kill(self) -> None:
        """SIGKILL, as a crash would; `start` brings it back with its data."""
        self.process.kill()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, until `thaw`."""
        self.process.signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.signal_all(signal.SIGCONT)

    @abstractmethod
    def prepare(self, account: Account | None) -> list[str]:
        """Make what it needs in order to start, once; returns its command line."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether an administrator's login and one request work."""

    def private_file(self, name: str, text: str, account: Account | None) -> Path:
        """A file (0600) beside the data that the server's user can read."""
        path = self.home / name
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(text)
        if account is not None:
            account.take(path)
        return path
