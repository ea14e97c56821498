"""The file of keys: strict, private, whole, and what is done to it."""

from __future__ import annotations

import json
import os
import stat
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.identity import key_file, private_file
from gateway.identity.key_file import KeyFile, load
from gateway.identity.principal import Scope
from tests.unit.gateway.identity.keys import DAY, new_certificate, new_key, now, revoke
from trichord.errors import NotFoundError, RequestError, SettingsError

RECORD = {
    "id": "k3v09x2mqa7d",
    "tenant": "acme",
    "scopes": ["chat", "media"],
    "created": "2026-11-01T09:00:00Z",
    "expires": "2027-11-01T09:00:00+01:00",
    "sha256": "0" * 64,
}


def write(file: Path, *records: Any, **more: Any) -> None:
    private_file.replace(file, json.dumps({"version": 1, "keys": records} | more).encode())


def test_a_file_written_by_hand_is_read(file: Path) -> None:
    write(file, RECORD)
    (record,) = load(file).keys
    assert (record.tenant, record.scopes, record.sha256) == ("acme", (Scope.CHAT, Scope.MEDIA), "0" * 64)
    assert record.expires.isoformat() == "2027-11-01T09:00:00+01:00"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"id": "short"}, "keys.0.id"),
        ({"id": "k3v09x2mqa7d\n"}, "keys.0.id"),
        ({"tenant": ""}, "keys.0.tenant"),
        ({"tenant": "a\nb"}, "keys.0.tenant"),
        ({"scopes": []}, "keys.0.scopes"),
        ({"scopes": ["root"]}, "keys.0.scopes.0"),
        ({"scopes": "chat"}, "keys.0.scopes"),
        ({"expires": "2027-11-01T09:00:00"}, "keys.0.expires"),
        ({"expires": 1}, "keys.0.expires"),
        ({"expires": None}, "keys.0.expires"),
        ({"sha256": "0" * 63}, "keys.0.sha256"),
        ({"sha256": None}, "keys.0: "),
        ({"certificate": "name"}, "keys.0: "),
        ({"secret": "CANARY"}, "keys.0.secret"),
    ],
)
def test_a_wrong_record_is_refused_by_its_place_and_not_repeated(
    file: Path, change: dict[str, Any], where: str
) -> None:
    write(file, RECORD | {"tenant": "CANARY"} | change)
    with pytest.raises(SettingsError, match=r"keys\.json") as caught:
        load(file)
    assert where in caught.value.message
    assert "CANARY" not in caught.value.message


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"version": 2}', b'{"version": 1, "key": []}', b"\xff", b"[" * 10_000]
)
def test_what_is_no_key_file_is_refused(file: Path, content: bytes) -> None:
    private_file.replace(file, content)
    with pytest.raises(SettingsError, match="is not one"):
        load(file)


def test_two_records_of_one_name_are_refused(file: Path) -> None:
    write(file, RECORD, RECORD)
    with pytest.raises(SettingsError, match="the same id"):
        load(file)
    write(
        file, *({k: v for k, v in RECORD.items() if k != "sha256"} | {"id": c * 12, "certificate": "n"} for c in "ab")
    )
    with pytest.raises(SettingsError, match="the same certificate"):
        load(file)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        load(file)


def test_a_file_that_is_too_long_or_not_there_is_refused(file: Path) -> None:
    private_file.replace(file, b" " * (key_file.MAX_FILE_BYTES + 1))
    with pytest.raises(SettingsError, match="more than"):
        load(file)
    file.unlink()
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load(file)


def test_a_secret_mounted_read_only_behind_links_is_read(file: Path, tmp_path: Path) -> None:
    """As Kubernetes mounts one: the file and its folder are symbolic links."""
    (tmp_path / "..2026").mkdir()
    file.rename(tmp_path / "..2026" / "keys.json")
    (tmp_path / "..data").symlink_to("..2026")
    file.symlink_to("..data/keys.json")
    (tmp_path / "..2026" / "keys.json").chmod(0o440)
    assert load(file) == KeyFile()


