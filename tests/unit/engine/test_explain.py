"""What becomes of each object, and what the digest of a removal binds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from norn_reconciler.engine.explain import Becomes, Explanation, fates
from norn_reconciler.engine.ledger import Ledger
from norn_reconciler.engine.preview import Preview
from norn_reconciler.model import trash
from norn_reconciler.model.app import AppName, Deletion
from norn_reconciler.model.inventory import Held, HeldState, Origin
from norn_reconciler.model.records import ServiceRecord
from norn_reconciler.model.stakes import Stake

A = AppName("a")
AT = datetime(2026, 1, 31, tzinfo=UTC)


class Boxes:
    key, title, data, copied = "box", "Box", frozenset({"box"}), True

    async def destroy(self, *_: object) -> str:
        raise AssertionError("it only reads")

    async def leave(self, *_: object) -> list[Held]:
        raise AssertionError("it only reads")


class Known:
    def __init__(self, policy: Deletion, held: Held) -> None:
        self._policy, self._held = policy, held

    def owned(self, service: str, app: AppName) -> dict[tuple[str, str], Held]:
        return {self._held.key: self._held}

    def service(self, service: str, app: AppName) -> ServiceRecord:
        return replace(ServiceRecord(), deletion=self._policy)


def removal(policy: Deletion, held: Held, stake: Stake | None = None) -> Explanation:
    services: Any = {"box": Boxes()}
    found = fates(cast(Ledger, Known(policy, held)), A, services, 86400.0)
    told = [replace(fate, stake=stake) for fate in found]
    return Explanation(A, told, Preview({}, {}), {}, 10.0, 86400.0)


BOX = Held("box", "one", server_id="7")
SHUT = replace(BOX, state=HeldState.RETAINED)
THROWN = replace(SHUT, settings={**trash.settings("one", AT), trash.POLICY: "trash"})


@pytest.mark.parametrize(
    ("policy", "held", "becomes"),
    [
        (Deletion.RETAIN, BOX, Becomes.STAYS),
        (Deletion.TRASH, BOX, Becomes.TRASH),
        (Deletion.DELETE, BOX, Becomes.GONE),
        (Deletion.DELETE, replace(BOX, origin=Origin.ADOPTED), Becomes.STAYS),
        (Deletion.DELETE, SHUT, Becomes.STAYS),  # shut under retain: a later word is of others
        (Deletion.RETAIN, replace(SHUT, settings={trash.POLICY: "delete"}), Becomes.GONE),
        (Deletion.RETAIN, THROWN, Becomes.GONE),
        (Deletion.DELETE, Held("user", "a"), Becomes.CLOSED),
    ],
)
def test_what_becomes_of_an_object(policy: Deletion, held: Held, becomes: Becomes) -> None:
    (fate,) = removal(policy, held).fates
    assert fate.becomes is becomes
    assert (fate.gone_from is not None) == (held is THROWN)


def test_a_digest_binds_the_objects_and_what_becomes_of_them_and_no_amount() -> None:
    one = removal(Deletion.DELETE, BOX).digest
    assert removal(Deletion.DELETE, BOX, Stake("box", "one", {"bytes": 7})).digest == one
    others = [
        removal(Deletion.TRASH, BOX),
        removal(Deletion.DELETE, replace(BOX, server_id="8")),
        removal(Deletion.DELETE, replace(BOX, origin=Origin.ADOPTED)),
        removal(Deletion.DELETE, replace(BOX, name="two")),
    ]
    assert len({one, *(other.digest for other in others)}) == 5
