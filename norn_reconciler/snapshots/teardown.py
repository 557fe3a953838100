"""The operation `teardown`: what nobody asks for any more is put out of the way, or goes. A
database goes only once a copy of it is made, verified and recorded."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from norn_reconciler import logs
from norn_reconciler.model import trash
from norn_reconciler.model.app import AppName
from norn_reconciler.model.databases import Databases, Seen
from norn_reconciler.model.errors import LeaseLost, NornError, StoreUnavailable, sentence
from norn_reconciler.model.inventory import Held, HeldState, ObjectKey, Origin, Owned
from norn_reconciler.model.records import Changes, ForgeState, Operation
from norn_reconciler.model.secret import DUE, Credential, CredentialMark, Secret
from norn_reconciler.model.snapshots import SnapshotRecords
from norn_reconciler.model.status import Condition, Event
from norn_reconciler.model.teardown import Destroys
from norn_reconciler.model.work import Steps, Subject
from norn_reconciler.snapshots.folder import digest
from norn_reconciler.snapshots.work import Copier

KIND = "teardown"
TRASH, DESTROY = "trash", "destroy"  # among the arguments: [service, kind, name] of each object


@dataclass(slots=True)
class _Case:
    """One app's removal as it goes on. owned: by service, as norn_db has it by now."""

    operation: Operation
    subject: Subject
    steps: Steps
    owned: dict[str, Owned]

    @property
    def app(self) -> AppName:
        return self.subject.app.name

    def asked(self, what: str) -> Iterator[tuple[str, Held]]:
        """The objects that are still there to be dealt with, and still nobody's: an app that is
        back, or asks for one of them again, keeps it."""
        listed = self.operation.arguments.get(what)
        for one in listed if isinstance(listed, list) else ():
            service, *key = map(str, one)
            owned = self.owned.get(service, {})
            held = owned.get((key[0], key[1]))
            if (
                held is not None
                and held.state is HeldState.RETAINED
                and held.origin is Origin.MADE
                and not trash.asked(self.subject.app, service, held, owned)
            ):
                yield service, held

    async def put(
        self, service: str, gone: ObjectKey, instead: Held | None, *events: Event
    ) -> None:
        """norn_db hears of one object what has become of it."""
        rows = {key: held for key, held in self.owned[service].items() if key != gone}
        if instead is not None:
            rows[instead.key] = instead
        await self.steps.write(Changes(inventory={(service, self.app): rows}, events=events))
        self.owned[service] = rows