def test_the_first_key_makes_the_file_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "keys.json"
    key = new_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = file.read_text()
    assert key.secret not in content
    assert key.sha256() in content
    assert [path.name for path in sorted(file.parent.iterdir())] == ["keys.json", "keys.json.lock"]


def test_an_edit_that_fails_leaves_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_key(file)
    before, names = file.read_bytes(), set(os.listdir(file.parent))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        new_key(file)
    assert file.read_bytes() == before
    assert set(os.listdir(file.parent)) == names


def test_keys_made_at_the_same_time_are_all_there(file: Path) -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(new_key(file).id)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(record.id for record in load(file).keys) == sorted(made)
    assert len(made) == 12


def test_rotation_keeps_what_the_key_allows_and_ends_the_old_one(file: Path) -> None:
    old = new_key(file, "acme", (Scope.MEDIA, Scope.CHAT), life=30 * DAY)
    later = now() + 10 * DAY
    new = key_file.edit(file, lambda keys: key_file.rotated(keys, old.id, later, timedelta(hours=2)), later)
    was, is_ = load(file).record(old.id), load(file).record(new.id)
    assert (is_.tenant, is_.scopes) == (was.tenant, was.scopes) == ("acme", (Scope.CHAT, Scope.MEDIA))
    assert was.expires == later + timedelta(hours=2)
    assert is_.expires - later == 30 * DAY
    assert is_.sha256 != was.sha256


def test_an_overlap_does_not_lengthen_a_life(file: Path) -> None:
    old = new_key(file, life=DAY)
    expires = load(file).record(old.id).expires
    key_file.edit(file, lambda keys: key_file.rotated(keys, old.id, now(), 7 * DAY), now())
    assert load(file).record(old.id).expires == expires


def test_what_cannot_be_rotated_is_said(file: Path) -> None:
    dead, named = new_key(file), new_certificate(file, "spiffe://acme/batch")
    revoke(file, dead.id)
    for key_id, error, match in (
        (dead.id, RequestError, "expired"),
        (named, RequestError, "no secret"),
        ("nobody", NotFoundError, "no key nobody"),
    ):
        with pytest.raises(error, match=match):
            key_file.rotated(load(file), key_id, now(), DAY)


def test_a_revoked_key_stays_listed_for_a_while(file: Path) -> None:
    key = new_key(file)
    revoke(file, key.id)
    assert load(file).record(key.id).expires <= now()
    later = now() + key_file.KEEP_EXPIRED + DAY
    key_file.edit(file, lambda keys: key_file.with_key(keys, "acme", (Scope.CHAT,), later, DAY), later)
    with pytest.raises(NotFoundError):
        load(file).record(key.id)


def test_a_name_in_certificates_has_one_record_at_a_time(file: Path) -> None:
    first = new_certificate(file, "spiffe://acme/batch", "acme")
    with pytest.raises(RequestError, match="Revoke it first"):
        new_certificate(file, "spiffe://acme/batch", "other")
    revoke(file, first)
    second = new_certificate(file, "spiffe://acme/batch", "other")
    assert [(record.id, record.tenant) for record in load(file).keys] == [(second, "other")]


@pytest.mark.parametrize(("tenant", "scopes", "field"), [("", [Scope.CHAT], "tenant"), ("acme", [], "scopes")])
def test_a_record_that_could_not_be_read_back_is_not_made(
    file: Path, tenant: str, scopes: list[Scope], field: str
) -> None:
    with pytest.raises(RequestError) as caught:
        new_key(file, tenant, scopes)
    assert caught.value.field == field


def test_a_full_file_is_said(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_key(file)
    monkeypatch.setattr(key_file, "MAX_FILE_BYTES", file.stat().st_size + 10)
    with pytest.raises(RequestError, match="full"):
        new_key(file)
