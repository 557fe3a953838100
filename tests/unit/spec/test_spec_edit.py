"""Single words of a file are changed, and nothing else of it."""

from __future__ import annotations

import pytest

from norn_reconciler.model.errors import NornError
from norn_reconciler.spec.edit import Change, changed

DB = ("services", "postgres", "database")
FORMER = Change(("services", "postgres", "renamedFrom"), "mail_db", after="database")

BLOCK = """\
# whose it is
app:   mail   # the name
services:
    postgres:
        database: mail_db   # its own

        connections: 5
    kv: {namespace: mail}
x-note: [a,   b]
"""


def test_a_word_is_changed_and_a_field_added_where_it_belongs() -> None:
    assert changed(BLOCK, [Change(DB, "post_db"), FORMER]) == BLOCK.replace(
        "database: mail_db   # its own\n",
        "database: post_db   # its own\n        renamedFrom: mail_db\n",
    )


def test_a_field_that_is_there_is_changed() -> None:
    once = changed(BLOCK, [Change(DB, "post_db"), FORMER])
    again = Change(FORMER.path, "post_db", after="database")
    assert changed(once, [Change(DB, "last_db"), again]) == (
        once.replace("mail_db", "post_db").replace("database: post_db", "database: last_db")
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "services: {postgres: {database: mail_db, connections: 5}}",
            "services: {postgres: {database: post_db, renamedFrom: mail_db, connections: 5}}",
        ),
        (
            "services:\r\n  postgres:\r\n    database: 'mail_db'\r\nrole: cron\r\n",
            "services:\r\n  postgres:\r\n    database: post_db\r\n    renamedFrom: mail_db\r\n"
            "role: cron\r\n",
        ),
        (
            "services:\n  postgres:\n    database: mail_db",
            "services:\n  postgres:\n    database: post_db\n    renamedFrom: mail_db",
        ),
        (
            '{"services": {"postgres": {"database": "mail_db"}}}',
            '{"services": {"postgres": {"database": post_db, renamedFrom: mail_db}}}',
        ),
    ],
)
def test_however_it_is_written(text: str, expected: str) -> None:
    assert changed(text, [Change(DB, "post_db"), FORMER]) == expected


@pytest.mark.parametrize("name", ["1_0", "0x10", "yes", "NULL", "1e3"])
def test_a_name_that_reads_as_something_else_is_quoted(name: str) -> None:
    assert f'database: "{name}"' in changed(BLOCK, [Change(DB, name)])


@pytest.mark.parametrize(
    "text",
    [
        "x-a: &a mail_db\nservices: {postgres: {database: *a}}",
        "x-a: &a {database: mail_db}\nservices: {postgres: {<<: *a}}",
        "services:\n  postgres:\n    database: >-\n      mail_db\n",
        "services:\n  postgres:\n    database:\n      mail_db\n",
        "x-a: &a\n  database: mail_db\nx-b: *a\nservices:\n  postgres: *a\n",
        "services: {postgres: {database: &a mail_db}}\nx-a: *a\n",
        "services: {}",
        "services: [",
    ],
)
def test_what_is_more_than_a_word_is_left_to_a_person(text: str) -> None:
    with pytest.raises(NornError):
        changed(text, [Change(DB, "post_db"), FORMER])
