"""Texts that others wrote, as people are shown them."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` on one line, with everything that is not to be seen escaped: a name that an app chose
    may hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
