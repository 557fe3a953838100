"""(desired, observed, owned) → actions and problems. Pure, deterministic, no driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from norn_reconciler.model.inventory import Held, HeldState, Origin, Owned
from norn_reconciler.model.plan import Plan, Problem, Severity, Wanted
from norn_reconciler.providers.kv.actions import (
    CreateUser,
    DeleteUser,
    DisableUser,
    EndSessions,
    KvAction,
    SaveUsers,
    SetPassword,
    SetUser,
)
from norn_reconciler.providers.kv.rules import (
    Difference,
    Rules,
    app_rules,
    differences,
    widened,
)
from norn_reconciler.providers.kv.section import refused_app_name
from norn_reconciler.providers.kv.state import (
    NAMESPACE,
    USER,
    Desired,
    Observed,
    Persistence,
)

RULES = "rules"  # in a user's row: fingerprint of what norn set last, as the server showed it
SAVED = "saved"  # …: fingerprint of what was saved last


def plan(wanted: Wanted[Desired], observed: Observed, reserved: frozenset[str]) -> Plan[KvAction]:
    """What leads from `observed` to `wanted`, ordered by phase. A user of that name that is not
    norn's is left alone, whatever is wanted."""
    app = wanted.desired.app
    refused = refused_app_name(app, reserved)
    if refused is not None:
        return Plan(
            problems=(_blocking("NameReserved", refused, f"give the app {app} another name"),)
        )
    if wanted.desired.namespace is None:
        return Plan(tuple(_removed(wanted, observed)))
    if observed.user is not None and not owns(wanted, observed.user):
        if looks_like_norns(wanted, observed):
            return Plan(problems=(wanted.record_lost((USER, app)),))
        return Plan(problems=(_foreign(app),))
    if observed.claimants and (NAMESPACE, wanted.desired.namespace) not in wanted.owned:
        return Plan(problems=(_in_use(wanted.desired, observed.claimants),))
    actions = sorted(_declared(wanted, observed), key=lambda action: action.phase)
    return Plan(tuple(actions), tuple(_warnings(wanted, observed)))


def wanted_rules(wanted: Wanted[Desired], observed: Observed) -> Rules:
    """The rules of a declared app's user on this server. An adopted one keeps its passwords until
    a person has them changed."""
    desired = wanted.desired
    if desired.namespace is None:
        raise ValueError(f"{desired.app} wants no access")
    rules = app_rules(
        desired.app,
        desired.namespace,
        desired.password_sha256,
        observed.missing,
        info=desired.info,
        channels=desired.channels,
    )
    kept = _kept_passwords(wanted, observed)
    return replace(rules, passwords=kept) if kept else rules


def _kept_passwords(wanted: Wanted[Desired], observed: Observed) -> frozenset[str]:
    if observed.user is None or not wanted.keeps_password((USER, wanted.desired.app)):
        return frozenset()
    return observed.user.passwords


def owns(wanted: Wanted[Desired], user: Rules) -> bool:
    """Whether the user is norn's. One that was only about to be made is norn's when it bears the
    password that only norn can derive; otherwise somebody else was faster."""
    row = wanted.owned.get((USER, wanted.desired.app))
    if row is None:
        return False
    return row.state is not HeldState.CLAIMED or wanted.desired.password_sha256 in user.passwords


def looks_like_norns(wanted: Wanted[Desired], observed: Observed) -> bool:
    """Whether a user of which norn_db has no row has a password that only norn can derive, or to
    the letter the rules that norn gives."""
    user, desired = observed.user, wanted.desired
    if user is None or desired.namespace is None or (USER, desired.app) in wanted.owned:
        return False
    rules = replace(wanted_rules(wanted, observed), passwords=user.passwords)
    return desired.password_sha256 in user.passwords or not differences(rules, user)


def holds(rules: Rules, user: Rules, row: Held | None) -> tuple[Difference, ...]:
    """How `user` differs from `rules`. Words that this program does not know count only when they
    are not the ones that the server showed right after norn had set the user."""
    found = differences(rules, user)
    if found or not user.flags:
        return found
    if row is not None and row.settings.get(RULES) == user.fingerprint:
        return ()
    return (
        Difference("flags", "as the server shows them after a reset", " ".join(sorted(user.flags))),
    )


