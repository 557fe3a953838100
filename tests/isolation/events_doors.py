"""Ways into a broker other than one's own name with one's own password."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from norn_reconciler.model.secret import Secret
from tests.integration.provider_contract import credential
from tests.isolation.events_session import Session
from tests.isolation.events_stage import Stage

Door = Callable[[Session], None]
MECHANISMS = ("PLAIN", "ANONYMOUS", "EXTERNAL", "GSSAPI", "OAUTHBEARER", "scram-sha-256", "")


def doors(stage: Stage) -> Iterator[tuple[str, Door]]:
    """What it is, and the attempt; all of them should raise Refused."""
    a, b, admin = stage.a, stage.b, stage.broker.username
    own, other = credential(a).password, credential(b).password
    wrong = Secret("not-the-password")

    def scram(user: str, password: Secret, **more: str) -> Door:
        return lambda session: session.log_in(user, password, **more)

    def plain(user: str, password: Secret) -> Door:
        def attempt(session: Session) -> None:
            session.choose("PLAIN")
            session.token(f"\0{user}\0{password.reveal()}".encode())

        return attempt

    def unproven(session: Session) -> None:
        session.choose("SCRAM-SHA-256")
        first = session.token(f"n,,n={b},r=abc".encode()).decode()
        session.token(f"c=biws,{first.split(',')[0]},p={'A' * 43}=".encode())

    yield "a wrong password", scram(a, wrong)
    yield "an empty password", scram(a, Secret(""))
    yield "the other's name, the own password", scram(b, own)
    yield "the own name, the other's password", scram(a, other)
    yield "the admin's name, the own password", scram(admin, own)
    yield "a name that nobody has", scram(f"{a}.new", own)
    yield "no name", scram("", own)
    yield "another case", scram(a.upper(), own)
    yield "on the other's behalf", scram(a, own, behalf=b)
    yield "on the admin's behalf", scram(a, own, behalf=admin)
    yield "as a delegation token", scram(a, own, extra=",tokenauth=true")
    yield "another mechanism of the same family", scram(a, own, mechanism="SCRAM-SHA-512")
    yield "PLAIN with the right password", plain(a, own)
    yield "PLAIN as the other", plain(b, wrong)
    yield "a proof that proves nothing", unproven
    for mechanism in MECHANISMS:
        yield f"mechanism {mechanism!r}", lambda session, m=mechanism: session.choose(m)
    yield "no handshake", lambda session: session.token(f"n,,n={b},r=abc".encode())


def bare_frame(key: int, version: int) -> bytes:
    """A request of any number, its body all zeros: enough for a broker that would serve it."""
    payload = struct.pack(">hhih", key, version, 1, 1) + b"x" + bytes(64)
    return struct.pack(">i", len(payload)) + payload
