"""A running gateway's keys: right ones found, and never for long those that are revoked."""

from __future__ import annotations

import asyncio
import hmac
from pathlib import Path

import pytest
import structlog

from gateway.identity import key_ring, private_file
from gateway.identity.api_key import ApiKey
from gateway.identity.key_file import load
from gateway.identity.key_ring import STALE_S, KeyRing, Keys
from tests.unit.gateway.identity.keys import DAY, new_certificate, new_key, now, revoke
from trichord.errors import SettingsError


class Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


async def knows(ring: KeyRing, key: ApiKey) -> bool:
    return (await ring.keys()).of_key(key, now()) is not None


def test_a_right_key_is_found_until_it_expires(file: Path) -> None:
    key = new_key(file)
    keys = Keys(load(file))
    record = keys.of_key(key, now())
    assert record is not None
    assert record.id == key.id
    assert keys.of_key(key, record.expires) is None


def test_wrong_secrets_and_ids_are_not(file: Path) -> None:
    key, other = new_key(file), new_key(file)
    named = new_certificate(file, "name")
    keys = Keys(load(file))
    assert keys.of_key(ApiKey(key.id, other.secret), now()) is None
    assert keys.of_key(ApiKey("0" * 12, key.secret), now()) is None
    assert keys.of_key(ApiKey(named, key.secret), now()) is None


def test_secrets_are_compared_in_constant_time_known_or_not(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared, really = [], hmac.compare_digest

    def compare(left: str, right: str) -> bool:
        compared.append((len(left), len(right)))
        return really(left, right)

    monkeypatch.setattr(key_ring.hmac, "compare_digest", compare)
    known, stranger = new_key(file), ApiKey.new()
    for key in (known, stranger):
        Keys(load(file)).of_key(key, now())
    assert compared == [(64, 64), (64, 64)]


def test_a_certificate_is_known_by_exactly_one_name(file: Path) -> None:
    one, two = new_certificate(file, "one"), new_certificate(file, "two", "other")
    keys = Keys(load(file))
    assert [getattr(keys.of_certificate(names, now()), "id", None) for names in (["one"], ["x", "two"])] == [one, two]
    for names in ([], ["x"], ["one", "two"], ["ONE"], ["on"]):
        assert keys.of_certificate(names, now()) is None
    assert keys.of_certificate(["one"], now() + 2 * DAY) is None


async def test_a_change_counts_after_the_refresh_and_not_before(file: Path) -> None:
    clock = Clock()
    key = new_key(file)
    ring = KeyRing(file, 2.0, clock)
    revoke(file, key.id)
    clock.s += 1.9
    assert await knows(ring, key)
    clock.s += 0.1
    assert not await knows(ring, key)
    new = new_key(file)
    clock.s += 2.0
    assert await knows(ring, new)


async def test_after_a_rest_nobody_is_let_in_by_what_was_known_before(file: Path) -> None:
    clock = Clock()
    key = new_key(file)
    ring = KeyRing(file, 2.0, clock)
    revoke(file, key.id)
    clock.s += 3600
    assert not any(await asyncio.gather(*(knows(ring, key) for _ in range(20))))


async def test_the_file_is_read_again_only_when_it_changed(file: Path) -> None:
    ring = KeyRing(file, 0.0)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            await ring.keys()
        new_key(file)
        for _ in range(3):
            await ring.keys()
    assert [line["event"] for line in logs] == ["keys read"]


async def test_a_secret_that_is_turned_to_another_folder_is_seen(file: Path, tmp_path: Path) -> None:
    """As Kubernetes updates one: a symbolic link is replaced, the files keep their names and sizes."""
    key = new_key(file)
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    file.rename(tmp_path / "old" / "keys.json")  # noqa: ASYNC240
    private_file.replace(tmp_path / "new" / "keys.json", b'{"version": 1, "keys": []}')
    (tmp_path / "data").symlink_to("old")
    ring = KeyRing(tmp_path / "data" / "keys.json", 0.0)
    assert await knows(ring, key)
    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").rename(tmp_path / "data")
    assert not await knows(ring, key)


@pytest.mark.parametrize("broken", [b"{", None])
async def test_a_broken_file_leaves_keys_as_they_were_for_a_while_and_is_said(file: Path, broken: bytes | None) -> None:
    clock = Clock()
    key = new_key(file)
    ring = KeyRing(file, 2.0, clock)
    good = file.read_bytes()  # noqa: ASYNC240
    if broken is None:
        file.unlink()  # noqa: ASYNC240
    else:
        private_file.replace(file, broken)
    clock.s += 10
    with structlog.testing.capture_logs() as logs:
        assert await knows(ring, key)
    assert [line["log_level"] for line in logs] == ["error"]
    clock.s += STALE_S
    assert not await knows(ring, key)
    private_file.replace(file, good)
    clock.s += 2
    assert await knows(ring, key)


def test_a_gateway_does_not_start_without_its_keys(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        KeyRing(tmp_path / "nothing.json", 2.0)
