"""TLS on both sides of a connection, with certificates made here: who is believed, and files that are replaced."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
import trustme

from tests.unit.trichord.echo import SOON_S, Echo, said
from trichord import server
from trichord.errors import SettingsError
from trichord.settings import ServiceSettings
from trichord.tls import TlsSettings
from trichord.v1 import gateway_pb2_grpc


@dataclass
class Authority:
    """Makes certificates into a folder of its own."""

    ca: trustme.CA
    folder: Path

    def tls(self, *names: str, **settings: Any) -> TlsSettings:
        """Settings of a process with a certificate of those names."""
        certificate, key = self.issue(*names)
        return TlsSettings(certificate=certificate, key=key, ca=self.folder / "ca.pem", **settings)

    def issue(self, *names: str) -> tuple[Path, Path]:
        certificate, key = self.folder / f"{names[0]}.pem", self.folder / f"{names[0]}.key"
        issued = self.ca.issue_cert(*names)
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key


def authority_in(folder: Path) -> Authority:
    folder.mkdir()
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    return Authority(ca, folder)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return authority_in(tmp_path / "ours")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """An authority that nobody believes."""
    return authority_in(tmp_path / "theirs")


@contextlib.asynccontextmanager
async def serving(tls: TlsSettings | None) -> AsyncIterator[int]:
    """The port of an echo."""
    running = await server.start(Echo().register, ServiceSettings(), tls=tls)
    yield running.port
    await running.server.stop(0)


async def talks(port: int, tls: TlsSettings | None, host: str = "127.0.0.1") -> bool:
    """Whether a client of that TLS gets an answer; anything else than no connection is an error."""
    async with server.open_channel(f"{host}:{port}", 1 << 20, tls=tls) as channel:
        try:
            answer = await gateway_pb2_grpc.OmniServiceStub(channel).PutMedia(said("hi"), timeout=SOON_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
    assert answer.media_handle == "hi"
    return True


async def test_both_sides_with_certificates_of_one_authority_talk(authority: Authority) -> None:
    async with serving(authority.tls("127.0.0.1")) as port:
        assert await talks(port, authority.tls("client"))


async def test_nobody_else_is_let_in(authority: Authority, stranger: Authority) -> None:
    async with serving(authority.tls("127.0.0.1")) as port:
        assert not await talks(port, None)
        theirs = stranger.tls("client")
        assert not await talks(port, theirs)
        assert not await talks(
            port, TlsSettings(certificate=theirs.certificate, key=theirs.key, ca=authority.tls("x").ca)
        )


async def test_a_client_believes_no_other_server(authority: Authority, stranger: Authority) -> None:
    client = authority.tls("client")
    for tls in (None, stranger.tls("127.0.0.1"), authority.tls("elsewhere.example")):
        async with serving(tls) as port:
            assert not await talks(port, client)


async def test_a_server_may_have_another_name_than_its_host(authority: Authority) -> None:
    async with serving(authority.tls("vision-encoder")) as port:
        assert await talks(port, authority.tls("client", server_name="vision-encoder"))
        assert not await talks(port, authority.tls("client", server_name="audio-encoder"))


async def test_a_server_may_ask_clients_for_none(authority: Authority, stranger: Authority) -> None:
    async with serving(authority.tls("127.0.0.1", require_client=False)) as port:
        theirs = stranger.tls("client")
        assert await talks(port, TlsSettings(certificate=theirs.certificate, key=theirs.key, ca=authority.tls("x").ca))
        assert not await talks(port, None)


async def test_certificates_that_are_replaced_are_used_for_the_next_connection(
    authority: Authority, tmp_path: Path
) -> None:
    tls, new = authority.tls("127.0.0.1"), authority_in(tmp_path / "new")
    old_client, new_client = authority.tls("client"), new.tls("client")
    async with serving(tls) as port:
        assert await talks(port, old_client)
        replaced = new.tls("127.0.0.1")
        for name in ("certificate", "key", "ca"):
            move(getattr(replaced, name), getattr(tls, name))
        assert await talks(port, TlsSettings(certificate=new_client.certificate, key=new_client.key, ca=tls.ca))
        assert not await talks(port, TlsSettings(certificate=old_client.certificate, key=old_client.key, ca=tls.ca))


async def test_half_replaced_files_leave_the_certificate_as_it_was(authority: Authority) -> None:
    tls, client = authority.tls("127.0.0.1"), authority.tls("client")
    async with serving(tls) as port:
        other = authority.tls("other")
        move(other.key, tls.key)
        with structlog.testing.capture_logs() as logs:
            assert await talks(port, client)
        assert {line["event"] for line in logs if line["log_level"] == "error"} == {"certificates"}
        move(authority.issue("127.0.0.1", "again")[0], tls.certificate)
        tls.certificate.unlink()  # type: ignore[union-attr]
        assert await talks(port, client)


def move(source: Path | None, target: Path | None) -> None:
    assert source
    assert target
    if source != target:
        shutil.move(source, target)


@pytest.mark.parametrize("given", [["certificate"], ["certificate", "key"], ["ca"], ["key", "ca"]])
def test_the_files_are_set_together(monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    for name in given:
        monkeypatch.setenv(f"TRICHORD_TLS_{name.upper()}", "file.pem")
    with pytest.raises(SettingsError, match=r"^TRICHORD_TLS_CA.*set together"):
        TlsSettings.from_environment()


def test_unset_is_off() -> None:
    assert not TlsSettings.from_environment().is_on


async def test_files_that_are_no_certificates_do_not_start(authority: Authority) -> None:
    good, other = authority.tls("127.0.0.1"), authority.tls("other")
    for changes in ({"key": other.key}, {"certificate": good.key}, {"ca": good.key}, {"key": Path("nowhere")}):
        tls = good.model_copy(update=changes)
        with pytest.raises(SettingsError, match="TRICHORD_TLS"):
            await server.start(Echo().register, ServiceSettings(), tls=tls)
        with pytest.raises(SettingsError, match="TRICHORD_TLS"):
            server.open_channel("127.0.0.1:1", 1 << 20, tls=tls)
