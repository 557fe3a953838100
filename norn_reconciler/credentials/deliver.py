"""What an app is given: `<app>.env`, for systemd's EnvironmentFile= and for a shell alike.

Values stand as they are where both readers agree, else in double quotes with \\ before the four
characters that both take it off from: " \\ ` $. See systemd.exec(5), EnvironmentFile=.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from norn_reconciler.model.errors import NornError
from norn_reconciler.model.secret import Secret

HIDDEN = "***"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_APP = re.compile(r"[a-z0-9][a-z0-9-]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# No ~: a shell expands it after = and after a colon.
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=?-]*")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ESCAPED = re.compile(r'(["\\`$])')
_URL_PASSWORD = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s:@]*:)[^/?#\s@]*(?=@)")
_SECRET_NAME = re.compile(r"(?:^|_)(?:PASSWORD|PASSWD|SECRET|TOKEN)(?:_|$)", re.IGNORECASE)


class DeliveryError(NornError):
    """The file can't be written, or a variable can't be put into it."""


def render(variables: Mapping[str, str]) -> str:
    """The file's text: one line a variable, sorted. Raises DeliveryError, which names the variable
    and not its value, for what no env file can carry: newlines and other control characters."""
    return "".join(f"{name}={_quoted(name, variables[name])}\n" for name in sorted(variables))


def mask(variables: Mapping[str, str], secrets: Iterable[Secret] = ()) -> Mapping[str, str]:
    """The variables as they may be shown: `secrets`, passwords in URLs and whatever a name calls a
    secret appear as ***."""
    hidden = sorted((s.reveal() for s in secrets if s.reveal()), key=len, reverse=True)

    def shown(name: str, value: str) -> str:
        if _SECRET_NAME.search(name):
            return HIDDEN
        for secret in hidden:
            value = value.replace(secret, HIDDEN)
        return _URL_PASSWORD.sub(rf"\g<before>{HIDDEN}", value)

    return {name: shown(name, value) for name, value in variables.items()}


def write(folder: Path, app: str, variables: Mapping[str, str]) -> bool:
    """Bring `<folder>/<app>.env` to `variables`: mode 0600 in a folder of mode 0700, whole or not
    at all, on disk when this returns. True when something was written: a file that is right is
    left alone. Raises DeliveryError."""
    name = _file_name(app)
    content = render(variables).encode()
    with _opened(folder, create=True) as handle:
        if handle is None or _is(handle, name, content):
            return False
        _replace(handle, name, content)
    return True


def holds(folder: Path, app: str, variables: Mapping[str, str]) -> bool:
    """Whether `<folder>/<app>.env` is there and says just that. Raises DeliveryError."""
    with _opened(folder, create=False) as handle:
        return handle is not None and _is(handle, _file_name(app), render(variables).encode())


def remove(folder: Path, app: str) -> bool:
    """Take `<folder>/<app>.env` away. True when there was one. Raises DeliveryError."""
    name = _file_name(app)
    with _opened(folder, create=False) as handle:
        if handle is None:
            return False
        with suppress(FileNotFoundError):
            os.unlink(_half(name), dir_fd=handle)  # left by a crash
        try:
            os.unlink(name, dir_fd=handle)
        except FileNotFoundError:
            return False
        os.fsync(handle)
    return True


def _quoted(name: str, value: str) -> str:
    if not _NAME.fullmatch(name):
        raise DeliveryError(f"{name!r} is no name of an environment variable")
    if _PLAIN.fullmatch(value):
        return value
    if _CONTROL.search(value):
        raise DeliveryError(f"{name} holds a newline or a control character: no env file takes it")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DeliveryError(f"{name} is no valid Unicode") from None
    return '"' + _ESCAPED.sub(r"\\\1", value) + '"'


def _file_name(app: str) -> str:
    if not _APP.fullmatch(app):
        raise DeliveryError(f"{app!r} is no app name: its file could be anywhere")
    return f"{app}.env"


@contextmanager
def _opened(folder: Path, *, create: bool) -> Iterator[int | None]:
    """A handle on the folder, so that all paths below are names within it; None without one."""
    handle: int | None = None
    try:
        try:
            handle = os.open(folder, _FOLDER)
        except FileNotFoundError:
            if create:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                handle = os.open(folder, _FOLDER)
        if handle is not None and create and stat.S_IMODE(os.fstat(handle).st_mode) != 0o700:
            os.fchmod(handle, 0o700)
        yield handle
    except OSError as fault:
        where = fault.filename if isinstance(fault.filename, str) else folder
        raise DeliveryError(f"{folder}: {where}: {fault.strerror}") from fault
    finally:
        if handle is not None:
            os.close(handle)


def _is(folder: int, name: str, content: bytes) -> bool:
    """Whether the file is there as it should be. What is no regular file is not read."""
    try:
        handle = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
        )
    except OSError:  # a symbolic link, a file of mode 0000: replaced
        return False
    try:
        status = os.fstat(handle)
        return (
            stat.S_ISREG(status.st_mode)
            and stat.S_IMODE(status.st_mode) == 0o600
            and status.st_uid == os.geteuid()
            and status.st_nlink == 1
            and status.st_size == len(content)
            and os.read(handle, len(content) + 1) == content
        )
    finally:
        os.close(handle)


def _half(name: str) -> str:
    return f".{name}.new"


def _replace(folder: int, name: str, content: bytes) -> None:
    half = _half(name)
    with suppress(FileNotFoundError):
        os.unlink(half, dir_fd=folder)  # left by a crash
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(half, flags, 0o600, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)
            file.write(content)
            file.flush()
            os.fsync(handle)
        os.rename(half, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(half, dir_fd=folder)
        raise
    os.fsync(folder)
