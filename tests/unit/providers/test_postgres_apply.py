"""One refusal leaves behind what needs it, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from norn_reconciler.model.errors import Denied, Unavailable
from norn_reconciler.model.outcome import Applied
from norn_reconciler.providers.postgres.actions import PostgresAction
from norn_reconciler.providers.postgres.apply import Applier
from norn_reconciler.providers.postgres.database_actions import (
    AllowConnections,
    CreateDatabase,
    CreateExtension,
    HardenSchema,
    RevokeRight,
    SealDatabase,
)
from norn_reconciler.providers.postgres.role_actions import (
    CommentRole,
    CreateRole,
    DropPower,
    JoinRole,
    RevokeMembership,
    SetAttribute,
    SetPassword,
)
from tests.unit.providers.test_postgres_plan import APP, CREDENTIAL, DB

KEY, DATABASE = ("role", APP), ("database", DB)
REVOKE = RevokeMembership(*KEY, "evil", "postgres")
LIFT = SetAttribute(*KEY, "VALID UNTIL 'infinity'", "VALID UNTIL '2020-01-01'")
PASSWORD = SetPassword(*KEY, CREDENTIAL, "another password")
CLOSE = RevokeRight(*DATABASE, APP, "", "CONNECT", None)
OPEN = AllowConnections(*DATABASE)
MAKE = CreateRole(*KEY, 5, CREDENTIAL, "x")
CREATE, SEAL = CreateDatabase(*DATABASE, APP), SealDatabase(*DATABASE)
HARDEN = HardenSchema(*DATABASE, APP, CREDENTIAL)
EXTEND = CreateExtension(*DATABASE, APP, CREDENTIAL, "hstore")
COMMENT = CommentRole(*KEY, "x")
POWER = DropPower(*KEY, "NOSUPERUSER", "SUPERUSER")


class Client:
    """A server that refuses each statement with one of the words in it."""

    admin, version = "norn_admin", 180004

    def __init__(self, *refused: str, fault: type[Exception] | None = None) -> None:
        self._refused = refused
        self._fault = fault or psycopg.errors.InsufficientPrivilege

    async def request(self, work: Any) -> Any:
        return await work(SimpleNamespace(version=self.version, conn=self))

    async def execute(self, statement: Any) -> None:
        text = statement.as_string(None)
        if any(word in text for word in self._refused):
            raise self._fault(f"refused: {text.split()[0]}")


async def done(client: Client, *plan: PostgresAction) -> Applied:
    async def inside(_: Any, __: bool) -> None:
        pass

    applier = Applier(client, inside, inside, True)  # type: ignore[arg-type]
    fence: Any = SimpleNamespace(check=lambda: None)
    return (await applier.apply({APP: plan}, fence))[APP]


@pytest.mark.parametrize(
    ("refused", "plan", "made"),
    [
        (("REVOKE",), (REVOKE, LIFT, PASSWORD, COMMENT), (LIFT, PASSWORD, COMMENT)),
        (("REVOKE", "VALID UNTIL"), (REVOKE, LIFT, PASSWORD), (PASSWORD,)),
        (("SUPERUSER",), (LIFT, CLOSE, POWER), (LIFT, CLOSE)),
        # nothing is opened past a door that does not shut
        (("REVOKE",), (CLOSE, OPEN, HARDEN), ()),
        (("REVOKE",), (CLOSE, HARDEN, EXTEND), (HARDEN,)),
        (("REVOKE",), (REVOKE, LIFT, CREATE, SEAL, HARDEN), (LIFT,)),
        # what a thing needs
        (("CREATE ROLE",), (MAKE, COMMENT, CREATE, SEAL, HARDEN), ()),
        (("CREATE DATABASE",), (LIFT, CREATE, SEAL, HARDEN), (LIFT,)),
        (("PASSWORD",), (PASSWORD, CLOSE, HARDEN), (CLOSE,)),
        (("GRANT",), (JoinRole(*KEY, "norn_admin", 180004), LIFT, CLOSE), ()),
        ((), (REVOKE, LIFT, CREATE, SEAL, HARDEN), (REVOKE, LIFT, CREATE, SEAL, HARDEN)),
    ],
)
async def test_what_is_done_beside_a_refusal(
    refused: tuple[str, ...], plan: tuple[PostgresAction, ...], made: tuple[PostgresAction, ...]
) -> None:
    found = await done(Client(*refused), *plan)
    assert found.done == made
    assert (found.error is None) == (not refused)


async def test_the_first_refusal_is_told_with_its_remedy_and_all_are_steps() -> None:
    found = await done(Client("REVOKE", "VALID UNTIL"), REVOKE, LIFT, PASSWORD)
    assert isinstance(found.error, Denied)
    assert found.error.remedy == f"as a superuser: {REVOKE.summary()}"
    assert [step.status for step in found.steps] == ["failed", "failed", "ok"]


async def test_silence_is_no_refusal() -> None:
    with pytest.raises(Unavailable):
        await done(Client("REVOKE", fault=psycopg.OperationalError), REVOKE, LIFT)
