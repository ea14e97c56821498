"""A client certificate's name as who calls, over a real TLS connection."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from gateway.identity.interceptor import AuthInterceptor
from gateway.identity.principal import Scope
from tests.unit.gateway.identity.keys import bearer, guard_of, new_certificate, new_key
from tests.unit.gateway.identity.test_interceptor import CHAT, PUT, SERVICE, SOON_S, Door, Tenants, door_of
from trichord import server
from trichord.settings import ServiceSettings
from trichord.tls import TlsSettings
from trichord.v1 import gateway_pb2, gateway_pb2_grpc

NAME = "batch.acme.example"
SPIFFE = "spiffe://acme.example/batch"


def tls_of(ca: trustme.CA, folder: Path, *names: str) -> TlsSettings:
    paths = {kind: folder / f"{names[0]}.{kind}" for kind in ("certificate", "key", "ca")}
    issued = ca.issue_cert(*names)
    issued.cert_chain_pems[0].write_to_path(str(paths["certificate"]))
    issued.private_key_pem.write_to_path(str(paths["key"]))
    ca.cert_pem.write_to_path(str(paths["ca"]))
    return TlsSettings(**paths)  # type: ignore[arg-type]


def with_uri(ca: trustme.CA, folder: Path, uri: str) -> TlsSettings:
    """A client whose certificate has a URI and no other name, as SPIFFE has it (X.509-SVID section 2)."""
    tls = tls_of(ca, folder, "uri.example")
    key = load_pem_private_key(tls.key.read_bytes(), None)  # type: ignore[union-attr]
    authority = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    certificate = (
        x509.CertificateBuilder(authority.subject, x509.Name([]), key.public_key(), x509.random_serial_number())  # type: ignore[arg-type]
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(names, critical=True)
        .sign(load_pem_private_key(ca.private_key_pem.bytes(), None), hashes.SHA256())  # type: ignore[arg-type]
    )
    tls.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))  # type: ignore[union-attr]
    return tls


async def test_a_certificates_name_is_who_calls(file: Path, audit: Path, tmp_path: Path) -> None:
    ca, servicer = trustme.CA(), Tenants()
    new_certificate(file, NAME, "batchers", (Scope.MEDIA,))
    new_certificate(file, SPIFFE, "spiffers", (Scope.MEDIA,))
    key = new_key(file, "acme", (Scope.CHAT, Scope.MEDIA))

    def register(grpc_server: grpc.aio.Server) -> list[str]:
        gateway_pb2_grpc.add_OmniServiceServicer_to_server(servicer, grpc_server)
        return [SERVICE]

    running = await server.start(
        register,
        ServiceSettings(),
        interceptors=[AuthInterceptor(guard_of(file, audit))],
        tls=tls_of(ca, tmp_path, "127.0.0.1"),
    )
    target = f"127.0.0.1:{running.port}"
    async with server.open_channel(target, 1 << 20, tls=tls_of(ca, tmp_path, "x.example", NAME)) as channel:
        known = Door(servicer, channel, running)
        put = await gateway_pb2_grpc.OmniServiceStub(channel).PutMedia(gateway_pb2.PutMediaRequest(), timeout=SOON_S)
        assert put.media_handle == "batchers"
        assert await known.call(CHAT) is grpc.StatusCode.PERMISSION_DENIED
        assert await known.call(CHAT, bearer(key)) is grpc.StatusCode.OK  # a key goes before a certificate
        assert await known.call(PUT, "Bearer wrong") is grpc.StatusCode.UNAUTHENTICATED
        assert await known.call("/x.Y/Z") is not grpc.StatusCode.OK
    async with server.open_channel(target, 1 << 20, tls=with_uri(ca, tmp_path, SPIFFE)) as channel:
        put = await gateway_pb2_grpc.OmniServiceStub(channel).PutMedia(gateway_pb2.PutMediaRequest(), timeout=SOON_S)
        assert put.media_handle == "spiffers"
    async with server.open_channel(target, 1 << 20, tls=tls_of(ca, tmp_path, "unknown.example")) as channel:
        unknown = Door(servicer, channel, running)
        assert await unknown.call(PUT) is grpc.StatusCode.UNAUTHENTICATED
        assert await unknown.call(PUT, bearer(key)) is grpc.StatusCode.OK
    await running.server.stop(0)


@pytest.mark.parametrize("name", [SPIFFE, NAME])
async def test_without_tls_a_name_is_nothing(file: Path, audit: Path, name: str) -> None:
    new_certificate(file, name)
    async with door_of(guard_of(file, audit)) as door:
        assert await door.call(CHAT) is grpc.StatusCode.UNAUTHENTICATED
        stub = gateway_pb2_grpc.OmniServiceStub(door.channel)
        for header in ("x509_subject_alternative_name", "x-forwarded-client-cert", "x-ssl-client-san"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.PutMedia(gateway_pb2.PutMediaRequest(), metadata=[(header, name)], timeout=SOON_S)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
