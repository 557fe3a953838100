"""What one app is to have on PostgreSQL, and what was seen of it. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from norn_reconciler.model.app import AppName
from norn_reconciler.model.secret import Credential

SERVICE = "postgres"
ROLE = "role"
DATABASE = "database"
GROUP = "group"  # of the roles that may read a database
MAX_NAME = 63  # bytes: NAMEDATALEN - 1
PUBLIC = ""  # as a grantee
UNLIMITED = -1
INVALID = -2  # datconnlimit of a database whose DROP was interrupted
TEMP_FILE_LIMIT = "temp_file_limit"
BOOTSTRAP_OID = 10  # the cluster's first superuser, who can't be anything less
OWNER_RIGHTS = ("CONNECT", "CREATE", "TEMPORARY")
HARDENED = "schema.public"  # key in Held.settings of a database
READER = "reader."  # and its name: key in Held.settings of a group
DEFAULTS = 3  # kinds of object that are promised to readers: schemas, tables, sequences
EXTENSION = "extension."  # and its name: key in Held.settings of a database
HARDENED_VALUE = "closed to PUBLIC"

APP_ROLE, NORN_ROLE, POWERFUL = "app", "norn", "power"  # kinds of roles that no app may be in

COMMENT_PREFIX = "norn: app "


def role_comment(app: AppName) -> str:
    """The second witness of ownership: a role cannot change the comment on itself."""
    return f"{COMMENT_PREFIX}{app}"


READERS = ".readers"


def group_name(app: str) -> str:
    """The role whose members may read the app's database. No app's name holds a dot."""
    return f"{app}{READERS}"


@dataclass(frozen=True, slots=True)
class Desired:
    """database is None when the spec has no section: no access, data retained.

    connections: how many the role may hold at once. temp_file_limit: as ALTER ROLE takes it.
    readers: apps that may read the database. reads: others' databases that this app may read.
    renamed_from: what the database was called before, where it is to keep its data.
    """

    role: str
    database: str | None
    connections: int
    temp_file_limit: str | None
    credential: Credential
    extensions: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    renamed_from: str | None = None

    @property
    def group(self) -> str:
        return group_name(self.role)


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One right on a database of somebody else than its owner. grantee: "" is PUBLIC. ours: the
    grantee is a role of a norn app."""

    grantee: str
    privilege: str
    grantor: str
    ours: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """`member`, who is not the admin, is in `role`. other_is_app: the one of both that is not the
    observed role is an app's. plain: the member has the role's rights, and can neither act as it
    (where the server tells that apart: 16 and later) nor let others in."""

    role: str
    member: str
    grantor: str
    other_is_app: bool
    plain: bool = True


@dataclass(frozen=True, slots=True, order=True)
class Reach:
    """`member`, an app's role, can act as `role` or has its rights, directly or through others.

    kind: what `role` is (APP_ROLE, NORN_ROLE, POWERFUL). cut_role, cut_member, grantor: the
    membership to revoke. mends: the server lets norn do that itself, and both are apps' roles.
    """

    member: str
    role: str
    kind: str
    cut_role: str
    cut_member: str
    grantor: str
    mends: bool = False


@dataclass(frozen=True, slots=True)
class Role:
    """One login role, or the group of the roles that read a database.

    expires: VALID UNTIL as the server shows it, None for never. settings: of ALTER ROLE … SET.
    usable: the admin may act as it (SET ROLE and inherited rights), so may make databases for it.
    password: whether the stored verifier is that of the wanted password, None where the server does
    not let the admin read it. sessions: those that run as it. ruled: the admin may alter it.
    reaches: what it should not be in. reached_by: apps that are in it through somebody else.
    """

    name: str
    oid: int
    login: bool = True
    superuser: bool = False
    createdb: bool = False
    createrole: bool = False
    replication: bool = False
    bypassrls: bool = False
    inherit: bool = True
    connection_limit: int = UNLIMITED
    expires: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    comment: str | None = None
    usable: bool = True
    ruled: bool = True
    password: bool | None = None
    sessions: int = 0
    members: frozenset[Member] = frozenset()
    member_of: frozenset[Member] = frozenset()
    reaches: frozenset[Reach] = frozenset()
    reached_by: frozenset[Reach] = frozenset()

    @property
    def powers(self) -> tuple[str, ...]:
        """Attributes that no app's role has, as ALTER ROLE calls them."""
        held = (
            ("SUPERUSER", self.superuser),
            ("CREATEDB", self.createdb),
            ("CREATEROLE", self.createrole),
            ("REPLICATION", self.replication),
            ("BYPASSRLS", self.bypassrls),
        )
        return tuple(power for power, has in held if has)


@dataclass(frozen=True, slots=True)
class Database:
    """One database. settings: names of database-level settings that the admin may reset, with
    their values. sessions: how many, by role name, of the roles that were looked at. promised: to
    how many kinds of objects to come a role has a right by default privileges, by role name. ruled:
    the admin may act as its owner."""

    name: str
    oid: int
    owner: str
    allow_connections: bool = True
    connection_limit: int = UNLIMITED
    is_template: bool = False
    owner_rights: frozenset[str] = frozenset(OWNER_RIGHTS)
    grants: frozenset[Grant] = frozenset()
    settings: Mapping[str, str] = field(default_factory=dict)
    sessions: Mapping[str, int] = field(default_factory=dict)
    promised: Mapping[str, int] = field(default_factory=dict)
    ruled: bool = True

    @property
    def invalid(self) -> bool:
        """Left behind by an interrupted DROP: nothing but DROP is possible."""
        return self.connection_limit == INVALID


@dataclass(frozen=True, slots=True)
class Server:
    """version: e.g. 180004. admin: the role norn works as. limits_temp_files: it may set
    temp_file_limit for others."""

    version: int
    admin: str
    limits_temp_files: bool


@dataclass(frozen=True, slots=True)
class Observed:
    """databases: by name, those the app asks for or owns rows of, and renamed ones found by OID.

    group: the role whose members read the app's database. readers: those of the wanted readers
    that have a role which bears norn's witness, or are to get one in the same batch. readable:
    others' databases that the app is to read, by name. former: its role and group, by kind, that
    still have the name which their rows say.
    """

    server: Server
    role: Role | None
    databases: Mapping[str, Database] = field(default_factory=dict)
    group: Role | None = None
    readers: frozenset[str] = frozenset()
    readable: Mapping[str, Database] = field(default_factory=dict)
    former: Mapping[str, Role] = field(default_factory=dict)

    def by_oid(self, oid: str | None) -> Database | None:
        """The database with that recorded id, whatever it is called now."""
        return next((d for d in self.databases.values() if str(d.oid) == oid), None)
