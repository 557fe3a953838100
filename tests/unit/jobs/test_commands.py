"""Whose commands are, and that nothing of one outlives it."""

from __future__ import annotations

import asyncio
import os
import pwd
from pathlib import Path

import pytest

from norn_reconciler.jobs import commands
from norn_reconciler.jobs.commands import Commands, Ended, account
from norn_reconciler.jobs.output import Output
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError

APP = AppName("a")
USER = "nobody" if os.geteuid() == 0 else None


async def nothing() -> None:
    return None


def is_root(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)


def test_nothing_runs_as_root_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    is_root(monkeypatch, 0)
    with pytest.raises(NornError, match="NORN_COMMANDS_USER names the user"):
        account(None)
    assert account("root") is None
    nobody = pwd.getpwnam("nobody")
    found = account("nobody")
    assert found is not None
    assert (found.uid, found.gid) == (nobody.pw_uid, nobody.pw_gid)
    with pytest.raises(NornError, match="no user of-nobody"):
        account("of-nobody")


def test_who_is_not_root_is_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwnam("nobody")
    is_root(monkeypatch, nobody.pw_uid)
    assert account(None) is None
    assert account("nobody") is None
    with pytest.raises(NornError, match="only a norn that runs as root"):
        account("root")


async def test_a_command_that_ends_badly_and_what_it_left(tmp_path: Path) -> None:
    output = Output((), lambda line: None)
    text = "setsid sleep 45678 & echo $$ $A; exit 7"
    ended = await Commands(USER, tmp_path).run(APP, text, {"A": "b"}, 60, output, nothing)
    assert ended == Ended(7, False)
    assert output.text.split()[1] == "b"
    assert not sleeping("45678")


async def test_cancelled_it_runs_no_more(tmp_path: Path) -> None:
    output = Output((), lambda line: None)
    text = "(trap '' TERM HUP; setsid sleep 45679) & echo on; sleep 45679"
    task = asyncio.ensure_future(Commands(USER, tmp_path).run(APP, text, {}, 60, output, nothing))
    async with asyncio.timeout(20):
        while len(sleeping("45679")) < 2:  # noqa: ASYNC110 -- processes have no event
            await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not sleeping("45679")


async def test_who_does_not_end_when_asked_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PATIENCE", 1)
    output = Output((), lambda line: None)
    text = "trap 'echo asked' TERM; while true; do sleep 45670; done"
    ended = await Commands(USER, tmp_path).run(APP, text, {}, 0.5, output, nothing)
    assert ended == Ended(137, True)
    assert "asked" in output.text
    assert not sleeping("45670")


async def test_a_command_that_cannot_be_begun_says_why(tmp_path: Path) -> None:
    if USER is None:
        pytest.skip("there is nobody who may not enter")
    (tmp_path / APP).mkdir(mode=0o700)
    output = Output((), lambda line: None)
    ended = await Commands(USER, tmp_path).run(APP, "true", {}, 60, output, nothing)
    assert ended.code == 125
    assert "Permission denied" in output.text


def sleeping(seconds: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().split(b"\0")[:2] == [b"sleep", seconds.encode()]:
                found.append(path.parent.name)
        except OSError:
            continue  # it has ended
    return found
