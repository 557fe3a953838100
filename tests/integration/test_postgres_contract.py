"""The postgres provider on real servers, 18 and 15: what every provider owes, and each drift."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.postgres.provider import PostgresProvider
from norn_reconciler.providers.postgres.section import PostgresSection
from norn_reconciler.providers.postgres.state import Database, Role
from tests.integration.postgres_admin import Admin, database_of
from tests.integration.provider_contract import Mutation, ProviderContract
from tests.servers import PostgresServer


def by_superuser(text: str, named: str, *, of: str = "role", mended: bool = True) -> Mutation:
    """of: what {} in `text` is, the app's role or its database."""

    async def act(test: Any, app: App) -> None:
        name = app.name if of == "role" else database_of(app.name)
        await test.admin.run(text, name)

    return Mutation(act, named, mended)


def power(name: str) -> Mutation:
    """One that norn's admin does not have itself, so may not take away."""
    return by_superuser(f"ALTER ROLE {{}} {name}", f'ALTER ROLE "{{app}}" NO{name}', mended=False)


def by_app(text: str, named: str) -> Mutation:
    """The app itself, in its own database, whose name {} is."""

    async def act(test: Any, app: App) -> None:
        database = database_of(app.name)
        await test.admin.as_app(app.name, database, text, database)

    return Mutation(act, named)


async def _another_apps_grant(test: Any, app: App) -> None:
    other = await test.other_app()
    database = database_of(app.name)
    await test.admin.as_app(
        app.name, database, "GRANT CONNECT ON DATABASE {} TO {}", database, other
    )


async def _another_apps_membership(test: Any, app: App) -> None:
    await test.admin.as_norn("GRANT {} TO {}", app.name, await test.other_app())


async def _norn_left_out(test: Any, app: App) -> None:
    await test.admin.as_norn("REVOKE {} FROM CURRENT_USER", app.name)


async def _renamed(test: Any, app: App) -> None:
    database = database_of(app.name)
    await test.admin.run("ALTER DATABASE {} RENAME TO {}", database, f"{database}_old")


async def _made_again(test: Any, app: App) -> None:
    database = database_of(app.name)
    await test.admin.run("DROP DATABASE {}", database)
    await test.admin.run("CREATE DATABASE {} OWNER {}", database, app.name)


async def _a_guest(test: Any, app: App) -> str:
    guest = f"guest_{app.name}"
    await test.admin.run("CREATE ROLE {}", guest)
    return guest


async def _guest_in_role(test: Any, app: App) -> None:
    await test.admin.run("GRANT {} TO {}", app.name, await _a_guest(test, app))


async def _role_in_guest(test: Any, app: App) -> None:
    await test.admin.run("GRANT {} TO {}", await _a_guest(test, app), app.name)


async def _guest_in_database(test: Any, app: App) -> None:
    guest = await _a_guest(test, app)
    await test.admin.run("GRANT CREATE ON DATABASE {} TO {}", database_of(app.name), guest)


async def _public_by_a_third(test: Any, app: App) -> None:
    """A foreign role with the grant option hands its right on to PUBLIC."""
    database, third = database_of(app.name), f"third_{app.name}"
    await test.admin.run("CREATE ROLE {}", third)
    await test.admin.as_app(
        app.name, database, "GRANT CONNECT ON DATABASE {} TO {} WITH GRANT OPTION", database, third
    )
    await test.admin.run("SET ROLE {}; GRANT CONNECT ON DATABASE {} TO PUBLIC", third, database)


async def _given_to_norn(test: Any, app: App) -> None:
    await test.admin.run("ALTER DATABASE {} OWNER TO norn_admin", database_of(app.name))


async def _role_dropped(test: Any, app: App) -> None:
    await test.admin.run("ALTER DATABASE {} OWNER TO norn_admin", database_of(app.name))
    await test.admin.run("DROP OWNED BY {}; DROP ROLE {}", app.name, app.name)


_ON_DATABASE = 'DATABASE "{app}_db"'


