"""The env file as a real shell reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from norn_reconciler.credentials import deliver

VALUE = st.text(
    st.one_of(
        st.characters(exclude_categories=("Cs", "Cc")),
        st.sampled_from("\"'\\`$#; ~=!&*()|<>{}[]\t%"),
    )
)


def read_by_shell(file: Path, shell: str) -> dict[str, str]:
    """What `set -a; . file` leaves in the environment of a child."""
    script = 'set -a; . "$1"; set +a; exec env -0'
    done = subprocess.run(
        [shell, "-c", script, shell, str(file)],
        env={"PATH": "/usr/bin:/bin", "HOME": "/home-of-nobody"},
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    pairs = (entry.partition("=") for entry in done.stdout.decode().split("\0") if entry)
    return {name: value for name, _, value in pairs if name.startswith("V_")}


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_hostile_values_are_values_to_a_shell(tmp_path: Path, shell: str) -> None:
    hostile = [
        "$(touch pwned)", "`touch pwned`", "a; touch pwned", "~", "~root:~", "x:~/y", "a'b\"c\\",
        "!!", "-n", "# x", " lead and trail ", "\\n", "\\\\", "$HOME ${HOME}", "a&b|c>d<e(f)",
        "ü€😀", "a\tb", "*", "",
    ]  # fmt: skip
    variables = {f"V_{i}": value for i, value in enumerate(hostile)}
    deliver.write(tmp_path / "c", "a", variables)
    file = tmp_path / "c" / "a.env"
    subprocess.run([shell, "-n", str(file)], check=True)
    assert read_by_shell(file, shell) == variables
    assert not list(tmp_path.rglob("pwned"))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(VALUE, min_size=20, max_size=40))
def test_any_printable_value_is_read_alike_by_a_shell(tmp_path: Path, values: list[str]) -> None:
    variables = {f"V_{i}": value for i, value in enumerate(values)}
    deliver.write(tmp_path, "a", variables)
    assert read_by_shell(tmp_path / "a.env", "/bin/sh") == variables
