"""What a command that fails leaves on standard error."""

from __future__ import annotations

import pytest

from norn_reconciler import cli
from norn_reconciler.cli import app as frame
from norn_reconciler.model.errors import NornError, StoreUnavailable, expected

AWAY = StoreUnavailable("norn_db does not answer")
REFUSED = NornError("norn_db refuses its own user")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (AWAY, "norn: norn_db does not answer"),
        (ExceptionGroup("one", [AWAY]), "norn: norn_db does not answer"),
        (
            ExceptionGroup("a group", [ExceptionGroup("of groups", [AWAY, AWAY]), REFUSED]),
            "norn: norn_db does not answer\nnorn: norn_db refuses its own user",
        ),
    ],
)
def test_what_norn_raises_on_purpose_ends_as_its_sentence(
    fault: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(fault, monkeypatch)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == said  # a text is printed, and the exit code is 1


@pytest.mark.parametrize("fault", [ValueError("oops"), ExceptionGroup("", [AWAY, ValueError()])])
def test_a_defect_keeps_its_traceback(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(fault, monkeypatch)
    with pytest.raises(type(fault)) as raised:
        cli.main()
    assert raised.value is fault


def test_a_cancellation_is_not_an_error_of_ours() -> None:
    assert expected(KeyboardInterrupt()) == ()
    assert expected(BaseExceptionGroup("", [AWAY, KeyboardInterrupt()])) == ()


def raising(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever command be typed raise it. The interpreter's settings stay this process's."""

    def command() -> None:
        raise fault

    monkeypatch.setattr(frame, "app", command)
    monkeypatch.setattr(frame, "load", lambda name: None)
    for name in ("set_threshold", "freeze"):
        monkeypatch.setattr(cli.gc, name, lambda *_: None)
