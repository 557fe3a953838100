"""TLS: the server's certificate is checked, its host name included, for norn and for the proofs."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import Unavailable
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.kv.endpoint import Endpoint
from norn_reconciler.providers.kv.provider import KvProvider
from norn_reconciler.providers.kv.section import KvSection
from tests.integration.kv_servers import ADMIN, PASSWORD, OwnServer
from tests.integration.provider_contract import World, credential

MAIL = App(AppName("mail"), {"kv": KvSection(namespace="mail")})


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """A self-signed certificate for `host` and its key: (certificate, key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "valkey of a test")])
    now = datetime.datetime.now(datetime.UTC)
    alt: x509.GeneralName = x509.DNSName(host)
    if host.replace(".", "").isdigit():
        alt = x509.IPAddress(ipaddress.ip_address(host))
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([alt]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{host}.crt", folder / f"{host}.key"
    cert_file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


@asynccontextmanager
async def tls_in_front_of(server: OwnServer, cert: Path, key: Path) -> AsyncIterator[int]:
    """The wheel's Valkey has no TLS: this ends it and passes the rest on. Yields its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    open_writers: set[asyncio.StreamWriter] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except (OSError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", server.port)
        open_writers.update((writer, back_writer))
        await asyncio.gather(pass_on(reader, back_writer), pass_on(back_reader, writer))

    front = await asyncio.start_server(one, "127.0.0.1", 0, ssl=context)
    try:
        yield front.sockets[0].getsockname()[1]
    finally:
        front.close()
        for writer in open_writers:
            writer.close()
        await asyncio.gather(*(w.wait_closed() for w in open_writers), return_exceptions=True)
        await front.wait_closed()


@pytest.mark.parametrize(
    ("scheme", "host", "trusted", "fine"),
    [
        ("rediss", "127.0.0.1", True, True),
        ("valkeys", "127.0.0.1", True, True),
        ("rediss", "127.0.0.1", False, False),
        ("rediss", "elsewhere.example", True, False),
    ],
)
async def test_tls(tmp_path: Path, scheme: str, host: str, trusted: bool, fine: bool) -> None:
    cert, key = certificate(tmp_path, host)
    server = OwnServer(tmp_path).start()
    try:
        async with tls_in_front_of(server, cert, key) as port:
            trust = f"?ssl_ca_certs={cert}" if trusted else ""
            url = f"{scheme}://{ADMIN}:{PASSWORD}@127.0.0.1:{port}/0{trust}"
            provider = KvProvider(Endpoint(Secret(url)), request_timeout=5.0)
            world = World(provider)  # type: ignore[arg-type]
            try:
                if fine:
                    await world.converge(MAIL)
                    assert (await provider.prove(MAIL, credential("mail"))).ok
                    env = provider.env(MAIL, credential("mail"))
                    assert env["REDIS_URL"].startswith("rediss://mail:")
                    assert env["VALKEY_URL"].endswith(f"@127.0.0.1:{port}/0")
                else:
                    with pytest.raises(Unavailable, match="certificate verify failed"):
                        await world.observe([MAIL])
                    with pytest.raises(Unavailable):
                        await provider.prove(MAIL, credential("mail"))
            finally:
                await provider.close()
    finally:
        server.stop()
