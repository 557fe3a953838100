"""Which users and topics become which specs."""

from __future__ import annotations

from norn_reconciler.model.found import Found
from norn_reconciler.providers.events.acl import AclBinding
from norn_reconciler.providers.events.section import EventsSection
from norn_reconciler.providers.events.state import ConfigValue, TopicState
from norn_reconciler.providers.events.survey import Cluster, judge

SHA = {"SCRAM-SHA-256": 4096}


def acl(
    user: str, operation: str, name: str, kind: str = "TOPIC", pattern: str = "LITERAL", **more: str
) -> AclBinding:
    who = user if ":" in user else f"User:{user}"
    return AclBinding(who, kind, name, pattern, "*", more.get("permission", "ALLOW"), operation)


def found(
    topics: dict[str, TopicState] | list[str], *acls: AclBinding, **users: dict[str, int]
) -> tuple[dict[str, Found], list[str]]:
    states = topics if isinstance(topics, dict) else {t: TopicState("id", 3, 1) for t in topics}
    known = {name.replace("_", "-"): mechanisms for name, mechanisms in users.items()}
    all_ = judge(Cluster(states, acls, known), {"norn-admin"})
    apps = {f.user: f for f in all_ if f.user}
    for one in apps.values():
        assert one.section is not None
        EventsSection.model_validate(one.section)
    return apps, [n for f in all_ if not f.user for n in f.notes]


def names(one: Found) -> list[str]:
    assert one.section is not None
    return [t["name"] for t in one.section["topics"]]  # type: ignore[attr-defined]


def test_who_writes_a_topic_has_it_and_who_reads_it_is_a_reader() -> None:
    config = {"retention.ms": ConfigValue("1000", True)}
    topics = {"in": TopicState("id", 3, 2, config), "out": TopicState("id", 1, 1)}
    apps, loose = found(
        topics,
        acl("a", "WRITE", "in"),
        acl("b", "READ", "in"),
        acl("a", "ALL", "out"),
        a=SHA,
        b=SHA,
    )
    assert apps["a"].section == {
        "topics": [
            {
                "name": "in",
                "partitions": 3,
                "replication": 2,
                "readers": ["b"],
                "config": {"retention.ms": "1000"},
            },
            {"name": "out", "partitions": 1, "replication": 1},
        ]
    }
    assert apps["b"].section == {"topics": []}
    assert loose == [] and apps["a"].notes == apps["b"].notes == ()


def test_a_topic_that_several_write_is_nobodys_and_each_is_told() -> None:
    apps, loose = found(
        ["t"], acl("a", "WRITE", "t"), acl("b", "ALL", "t"), acl("c", "READ", "t"),
        a=SHA, b=SHA, c=SHA,
    )  # fmt: skip
    assert all(names(one) == [] for one in apps.values())
    assert "topic t is written by a, b and read by c" in loose[0] and "`readers`" in loose[0]
    assert all(any("topic t is written by a, b" in n for n in x.notes) for x in apps.values())


def test_one_reader_alone_has_the_topic_and_several_do_not() -> None:
    apps, _ = found(["t"], acl("a", "READ", "t"), a=SHA)
    assert names(apps["a"]) == ["t"] and "could write it" in apps["a"].notes[0]
    apps, loose = found(["t"], acl("a", "READ", "t"), acl("b", "READ", "t"), a=SHA, b=SHA)
    assert names(apps["a"]) == [] and "has readers only: read by a, b" in loose[0]


def test_a_topic_that_nobody_has_is_told() -> None:
    apps, loose = found(["t"], acl("a", "READ", "*"), acl("a", "DESCRIBE", "t"), a=SHA)
    assert names(apps["a"]) == []
    assert loose == ["topic t is granted to no user: name it in the spec of the app that it is for"]


def test_what_a_prefix_reaches_is_listed_and_the_prefix_told() -> None:
    prefixed = acl("a", "WRITE", "mail", pattern="PREFIXED")
    apps, _ = found(["mail.in", "mailbox", "other"], prefixed, a=SHA)
    assert names(apps["a"]) == ["mail.in", "mailbox"]
    assert "every topic that begins with mail:" in apps["a"].notes[0]
    apps, _ = found(["a.in"], acl("a", "WRITE", "a.", pattern="PREFIXED"), a=SHA)
    assert names(apps["a"]) == ["a.in"] and apps["a"].notes == ()


def test_users_that_are_no_apps() -> None:
    apps, loose = found(
        ["t"],
        acl("root", "ALTER", "kafka-cluster", kind="CLUSTER"),
        acl("root", "WRITE", "t"),
        acl("norn-admin", "WRITE", "t"),
        acl("User:*", "READ", "t"),
        acl("Group:ops", "READ", "t"),
        root=SHA,
        norn_admin=SHA,
    )
    assert apps == {}
    text = " | ".join(loose)
    assert "topic t is granted to no user" in text and "root may administer" in text
    assert "ACLs of Group:ops" in text and "ACLs of User:*" in text


def test_users_that_need_a_word() -> None:
    apps, _ = found(
        ["t"],
        acl("ghost", "WRITE", "t"),
        acl("Odd", "READ", "t"),
        old={"SCRAM-SHA-512": 4096},
        Odd=SHA,
    )
    assert any("no SCRAM user" in n for n in apps["ghost"].notes)
    assert any("read by Odd, which can't be an app" in n for n in apps["ghost"].notes)
    assert "readers" not in str(apps["ghost"].section)
    assert any("SCRAM-SHA-512: norn rotate" in n for n in apps["old"].notes)
    assert any("nothing is granted to it" in n for n in apps["old"].notes)


def test_a_refusal_gives_nothing() -> None:
    apps, loose = found(["t"], acl("a", "WRITE", "t", permission="DENY"), a=SHA)
    assert names(apps["a"]) == [] and "granted to no user" in loose[0]
