"""One random fleet on the real servers: its files, what is in force by them, and whether the
servers hold just that. Knows by itself what norn should do; asks norn for nothing but to work."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.acceptance.fleet_judge import Judge, Seen, acls_of, rules_in, rules_of
from tests.acceptance.fleet_logins import Variables, log_in, opens_a_door
from tests.acceptance.fleet_meddling import DRIFT, FOREIGN_KEY, Meddle, Target
from tests.acceptance.fleet_wishes import LETTERS, Edit, Folder, Names, Wish, text
from tests.acceptance.norn_here import Here


@dataclass
class World:
    """in_force: by letter, the last good version of each file that is there. ever: by letter, the
    databases, namespaces and topics that the app was ever given, by name with what stays the same
    of them (OID, topic id)."""

    norn: Here = field(repr=False)  # knows passwords
    judge: Judge
    mark: str
    default_partitions: int
    folder: Folder = field(default_factory=dict)
    in_force: dict[str, Wish] = field(default_factory=dict)
    roles: set[str] = field(default_factory=set)
    databases: dict[str, tuple[str, int]] = field(default_factory=dict)  # name → (role, oid)
    renamed: set[str] = field(default_factory=set)  # databases that were left for another one
    namespaces: set[str] = field(default_factory=set)
    topics: dict[str, dict[str, Any]] = field(default_factory=dict)
    env: dict[str, Variables] = field(default_factory=dict, repr=False)  # as last delivered

    def names(self, letter: str) -> Names:
        return Names(letter, self.mark)

    def edit(self, edits: Sequence[Edit]) -> None:
        """Change the files on disk, and what is in force by them."""
        for edit in edits:
            edit(self.folder)
        self.write(self.norn.specs)
        before = dict(self.in_force)
        good = {letter: f.wish for letter, f in self.folder.items() if not f.broken}
        last = {letter: w for letter, w in before.items() if letter in self.folder}
        self.in_force = {**last, **good}
        for letter, wish in self.in_force.items():
            self._remember(letter, wish, before.get(letter))

    def _remember(self, letter: str, wish: Wish, before: Wish | None) -> None:
        names = self.names(letter)
        if wish.database is not None:
            self.roles.add(names.app)
            self.renamed.discard(names.database(wish.database))
            other = names.database(1 - wish.database)
            if other in self.databases:
                self.renamed.add(other)
        if wish.namespace is not None:
            self.namespaces.add(names.namespace(wish.namespace))
        for pattern, topic in wish.topics or ():
            known = self.topics.setdefault(
                names.topic(pattern), {"id": None, "partitions": None, "foreign": {}}
            )
            at_least = topic.partitions or self.default_partitions
            known["partitions"] = max(at_least, known["partitions"] or 0)
            if topic.partitions is None and before is None and known["id"] is None:
                known["partitions"] = self.default_partitions

    def write(self, specs: Path, *, mirrored: bool = False) -> None:
        """The folder as it should be: what others are about goes, the rest is left as it is."""
        wanted = {}
        for letter, file in self.folder.items():
            place = f"0-{file.place}" if mirrored and "/" not in file.place else file.place
            said = text(self.names(letter), file.wish, mirrored=mirrored)
            wanted[specs / place.format(letter)] = said.encode() + file.broken
        for path in [*specs.glob("*.y*ml"), *specs.glob("*/*.yaml")]:
            if path not in wanted:
                path.unlink()
        for path, content in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)

    @property
    def broken(self) -> bool:
        return any(f.broken for f in self.folder.values())

    # --- norn ---

    def converge(self) -> dict[str, Any]:
        """`norn apply`; what it holds for a person is confirmed."""
        code = None if self.broken else 0
        gone = [n for n in self.env if n[0] not in self.in_force]
        told = self.norn.json("apply", code=None)
        if told["held"]:
            for app in gone:  # held means that nobody has lost anything
                self._log_in(app)
            self.norn.run("confirm", told["held"].split("norn confirm ")[1].split(",")[0])
            told = self.norn.json("apply", code=None)
        assert not told["held"], told
        faulty = [a for a in map(self._app, self.in_force) if not told["apps"][a]["ready"]]
        assert not faulty, told
        assert code is None or told["converged"], told
        return dict(told)

    def _app(self, letter: str) -> str:
        return self.names(letter).app

    def plan(self, **more: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.norn.run("plan", "--output", "json", code=1 if self.broken else 0, **more)
        )
        assert not found["faults"], found
        return found

    # --- people ---

    def meddle(self, meddles: Sequence[Meddle]) -> list[str]:
        """Do all that applies. Returns what is drift of it."""
        done = []
        for meddle in meddles:
            at = LETTERS.index(meddle.letter)
            for letter in LETTERS[at:] + LETTERS[:at]:
                target = self._target(letter)
                if target is None or not meddle(target):
                    continue
                if meddle.kind in DRIFT:
                    done.append(f"{target.app}: {meddle.kind}")
                self._after(meddle.kind, target)
                break
        return done

    def _target(self, letter: str) -> Target | None:
        if letter not in self.in_force:
            return None
        names = self.names(letter)
        others = sorted(self.roles - {names.app})
        neighbour = others[0] if others else None
        return Target(self.judge.services, names, self.in_force[letter], neighbour)

    def _after(self, kind: str, target: Target) -> None:
        if kind == "no topic":
            pattern, topic = (target.wish.topics or ())[0]
            self.topics[target.names.topic(pattern)] = {
                "id": None,
                "partitions": topic.partitions or self.default_partitions,
                "foreign": {},
            }
        elif kind == "a config that no spec names":
            self.topics[target.topics[0]]["foreign"] = {FOREIGN_KEY: "2000000"}

    # --- the judge ---

    def look(self) -> Seen:
        return self.judge.look(self.mark, map(self._app, LETTERS))

    def check(self) -> Seen:
        """The servers, the env files and the logins are as the files say."""
        seen = self.look()
        self._check_postgres(seen)
        self._check_valkey(seen)
        self._check_kafka(seen)
        self._check_env()
        return seen

    def _wished(self, what: str) -> Iterator[tuple[Names, Wish]]:
        for letter, wish in self.in_force.items():
            if getattr(wish, what) is not None:
                yield self.names(letter), wish

    def _check_postgres(self, seen: Seen) -> None:
        assert set(seen.roles) == self.roles
        served = dict(self._wished("database"))
        apps = {names.app: wish for names, wish in served.items()}
        for role, found in seen.roles.items():
            if role not in apps:
                assert not found["login"], role
                continue
            assert found == {
                "login": True,
                "inherit": True,
                "limit": apps[role].connections or 50,
                "powers": [],
                "expires": None,
                "settings": ["temp_file_limit=1GB"],
                "members": ["norn_admin"],
                "member of": [],
            }, role
        now = {names.database(wish.database or 0): names.app for names, wish in served.items()}
        assert set(seen.databases) == now.keys() | self.databases.keys()
        for name, found in seen.databases.items():
            owner, oid = self.databases.setdefault(name, (now.get(name, ""), found["oid"]))
            assert found["oid"] == oid, f"{name}: data not retained"
            if name in now:
                assert found == {
                    "oid": oid,
                    "owner": owner,
                    "open": True,
                    "limit": -1,
                    "template": False,
                    "grants": [f"{owner} {right}" for right in ("CONNECT", "CREATE", "TEMPORARY")],
                    "settings": [],
                }, name
            else:  # another owner stays one: who has no login loses nothing by it
                assert {g.split(" ")[0] for g in found["grants"]} <= {owner, "norn_admin"}, name
                assert not (found["open"] and name in self.renamed), name

    def _check_valkey(self, seen: Seen) -> None:
        served = {names.app: (names, wish) for names, wish in self._wished("namespace")}
        assert seen.users.keys() == served.keys()
        for app, (names, wish) in served.items():
            keys = names.namespace(wish.namespace or 0)
            wanted = rules_of(keys, wish.channels, info=wish.info)
            assert rules_in(seen.users[app]) == wanted, app
            url = self._env_file(app)["VALKEY_URL"]
            password = hashlib.sha256(unquote(urlsplit(url).password or "").encode()).hexdigest()
            assert re.findall("#([0-9a-f]{64})", seen.users[app]) == [password], app
        for namespace in self.namespaces:  # what apps wrote is there, reachable or not
            key = f"{namespace}:kept-{self.mark}"
            self.judge.services.valkey.setnx(key, namespace)
            assert self.judge.services.valkey.get(key) == namespace

    def _check_kafka(self, seen: Seen) -> None:
        served = dict(self._wished("topics"))
        wanted = {
            f"User:{names.app}": acls_of(
                names.app, [names.topic(p) for p, _ in wish.topics or ()], self._reads(names)
            )
            for names, wish in served.items()
        }
        assert seen.acls == wanted
        assert seen.scram == {names.app: {"SCRAM_SHA_256": 4096} for names in served}
        assert set(seen.topics) == set(self.topics)
        configs = {
            names.topic(pattern): dict(topic.config)
            for names, wish in served.items()
            for pattern, topic in wish.topics or ()
        }
        for name, found in seen.topics.items():
            known = self.topics[name]
            known["id"] = known["id"] or found["id"]
            assert found["id"] == known["id"], f"{name}: data not retained"
            assert found["partitions"] == known["partitions"], name
            if name in configs:
                declared = {key: str(value) for key, value in configs[name].items()}
                assert found["config"] == {**declared, **known["foreign"]}, name

    def _reads(self, reader: Names) -> list[str]:
        """Others' topics that their owners let it read."""
        return sorted(
            names.topic(pattern)
            for names, wish in self._wished("topics")
            for pattern, topic in wish.topics or ()
            if reader.letter in topic.readers and reader != names
        )

    def _check_env(self) -> None:
        folder = self.norn.folder / ".norn" / "credentials"
        files = (
            {p.name.removesuffix(".env") for p in folder.glob("*")} if folder.exists() else set()
        )
        apps = {self._app(letter): wish for letter, wish in self.in_force.items() if not wish.empty}
        assert files == set(apps)
        for app, before in self.env.items():
            if app not in apps:
                assert not opens_a_door(before), f"{app} still gets in"
        self.env = {app: self._env_file(app) for app in apps}
        for app, wish in apps.items():
            self._log_in(app)
            self._check_variables(self.names(app[0]), wish, self.env[app])

    def _env_file(self, app: str) -> Variables:
        return Variables(self.norn.env(app))

    def _check_variables(self, names: Names, wish: Wish, env: Variables) -> None:
        topics = [names.topic(pattern) for pattern, _ in wish.topics or ()]
        assert ("DATABASE_URL" in env) == (wish.database is not None), names.app
        assert ("VALKEY_URL" in env) == (wish.namespace is not None), names.app
        if wish.database is not None:
            path = urlsplit(env["DATABASE_URL"]).path
            assert path == f"/{names.database(wish.database)}"
        if wish.namespace is not None:
            assert env["KV_NAMESPACE"] == names.namespace(wish.namespace)
        if wish.topics is None:
            assert not any(key.startswith("KAFKA") for key in env), names.app
        else:
            assert env["KAFKA_TOPICS"] == ",".join(topics), names.app
            reads = self._reads(names)
            assert env.get("KAFKA_READ_TOPICS", "") == ",".join(reads), names.app

    def _log_in(self, app: str) -> None:
        log_in(app, self.env[app], {t for t in self.topics if t.startswith(f"{app}.")})