class TestPostgresContract(ProviderContract):
    key = "postgres"
    admin: Admin

    mutations: ClassVar = {
        "no login": by_superuser("ALTER ROLE {} NOLOGIN", 'ALTER ROLE "{app}" LOGIN'),
        "createdb": by_superuser("ALTER ROLE {} CREATEDB", 'ALTER ROLE "{app}" NOCREATEDB'),
        "createrole": by_superuser("ALTER ROLE {} CREATEROLE", 'ALTER ROLE "{app}" NOCREATEROLE'),
        "superuser": power("SUPERUSER"),
        "replication": power("REPLICATION"),
        "bypassrls": power("BYPASSRLS"),
        "no inherit": by_superuser("ALTER ROLE {} NOINHERIT", 'ALTER ROLE "{app}" INHERIT'),
        "limit": by_superuser("ALTER ROLE {} CONNECTION LIMIT 3", "CONNECTION LIMIT 50"),
        "expiry": by_superuser("ALTER ROLE {} VALID UNTIL '2020-01-01'", "VALID UNTIL 'infinity'"),
        "temp files": by_superuser("ALTER ROLE {} RESET temp_file_limit", "SET temp_file_limit"),
        "more temp files": by_superuser(
            "ALTER ROLE {} SET temp_file_limit = '9GB'", "SET temp_file_limit = '1GB'"
        ),
        "comment": by_superuser("COMMENT ON ROLE {} IS 'x'", 'COMMENT ON ROLE "{app}"'),
        "public connects": by_app(
            "GRANT CONNECT ON DATABASE {} TO PUBLIC",
            f"REVOKE CONNECT ON {_ON_DATABASE} FROM PUBLIC",
        ),
        "public creates": by_superuser(
            "GRANT CREATE ON DATABASE {} TO PUBLIC",
            f"REVOKE CREATE ON {_ON_DATABASE} FROM PUBLIC",
            of="database",
        ),
        "public makes temporary tables": by_app(
            "GRANT TEMPORARY ON DATABASE {} TO PUBLIC",
            f"REVOKE TEMPORARY ON {_ON_DATABASE} FROM PUBLIC",
        ),
        "public by a third": Mutation(
            _public_by_a_third, f"REVOKE GRANT OPTION FOR CONNECT ON {_ON_DATABASE} FROM"
        ),
        "another app's grant": Mutation(
            _another_apps_grant, f"REVOKE CONNECT ON {_ON_DATABASE} FROM"
        ),
        "another app's membership": Mutation(_another_apps_membership, 'REVOKE "{app}" FROM'),
        "norn left out": Mutation(_norn_left_out, 'GRANT "{app}" TO norn_admin'),
        "a guest in the role": Mutation(
            _guest_in_role, "role guest_{app} is a member of {app}", mended=False
        ),
        "the role in a guest": Mutation(
            _role_in_guest, "role {app} is a member of guest_{app}", mended=False
        ),
        "a guest in the database": Mutation(
            _guest_in_database, "guest_{app} has CREATE on database {app}_db", mended=False
        ),
        "owner": Mutation(_given_to_norn, f"ALTER {_ON_DATABASE} OWNER TO"),
        "role dropped": Mutation(_role_dropped, 'CREATE ROLE "{app}"'),
        "owner shut out": by_app(
            "REVOKE CONNECT ON DATABASE {} FROM CURRENT_USER", f"GRANT CONNECT ON {_ON_DATABASE}"
        ),
        "owner may not create": by_app(
            "REVOKE CREATE ON DATABASE {} FROM CURRENT_USER", f"GRANT CREATE ON {_ON_DATABASE}"
        ),
        "owner makes no temporary tables": by_app(
            "REVOKE TEMPORARY ON DATABASE {} FROM CURRENT_USER",
            f"GRANT TEMPORARY ON {_ON_DATABASE}",
        ),
        "database renamed": Mutation(
            _renamed, "{app}_db was renamed to {app}_db_old", mended=False
        ),
        "database made again": Mutation(
            _made_again, "{app}_db is not the one that norn made", mended=False
        ),
        "database dropped": by_superuser(
            "DROP DATABASE {}", "{app}_db was there and it is gone", of="database", mended=False
        ),
        "database limit": by_app(
            "ALTER DATABASE {} CONNECTION LIMIT 0", f"ALTER {_ON_DATABASE} CONNECTION LIMIT -1"
        ),
        "connections off": by_superuser(
            "ALTER DATABASE {} ALLOW_CONNECTIONS false",
            f"ALTER {_ON_DATABASE} ALLOW_CONNECTIONS true",
            of="database",
        ),
        "template": by_app(
            "ALTER DATABASE {} IS_TEMPLATE true", f"ALTER {_ON_DATABASE} IS_TEMPLATE false"
        ),
        "search path": by_app(
            "ALTER DATABASE {} SET search_path = evil, pg_catalog",
            f"ALTER {_ON_DATABASE} RESET search_path",
        ),
        "role setting": by_app(
            "ALTER DATABASE {} SET role = 'none'", f"ALTER {_ON_DATABASE} RESET role"
        ),
    }

    observed: ClassVar = (Role, Database)
    compared: ClassVar = {
        "Role.name": "role dropped",
        "Role.login": "no login",
        "Role.superuser": "superuser",
        "Role.createdb": "createdb",
        "Role.createrole": "createrole",
        "Role.replication": "replication",
        "Role.bypassrls": "bypassrls",
        "Role.inherit": "no inherit",
        "Role.connection_limit": "limit",
        "Role.expires": "expiry",
        "Role.settings": "temp files",
        "Role.comment": "comment",
        "Role.usable": "norn left out",
        "Role.members": "another app's membership",
        "Role.member_of": "the role in a guest",
        "Database.name": "database renamed",
        "Database.oid": "database made again",
        "Database.owner": "owner",
        "Database.allow_connections": "connections off",
        "Database.connection_limit": "database limit",
        "Database.is_template": "template",
        "Database.owner_rights": "owner shut out",
        "Database.grants": "public connects",
        "Database.settings": "search path",
    }
    elsewhere: ClassVar = {
        "Role.ruled": "acceptance/test_6_adopt_postgres.py"
        "::test_a_superuser_is_asked_to_be_none_before_it_can_be_adopted",
        "Database.ruled": "acceptance/test_6_adopt_postgres.py"
        "::test_a_superusers_database_is_asked_for_with_what_is_inside",
        "Database.promised": "unit/providers/test_postgres_sharing.py::test_drift",
        "Role.reaches": "integration/test_postgres_recovery.py"
        "::test_an_apps_role_within_anothers_is_told_on_both_sides",
        "Role.reached_by": "integration/test_postgres_recovery.py"
        "::test_an_apps_role_within_anothers_is_told_on_both_sides",
        "Role.oid": "integration/test_postgres_recovery.py"
        "::test_a_claimed_role_without_the_witness_is_somebody_elses",
        "Role.password": "integration/test_postgres_recovery.py"
        "::test_where_verifiers_can_be_read_a_changed_password_is_drift",
        "Role.sessions": "integration/test_postgres_recovery.py"
        "::test_removal_ends_sessions_and_shuts_what_is_retained",
        "Database.sessions": "integration/test_postgres_recovery.py"
        "::test_removal_ends_sessions_and_shuts_what_is_retained",
    }

    @pytest.fixture
    async def provider(self, postgres: PostgresServer) -> AsyncIterator[AnyProvider]:
        self.admin = Admin(postgres)
        before = await self.admin.roles()
        provider = PostgresProvider(Secret(postgres.admin_url), instance="contract")
        yield provider  # type: ignore[misc]
        await provider.close()
        await self.admin.sweep(before)

    async def other_app(self) -> str:
        """A role that bears the witness of another norn app."""
        name = f"other-{id(self):x}"
        await self.admin.as_norn("CREATE ROLE {}", name)
        await self.admin.as_norn("COMMENT ON ROLE {} IS 'norn: app other'", name)
        return name

    def section(self, app: AppName) -> PostgresSection:
        return PostgresSection(database=database_of(app))

    def changed_section(self, app: AppName) -> PostgresSection:
        return PostgresSection(database=database_of(app), connections=7)

    async def requests(self, provider: Any) -> int:
        count: int = provider.requests
        return count

    async def make_foreign(self, app: App) -> None:
        await self.admin.run("CREATE ROLE {} CREATEDB CONNECTION LIMIT 4", app.name)
        await self.admin.run("CREATE DATABASE {} OWNER {}", database_of(app.name), app.name)

    async def foreign_state(self, app: App) -> object:
        return (
            await self.admin.run(f"SELECT * FROM pg_authid WHERE rolname::text = '{app.name}'"),
            await self.admin.run(
                "SELECT oid, datdba, datallowconn, datconnlimit, datacl::text FROM pg_database "
                f"WHERE datname = '{database_of(app.name)}'"
            ),
        )

    async def can_log_in(self, app: App) -> bool:
        return not await self.admin.refuses(app.name, database_of(app.name))

    async def put_data(self, app: App) -> None:
        await self.admin.as_app(
            app.name, database_of(app.name), "CREATE TABLE kept AS SELECT 42 AS x"
        )

    async def has_data(self, app: App) -> bool:
        rows = await self.admin.run("SELECT x FROM public.kept", database=database_of(app.name))
        return rows == [(42,)]
