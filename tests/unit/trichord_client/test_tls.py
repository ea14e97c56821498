"""Encrypted connections of both clients: whom they believe, and what they show."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from tests.unit.trichord_client.both import Client
from tests.unit.trichord_client.scripted import ScriptedGateway
from trichord import server
from trichord.client import OmniClient, RetryPolicy, SyncOmniClient, Tls
from trichord.errors import SettingsError, UnavailableError
from trichord.settings import ServiceSettings
from trichord.tls import TlsSettings


class Authority:
    """Makes certificates into a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._ca, self._folder, self.file = trustme.CA(), folder, folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate and its key."""
        issued, certificate, key = self._ca.issue_cert(name), self._folder / name, self._folder / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "theirs")


@asynccontextmanager
async def serving(ours: Authority, name: str, *, require_client: bool) -> AsyncIterator[str]:
    certificate, key = ours.issue(name)
    tls = TlsSettings(certificate=certificate, key=key, ca=ours.file, require_client=require_client)
    running = await server.start(ScriptedGateway().register, ServiceSettings(), tls=tls)
    yield f"127.0.0.1:{running.port}"
    await running.server.stop(0)


Talks = Callable[[str, Tls | None], Awaitable[bool]]


@pytest.fixture
def talks(connect: Callable[..., Client]) -> Talks:
    """Whether a client of that TLS gets an answer."""

    async def call(target: str, tls: Tls | None) -> bool:
        try:
            told = await connect(target, tls=tls, api_key="tk-1", retries=RetryPolicy(max_attempts=1)).model()
        except UnavailableError:
            return False
        return bool(told.model == "tiny")

    return call


async def test_a_client_with_a_key_believes_its_authority_alone(
    ours: Authority, theirs: Authority, talks: Talks
) -> None:
    async with serving(ours, "127.0.0.1", require_client=False) as target:
        assert await talks(target, Tls(ca=ours.file))
        assert not await talks(target, Tls(ca=theirs.file))
        assert not await talks(target, Tls())
        assert not await talks(target, None)


async def test_a_gateway_may_ask_for_a_certificate(ours: Authority, theirs: Authority, talks: Talks) -> None:
    async with serving(ours, "127.0.0.1", require_client=True) as target:
        assert await talks(target, Tls(ours.file, *ours.issue("client")))
        assert not await talks(target, Tls(ours.file, *theirs.issue("client")))
        assert not await talks(target, Tls(ours.file))


async def test_a_gateway_may_be_known_by_another_name(ours: Authority, talks: Talks) -> None:
    async with serving(ours, "gateway.example", require_client=False) as target:
        assert await talks(target, Tls(ours.file, server_name="gateway.example"))
        assert not await talks(target, Tls(ours.file))


@pytest.mark.parametrize("kind", [OmniClient, SyncOmniClient])
def test_files_that_are_not_good_are_told_at_once(kind: Callable[..., object], ours: Authority, tmp_path: Path) -> None:
    certificate, key = ours.issue("client")
    _, other_key = ours.issue("other")
    (tmp_path / "text").write_text("not a certificate")
    for tls in (
        Tls(tmp_path / "nowhere"),
        Tls(tmp_path / "text"),
        Tls(ours.file, certificate, other_key),
        Tls(ours.file, certificate),
        Tls(ours.file, None, key),
    ):
        with pytest.raises(SettingsError, match="TLS") as caught:
            kind("127.0.0.1:1", tls=tls)
        assert str(tmp_path) not in str(caught.value)
