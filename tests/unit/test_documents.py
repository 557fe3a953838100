"""Documents that would otherwise go stale: each is held against the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pydantic import SecretStr
from typer.main import get_command

from norn_reconciler import logs
from norn_reconciler.cli.app import GROUPS, app, load
from norn_reconciler.settings import Settings
from tests.catalogue import catalogue
from tests.unit import log_calls

ROOT = Path(__file__).parents[2]
SENT_AS_VALUES = {logs.PROBLEM_FOUND}  # chosen by one function, sent by another


def words(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_the_log_catalogue_lists_every_event_and_no_other() -> None:
    assert set(catalogue()) == logs.EVENTS


def test_the_log_catalogue_has_the_fields_that_are_sent() -> None:
    """As the source says; the acceptance tests hold real lines against the page as well."""
    sent = list(log_calls.found(ROOT / "norn_reconciler"))
    faults = [
        f"{call.place} {event}: {fault}"
        for call in sent
        for event in call.events
        if (fault := catalogue()[event].fault(call.sure, call.perhaps))
    ]
    assert not faults
    assert {event for call in sent for event in call.events} >= set(catalogue()) - SENT_AS_VALUES


def test_events_are_constants_and_each_is_used() -> None:
    source = "\n".join(
        path.read_text()
        for path in (ROOT / "norn_reconciler").rglob("*.py")
        if path.name != "logs.py"
    )
    for name, value in vars(logs).items():
        if name.isupper() and isinstance(value, str):
            assert f"logs.{name}" in source, name
    assert not re.findall(r"\.(?:info|warning|error|exception)\(\s*f?\"", source)


def test_the_settings_page_lists_every_setting_and_no_other() -> None:
    listed = set(re.findall(r"`NORN_([A-Z_]+)`", words("settings.md")))
    assert listed == {name.upper() for name in Settings.model_fields}


def test_the_settings_page_has_the_defaults_of_the_code() -> None:
    rows = re.findall(r"^\| (`NORN_[^|]+?) \| ([^|]+?) \|", words("settings.md"), re.MULTILINE)
    told: dict[str, str] = {}
    for names, default in rows:
        each = re.findall(r"`NORN_([A-Z_]+)`", names)
        values = default.split(", ") if len(each) > 1 and ", " in default else [default] * len(each)
        told |= {n.lower(): v.strip("`") for n, v in zip(each, values, strict=True)}
    for name, field in Settings.model_fields.items():
        if field.default is None:  # it depends on something, and the page says on what
            continue
        assert told[name] == _written(field.default), name


def _written(default: object) -> str:
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, float):
        return f"{default:g}"
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_each_command_is_registered_by_the_module_that_is_said_to_have_it() -> None:
    """In one process, where norn_reconciler.cli is imported anew for each."""
    code = """if True:
        import sys
        from typer.main import get_command
        for name in sys.argv[1:]:
            for module in [m for m in sys.modules if m.startswith("norn_reconciler.cli")]:
                del sys.modules[module]
            from norn_reconciler.cli.app import app, load
            load(name)
            print(*getattr(get_command(app), "commands", ()))
    """
    asked = [min(names) for names in GROUPS.values()]  # which of a module's is the same
    ran = subprocess.run(
        [sys.executable, "-c", code, *asked], capture_output=True, text=True, check=True
    )
    registered = [set(line.split()) for line in ran.stdout.splitlines()]
    assert registered == [*GROUPS.values()]


def every_command() -> dict[str, str]:
    """Name, as it is typed, → help."""
    load()
    found: dict[str, str] = {}
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", {})
        found |= {f"{name} {sub}": each.help or "" for sub, each in inner.items()}
        if not inner:
            found[name] = command.help or ""
    return found


def test_the_command_page_lists_every_command() -> None:
    text = words("cli.md")
    for name in every_command():
        assert f"norn {name}" in text, name


def test_every_command_has_an_example_in_its_help() -> None:
    for name, help in every_command().items():
        example = re.search(r"^\[dim\](.*)\[/dim\]$", help, re.MULTILINE)
        assert example is not None, name
        for one in example[1].split(" · "):
            assert re.match(rf"(NORN_[A-Z_]+=\S+ )?norn {name}( |$)", one), one


def test_help_names_arguments_as_people_write_them() -> None:
    load()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                assert parameter.metavar in {"APP", "DIGEST", "ID", "NAME", "PATH"}, name
