"""What is shown and kept of a command's output."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.jobs.output import A_SECOND, KEPT, Output, forms

SECRET = "p@ss/wörd+1"


def said(data: list[bytes], *secrets: str) -> tuple[list[str], Output]:
    lines: list[str] = []
    output = Output(secrets, lines.append, clock=lambda: 0.0)
    for part in data:
        output.feed(part)
    output.feed(b"", last=True)
    return lines, output


def test_a_secret_is_masked_in_each_of_its_forms() -> None:
    for form in (SECRET, "p%40ss%2Fw%C3%B6rd%2B1", "p%40ss/w%C3%B6rd%2B1", "p@ss/w\\u00f6rd+1"):
        assert form in forms([SECRET])
        lines, output = said([f"a {form} b\n".encode()], SECRET, "")
        assert lines == [output.text] == ["a *** b"]


def test_the_longer_secret_goes_first() -> None:
    assert said([b"at postgresql://u:pw@h/d\n"], "pw", "postgresql://u:pw@h/d")[0] == ["at ***"]


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(1, 50))
def test_however_it_comes_no_secret_passes(before: bytes, after: bytes, size: int) -> None:
    whole = before + b"tops3cret-value" + after
    parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    lines, output = said(parts, "tops3cret-value")
    assert "tops3cret-value" not in "".join(lines) + output.text


@given(st.integers(65_500, 65_600))
def test_nor_where_a_line_without_an_end_is_cut(at: int) -> None:
    lines, output = said([b"x" * at, b"tops3cret", b"-value", b"y" * 70_000], "tops3cret-value")
    assert "tops3cret" not in "".join(lines) + output.text


def test_its_end_is_kept_and_the_log_gets_some_of_very_many() -> None:
    lines, output = said([b"".join(b"%d\n" % n for n in range(100_000))])
    assert lines == [*map(str, range(A_SECOND)), f"… {100_000 - A_SECOND} more lines"]
    assert len(output.text) <= KEPT + 2
    assert output.text.startswith("…\n")
    assert output.text.endswith("\n99999")
    assert output.last == "99999"


def test_what_is_no_text_is_shown_as_one() -> None:
    assert said([b"\x1b[31mred\x00 \xff\tx\r\n"])[0] == ["\\x1b[31mred\\x00 �     x"]