class TeardownWork:
    kind = KIND
    exclusive = True
    of_removed = True

    def __init__(
        self,
        copier: Copier,
        databases: Callable[[], Databases],
        records: SnapshotRecords,
        destroyers: Mapping[str, Destroys],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._copier = copier
        self._databases = databases
        self._records = records
        self._destroyers = destroyers
        self._now = now

    async def run(self, operation: Operation, subject: Subject | None, steps: Steps) -> str:
        assert subject is not None, "a teardown is of an app"
        case = _Case(operation, subject, steps, dict(subject.owned))
        if subject.record.paused:
            raise NornError(f"{case.app} is paused: norn resume {case.app}")
        await steps.begin("prepare")
        began = self._now()
        if subject.leaving:
            await steps.write(Changes(forge_states=[_forge(case, "tearing_down", began, None)]))
        try:
            told = [await self._trashed(case, *one) for one in list(case.asked(TRASH))]
            told += [await self._destroyed(case, *one) for one in list(case.asked(DESTROY))]
            told += await self._left(case) if subject.leaving else []
        except (LeaseLost, StoreUnavailable):
            raise
        except NornError as fault:
            await self._ended(case, began, sentence(fault))
            raise
        except OSError as fault:
            await self._ended(case, began, fault.strerror or type(fault).__name__)
            raise
        await self._ended(case, began, "")
        return "; ".join(told) or f"nothing of {case.app} is to go any more"

    async def _ended(self, case: _Case, began: datetime, wrong: str) -> None:
        """People are told for as long as it is so. wrong: what stands in the way, "" where nothing
        does. Of an app that is there, forge_states is the lanes' to write."""
        now = self._now()
        await case.steps.show(trash.CONDITION, _condition(case, wrong, now))
        if case.subject.leaving:
            status = "forge_failed" if wrong else "unforged"
            state = _forge(case, status, began, now, wrong)
            await case.steps.write(Changes(forge_states=[state]))

    async def _trashed(self, case: _Case, service: str, held: Held) -> str:
        """Out of the way. What has no other place is only marked."""
        begun = case.operation.arguments.get("at")
        at = datetime.fromisoformat(str(begun)) if begun else self._now()
        await case.steps.begin(f"trash {held.name}", at=at.isoformat())
        now = replace(held, settings={**held.settings, trash.AT: trash.settings("", at)[trash.AT]})
        if service == self._copier.sources.key:
            now = await self._renamed(held, at)
        text = f"{held.kind} {held.name} is in the trash since nobody asks for it"
        facts = {"kind": held.kind, "name": held.name, "aside": now.name}
        event = Event(logs.OBJECT_TRASHED, "warning", case.app, text, facts, service)
        await case.put(service, held.key, now, event)
        return f"{held.name} is in the trash"

    async def _renamed(self, held: Held, at: datetime) -> Held:
        aside = trash.named(held.name, at)
        databases = self._databases()
        seen = await databases.seen(held.name)
        if seen is not None and seen.id == held.server_id:
            await databases.rename(seen, aside, open=False)
        settings = {**held.settings, **trash.settings(held.name, at)}
        return replace(held, name=aside, settings=settings)

    async def _destroyed(self, case: _Case, service: str, held: Held) -> str:
        destroyer = self._destroyers[service]
        precious = destroyer.copied and trash.BESIDE not in held.settings
        copy = await self._copied(case, held) if precious else ""
        await case.steps.begin(f"destroy {held.name}")
        how = await destroyer.destroy(case.app, held)
        kept = f"its copy is {copy}" if copy else "there is no copy of it"
        text = f"{held.kind} {held.name} is gone with its data ({how}); {kept}"
        facts = {"kind": held.kind, "name": held.name, "snapshot": copy}
        event = Event(logs.OBJECT_DESTROYED, "warning", case.app, text, facts, service)
        await case.put(service, held.key, None, event)
        return f"{held.name} is gone"

    async def _copied(self, case: _Case, held: Held) -> str:
        """The name of its copy; "" where the database was gone before there was one."""
        name = held.settings.get(trash.COPY, "")
        seen = await self._databases().seen(held.name)
        if seen is None or seen.id != held.server_id:
            return name  # whoever made it was ended before it could say that it had gone
        if not await self._whole(case.app, name):
            await self._copier.prepare()
            name = await self._copy(case, held, seen)
            key = self._copier.sources.key
            now = replace(held, settings={**held.settings, trash.COPY: name})
            await case.put(key, held.key, now)
        return name

    async def _whole(self, app: AppName, name: str) -> bool:
        """Whether a copy that was made before is still what it was."""
        for record in await self._records.snapshots(app) if name else ():
            if record.name == name and self._copier.folder.size(name) == record.size:
                return await digest(self._copier.folder.file(name)) == record.sha256
        return False

    async def _copy(self, case: _Case, held: Held, seen: Seen) -> str:
        """As its owner. One who may not log in any more gets a password for this alone."""
        key, subject = self._copier.sources.key, case.subject
        credential, password = subject.credentials[key], None
        if subject.leaving:
            password = Secret(secrets.token_urlsafe(32))
            credential = Credential(password, credential.mark)
            # Whoever brings the app back has its own password set again.
            service, mark = subject.services[key], credential.mark
            due = replace(service, mark=CredentialMark(DUE, mark.generation))
            await case.steps.write(Changes(services={(key, case.app): due}))
        elif subject.services[key].mark is None:
            raise NornError(
                f"norn does not know the password of {case.app}, and copies a database as its "
                f"owner only: first norn rotate {case.app}"
            )
        await case.steps.begin(f"copy {held.name}")
        called = held.settings.get(trash.FROM, held.name)  # as people know it
        async with self._databases().entered(seen, password):
            source = await self._copier.sources.look(subject.app, credential, held.name)
            made = await self._copier.copy(subject.record, called, source, "", case.steps)
        return made.name

    async def _left(self, case: _Case) -> list[str]:
        """Where nothing holds data any more, the users and roles go as well."""
        told = []
        for service, destroyer in sorted(self._destroyers.items()):
            owned = case.owned.get(service, {})
            if not owned or any(held.kind in destroyer.data for held in owned.values()):
                continue
            await case.steps.begin(f"leave {service}")
            stay = await destroyer.leave(case.app, owned)
            rows = {held.key: held for held in stay}
            await case.steps.write(Changes(inventory={(service, case.app): rows}))
            case.owned[service] = rows
            if not rows:
                told.append(f"nothing of {case.app} is left on {destroyer.title}")
        return told


def _condition(case: _Case, wrong: str, now: datetime) -> Condition | None:
    """None where there is nothing to tell: of an app that is there, what has gone is history."""
    if wrong:
        return Condition(trash.CONDITION, "False", "Blocked", wrong, now)
    if text := trash.told(case.owned.values()):
        return Condition(trash.CONDITION, "False", trash.IN_TRASH, text, now)
    if not case.subject.leaving:
        return None
    return Condition(
        trash.CONDITION, "True", "Gone", "its data are gone: norn events has more", now
    )


def _forge(
    case: _Case, status: str, began: datetime, ended: datetime | None, wrong: str = ""
) -> ForgeState:
    resources = {
        service: [{"kind": h.kind, "name": h.name, "state": h.state.value} for h in owned.values()]
        for service, owned in sorted(case.owned.items())
        if owned
    }
    return ForgeState(case.app, status, (), resources, wrong or None, began, ended)
