"""``trichord keys``: a key made by the command is one that a gateway takes, and one revoked is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gateway.identity import last_used
from gateway.identity.api_key import ApiKey
from gateway.identity.key_file import load
from gateway.identity.key_ring import Keys
from trichord_cli.main import app


class Command:
    """``trichord keys`` on a file and an audit log of its own."""

    def __init__(self, folder: Path) -> None:
        self.file, self.audit = folder / "keys.json", folder / "audit.jsonl"

    def run(self, *arguments: str) -> Result:
        environment = {"TRICHORD_AUTH_KEYS": str(self.file), "TRICHORD_AUTH_AUDIT": str(self.audit)}
        return CliRunner().invoke(app, ["keys", *arguments], env=environment)

    def __call__(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return result.stdout.strip()

    def create(self, *arguments: str) -> ApiKey:
        key = ApiKey.parse(self("create", *arguments))
        assert key
        return key

    def knows(self, key: ApiKey, in_: timedelta = timedelta()) -> bool:
        return Keys(load(self.file)).of_key(key, datetime.now(UTC) + in_) is not None

    def audited(self) -> list[tuple[str, str]]:
        written: list[dict[str, Any]] = [json.loads(line) for line in self.audit.read_text().splitlines()]
        assert all(line["actor"].startswith("user:") for line in written)
        return [(line["event"], line["object"]) for line in written]


@pytest.fixture
def keys(tmp_path: Path) -> Command:
    return Command(tmp_path)


def test_a_key_is_made_and_shown_once(keys: Command) -> None:
    key = keys.create("--tenant", "acme", "--scope", "media", "--scope", "chat", "--days", "30")
    record = load(keys.file).record(key.id)
    assert (record.tenant, [*record.scopes]) == ("acme", ["chat", "media"])
    assert keys.knows(key)
    assert keys.knows(key, timedelta(days=29))
    assert not keys.knows(key, timedelta(days=31))
    for later in (keys("list"), keys("list", "--json"), keys.file.read_text(), keys.audit.read_text()):
        assert key.id in later
        assert key.secret not in later


def test_a_rotated_key_overlaps_with_its_successor(keys: Command) -> None:
    old = keys.create("--tenant", "acme", "--scope", "chat")
    new = ApiKey.parse(keys("rotate", old.id, "--overlap-h", "2"))
    assert new
    assert keys.knows(old)
    assert keys.knows(new)
    assert not keys.knows(old, timedelta(hours=3))
    assert keys.knows(new, timedelta(hours=3))


def test_a_revoked_key_is_known_no_more(keys: Command) -> None:
    key, other = (keys.create("--tenant", "acme", "--scope", "chat") for _ in range(2))
    assert keys("revoke", key.id) == ""
    assert not keys.knows(key)
    assert keys.knows(other)
    assert [row["state"] for row in json.loads(keys("list", "--json"))] == ["expired", "active"]


def test_everything_done_is_audited(keys: Command) -> None:
    key = keys.create("--tenant", "acme", "--scope", "chat")
    new = ApiKey.parse(keys("rotate", key.id))
    assert new
    keys("revoke", key.id)
    made = [("key create", key.id), ("key rotate", key.id), ("key create", new.id), ("key revoke", key.id)]
    assert keys.audited() == made


def test_a_certificates_name_is_let_in_instead(keys: Command) -> None:
    key_id = keys("create", "--tenant", "acme", "--scope", "encode", "--certificate", "spiffe://acme/batch")
    record = Keys(load(keys.file)).of_certificate(["spiffe://acme/batch"], datetime.now(UTC))
    assert record
    assert (record.id, record.sha256) == (key_id, None)
    assert "spiffe://acme/batch" in keys("list")


def test_the_list_tells_the_day_of_the_last_use(keys: Command) -> None:
    used, unused = (keys.create("--tenant", "acme", "--scope", "chat") for _ in range(2))
    last_used.beside(keys.file).write_text(json.dumps({used.id: "2026-11-20"}))
    last_used.beside(keys.file).chmod(0o600)
    rows = {row["id"]: row["last_used"] for row in json.loads(keys("list", "--json"))}
    assert rows == {used.id: "2026-11-20", unused.id: "never"}
    assert "last used 2026-11-20" in keys("list")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "--tenant", "acme", "--scope", "root"], "'root' is none of chat, media, encode, jobs, work, admin"),
        (["create", "--tenant", "acme"], "Missing option '--scope'"),
        (["create", "--tenant", "a b", "--scope", "chat"], "tenant: "),
        (["create", "--tenant", "acme", "--scope", "chat", "--days", "0"], "--days"),
        (["revoke", "nobody"], "There is no key nobody."),
        (["rotate", "nobody"], "There is no key nobody."),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_no_key(keys: Command, arguments: list[str], says: str) -> None:
    done = keys.run(*arguments)
    assert done.exit_code != 0
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert done.stdout == ""
    assert not keys.audit.exists()
    assert not keys.file.exists() or load(keys.file).keys == ()


def test_a_list_of_no_file_is_one_sentence(keys: Command) -> None:
    done = keys.run("list")
    assert (done.exit_code, done.stderr) == (
        1,
        f"The key file {keys.file} cannot be read: No such file or directory.\n",
    )


def test_the_file_is_at_home_unless_told_otherwise(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["keys", "create", "--tenant", "acme", "--scope", "chat"], env={"TRICHORD_HOME": str(tmp_path / "home")}
    )
    assert done.exit_code == 0
    assert len(load(tmp_path / "home" / "keys.json").keys) == 1
    assert json.loads(done.stderr)["event"] == "key create"