def _declared(wanted: Wanted[Desired], observed: Observed) -> Iterator[KvAction]:
    desired, user = wanted.desired, observed.user
    rules = wanted_rules(wanted, observed)
    if user is None:
        yield CreateUser(USER, desired.app, rules)
        return
    row = wanted.owned.get((USER, desired.app))
    differs = holds(rules, user, row)
    if any(d.aspect == "passwords" for d in differs):
        yield SetPassword(USER, desired.app, rules, differs)
    elif wanted.applied != desired.mark and not _kept_passwords(wanted, observed):
        unproven = Difference("password", "proven by a login", "not proven yet")
        yield SetPassword(USER, desired.app, rules, (*differs, unproven))
    elif differs:
        yield SetUser(USER, desired.app, rules, differs)
    elif observed.persistence.durable and not _saved(row, user):
        yield SaveUsers.of(desired.app)
    # What norn itself set last was never wider than the spec of its time: the app's sessions stay.
    deliberate = row is not None and row.settings.get(RULES) == user.fingerprint
    if observed.unended or (differs and widened(rules, user) and not deliberate):
        yield EndSessions.of(desired.app)


def _saved(row: Held | None, user: Rules) -> bool:
    return row is not None and row.settings.get(SAVED) == user.fingerprint


def _removed(wanted: Wanted[Desired], observed: Observed) -> Iterator[KvAction]:
    app, user = wanted.desired.app, observed.user
    row = wanted.owned.get((USER, app))
    if row is None:
        return
    if user is None:
        # The file that the server loads may still know it: then it would be back after a restart.
        if observed.persistence.durable and row.state is not HeldState.CLAIMED:
            yield SaveUsers.of(app)
    elif not owns(wanted, user):
        return
    elif row.origin is Origin.MADE:
        yield DeleteUser.of(app)
    elif user.enabled:
        yield DisableUser.of(app)
    elif observed.persistence.durable and not _saved(row, user):
        yield SaveUsers.of(app)


def _warnings(wanted: Wanted[Desired], observed: Observed) -> Iterator[Problem]:
    if observed.open_by:
        yield Problem(
            Severity.BLOCKING,
            "OpenToAll",
            f"keys of {wanted.desired.namespace}:* are anybody's who says a name: no password is "
            f"asked of {', '.join(observed.open_by)}",
            "; ".join(f"ACL SETUSER {user} off" for user in observed.open_by),
            opens=True,
        )
    for namespace in sorted(former_namespaces(wanted.owned, wanted.desired.namespace)):
        yield Problem(
            Severity.WARNING,
            "DataRetained",
            f"the keys of the former namespace {namespace} are retained; the app cannot reach them",
            f"look at them with: valkey-cli --scan --pattern '{namespace}:*'",
        )
    if _kept_passwords(wanted, observed):
        yield wanted.password_kept((USER, wanted.desired.app))
    if observed.persistence is Persistence.NONE:
        yield Problem(
            Severity.WARNING,
            "NotPersisted",
            "the server keeps its ACL users in memory only: after its restart the app is locked "
            "out until norn has made its user again",
            "set aclfile in valkey.conf, or NORN_VALKEY_CONFIG_REWRITE=true where the users are "
            "kept in valkey.conf",
        )
    elif observed.persistence is Persistence.UNKNOWN:
        yield Problem(
            Severity.WARNING,
            "NotPersisted",
            "norn's user may not ask whether the server keeps its ACL users in a file, so they "
            "are not saved",
            "let norn's user run CONFIG GET: +config|get",
        )


def former_namespaces(owned: Owned, now: str | None) -> frozenset[str]:
    """Namespaces that the app's rows hold and its spec does not name."""
    return frozenset(row.name for row in owned.values() if row.kind == NAMESPACE) - {now or ""}


def _foreign(app: str) -> Problem:
    return _blocking(
        "Conflict",
        f"an ACL user {app} exists that norn did not make; it is left as it is",
        f"norn adopt {app}",
    )


def _in_use(desired: Desired, claimants: tuple[str, ...]) -> Problem:
    return _blocking(
        "Conflict",
        f"keys of {desired.namespace}:* are others' who are not norn's: {', '.join(claimants)}",
        f"another namespace; or, if the app may have these keys too: norn adopt {desired.app}",
    )


def _blocking(reason: str, message: str, remedy: str) -> Problem:
    return Problem(Severity.BLOCKING, reason, message, remedy)
