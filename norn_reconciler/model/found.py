"""What a service holds and norn does not: the raw material of specs (`norn import`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """One would-be app on one service. Names and values are as the server has them, whatever they
    hold; never a password or a hash.

    user: its user's name there, which becomes the app's; "" for objects that no user leads to.
    section: what would stand under `services.<key>`, as plain data; None where a spec can't say it.
    notes: what the section leaves out, one thing each, in words that say what to do. What adopting
    would change is not among them: the plan of the adoption says it.
    """

    user: str
    section: Mapping[str, object] | None = None
    notes: tuple[str, ...] = ()
