"""Which roles and databases become which specs."""

from __future__ import annotations

from norn_reconciler.model.app import AppName
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import Held
from norn_reconciler.providers.postgres.section import PostgresSection
from norn_reconciler.providers.postgres.survey import Login, Store, judge

SUPER = Login("postgres", superuser=True)
ADMIN = Login("norn_admin")


def found(
    roles: list[Login], databases: list[Store], held: dict[AppName, dict] | None = None
) -> tuple[dict[str, Found], list[str]]:
    all_ = judge(
        [SUPER, ADMIN, *roles],
        [Store("postgres", "postgres"), Store("norn_db", "norn_admin"), *databases],
        held or {},
        frozenset({"norn_admin"}),
        frozenset({"norn_db"}),
    )
    return {f.user: f for f in all_ if f.user}, [n for f in all_ if not f.user for n in f.notes]


def test_a_role_with_its_database() -> None:
    apps, loose = found([Login("billing", connections=7)], [Store("billing_db", "billing")])
    assert apps["billing"].section == {"database": "billing_db", "connections": 7}
    assert (set(apps), loose) == ({"billing"}, [])
    PostgresSection.model_validate(apps["billing"].section)


def test_what_norn_has_and_the_servers_own_is_left_out() -> None:
    rows = {
        ("role", "mail"): Held("role", "mail"),
        ("database", "mail_db"): Held("database", "mail_db"),
    }
    databases = [Store("mail_db", "mail"), Store("scratch", "norn_admin")]
    assert found([Login("mail")], databases, {AppName("mail"): rows}) == ({}, [])


def test_no_limit_of_connections_is_left_to_the_reader() -> None:
    for limit, words in ((-1, "no limit of"), (0, "a limit of 0")):
        apps, _ = found([Login("a", connections=limit)], [Store("d", "a")])
        assert apps["a"].section == {"database": "d"}
        assert any(words in note and "the limit is 50" in note for note in apps["a"].notes)


def test_of_several_databases_the_one_that_bears_the_name_is_taken() -> None:
    stores = [Store(name, "mail-agent") for name in ("archive", "MailAgent_DB", "zoo")]
    apps, _ = found([Login("mail-agent")], stores)
    assert apps["mail-agent"].section == {"database": "MailAgent_DB"}
    (note,) = [n for n in apps["mail-agent"].notes if "3 databases" in n]
    assert "archive, zoo would stay" in note and '"MailAgent_DB" is taken' in note
    apps, _ = found([Login("other")], [Store("b", "other"), Store("a", "other")])
    assert apps["other"].section == {"database": "a"}


def test_a_role_without_a_database_has_nothing_to_write() -> None:
    apps, _ = found([Login("reporting"), Login("group", login=False)], [])
    assert set(apps) == {"reporting"}
    assert apps["reporting"].section is None and "owns no database" in apps["reporting"].notes[0]


def test_a_group_that_owns_a_database_is_shown() -> None:
    apps, _ = found([Login("owners", login=False)], [Store("shared", "owners")])
    assert apps["owners"].section == {"database": "shared"}


def test_databases_that_can_be_nobodys_are_told_with_what_to_do() -> None:
    rows = {("role", "mail"): Held("role", "mail")}
    stores = [Store("Old", "postgres"), Store("half", "a", whole=False), Store("second", "mail")]
    apps, loose = found([Login("a"), Login("mail")], stores, {AppName("mail"): rows})
    assert "mail" not in apps and apps["a"].section is None
    assert 'database "Old" is owned by postgres, a superuser' in loose[0]
    assert 'ALTER DATABASE "Old" OWNER TO' in loose[0] and "inside, ALTER" in loose[0]
    assert "DROP DATABASE half" in loose[1]
    assert "owned by mail, an app of norn's" in loose[2]


def test_a_role_that_a_lost_norn_made_is_recognised() -> None:
    apps, _ = found([Login("a", comment="norn: app a")], [Store("d", "a")])
    assert any("was norn_db lost?" in note for note in apps["a"].notes)


def test_names_are_handed_on_as_they_are() -> None:
    evil = 'x"; DROP\n- y: \x1b[31m'
    apps, _ = found([Login(evil)], [Store(evil, evil)])
    assert apps[evil].section == {"database": evil}
