"""Two apps on one broker, provisioned by norn, B with everything that an app can have going on.

A is called `mail-…` and B `mail-…box`, and B's topic begins with the name of A's: rules that forget
a delimiter, or take a name for a prefix, reach from one to the other.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.events import EventsProvider, EventsSection
from tests.integration.events_admin import Admin
from tests.integration.provider_contract import World, credential
from tests.isolation.events_clients import Life, disband, patiently
from tests.isolation.events_session import Session, logged_in

LOOKALIKES = 12


@dataclass(frozen=True)
class Broker:
    """Where a broker is, and its superuser."""

    brokers: str
    username: str
    password: Secret


@dataclass
class Stage:
    """Use as a context manager."""

    broker: Broker
    tag: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def __post_init__(self) -> None:
        self.a = AppName(f"mail-{self.tag}")
        self.b = AppName(f"{self.a}box")
        self.own_topic = f"in-{self.tag}"
        self.topic = f"{self.own_topic}.audit"
        self.jobs = f"{self.b}.jobs"
        self.topics = (self.topic, self.jobs)
        self.lookalikes = _lookalikes(self.a, self.own_topic)
        self.apps = (
            self._app(self.a, self.own_topic, f"{self.a}.jobs"),
            self._app(self.b, *self.topics),
        )
        self.life: Life
        self._sessions: list[Session] = []
        self.topic_ids: dict[str, uuid.UUID] = {}
        self._runner = asyncio.Runner()
        self.provider = EventsProvider(
            brokers=self.broker.brokers,
            username=self.broker.username,
            password=self.broker.password,
        )
        self.admin_tools = Admin(self.provider)
        self.world = World(self.provider)  # type: ignore[arg-type]  # the engine's view of it

    @staticmethod
    def _app(name: AppName, *topics: str) -> App:
        listed = [{"name": topic, "partitions": 2} for topic in topics]
        return App(name, {"events": EventsSection.model_validate({"topics": listed})})

    def __enter__(self) -> Stage:
        self.admin = self.open(self.broker.username, self.broker.password)
        try:
            self.node = self.admin.ask("DescribeCluster", {})["Brokers"][0]["BrokerId"]
            self.run(self.world.converge(*self.apps))
            self._live()
            with_own = {"TransactionalId": self.a, "TransactionTimeoutMs": 60000}
            begun = patiently(self.open_as(self.a), "InitProducerId", with_own, 4)
            self.own_producer = (begun["ProducerId"], begun["ProducerEpoch"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.clean_up()
        for session in self._sessions:
            session.close()
        self.run(self.provider.close())
        self._runner.close()

    def _live(self) -> None:
        self.topic_ids = self._topic_ids()
        self.life = Life(self.open_as(self.b), self.b, self.topics, self.topic_ids)
        self.life.begin()

    def run(self, work: Any) -> Any:
        return self._runner.run(work)

    def open(self, user: str, password: Secret) -> Session:
        """A session that lasts as long as the stage, at most."""
        self._sessions.append(logged_in(self.broker.brokers, user, password))
        return self._sessions[-1]

    def open_as(self, app: str) -> Session:
        return self.open(app, credential(app).password)

    def _topic_ids(self) -> dict[str, uuid.UUID]:
        names = [{"Name": name} for app in self.apps for name in self._names(app)]
        found = self.admin.ask("Metadata", {"Topics": names})["Topics"]
        return {topic["Name"]: topic["TopicId"] for topic in found}

    @staticmethod
    def _names(app: App) -> Iterable[str]:
        section = app.sections["events"]
        assert isinstance(section, EventsSection)
        return [topic.name for topic in section.topics]

    def restore(self, *, objects: bool) -> None:
        """All of B's as it should be, whatever has been done to it. objects: topics and rights
        too, not only what its clients have going on."""
        for _ in range(10):
            if objects:
                # Rules for everybody are a person's to take away: norn says so, and blocks.
                self.run(self.admin_tools.delete_acls_of("User:*", self.tag))
                self.run(self.world.converge(self.apps[1]))
            self.life.session.close()
            self._disband()
            try:
                return self._live()
            except AssertionError:  # a deleted topic was still listed
                objects = True
                time.sleep(0.1)
        raise AssertionError("B's own could not be restored")

    def grant(self, *rights: tuple[str, str, str, str]) -> None:
        """More for A than the product gives: (type, name, pattern, operation) each."""
        for right in rights:
            self.run(self.admin_tools.create_acl(f"User:{self.a}", *right))

    def clean_up(self) -> None:
        """Rights and users by the product, then the data it retains."""
        self._disband()
        emptied = [App(app.name, {}) for app in self.apps]
        self.run(self.world.converge(*emptied))
        topics = [{"Name": name} for name in self.found_topics()]
        self.admin.ask("DeleteTopics", {"Topics": topics, "TimeoutMs": 10000}, 6)

    def _disband(self) -> None:
        """Ends every group that bears the stage's tag."""
        found = self.admin.ask("ListGroups", {})["Groups"]
        disband(self.admin, [g["GroupId"] for g in found if self.tag in g["GroupId"]])

    def found_topics(self) -> frozenset[str]:
        """Every topic that bears the stage's tag, whoever made it."""
        found = self.admin.ask("Metadata", {"Topics": None})["Topics"]
        return frozenset(t["Name"] for t in found if self.tag in t["Name"])


def _lookalikes(app: str, topic: str) -> tuple[str, ...]:
    """Names that a careless comparison takes for the app's, or that nobody was given."""
    names = (
        f"{app}x", f"{app}_jobs", f"{app}-jobs", f"{app}box", f"{app}box.made",
        f"{app.upper()}.jobs", app[:-1], f"x{app}.jobs", f"{topic}x", f"{topic}.x",
        topic.replace("-", "_"), f"jobs-{app}",
    )  # fmt: skip
    assert len(names) == LOOKALIKES
    return names
