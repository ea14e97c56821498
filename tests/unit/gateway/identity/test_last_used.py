"""The day of each key's last use."""

from __future__ import annotations

import stat
from datetime import date
from pathlib import Path

import structlog

from gateway.identity import private_file
from gateway.identity.last_used import LastUsed, beside, load

MONDAY, TUESDAY = date(2026, 11, 16), date(2026, 11, 17)


async def test_a_day_is_kept_once(file: Path) -> None:
    path = beside(file)
    used = LastUsed(path)
    assert [await used.note("k", MONDAY), await used.note("k", MONDAY)] == [True, False]
    mark = path.stat().st_ino
    assert not await used.note("k", MONDAY)
    assert path.stat().st_ino == mark
    assert await used.note("k", TUESDAY)
    assert load(path) == {"k": TUESDAY}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_gateways_that_share_a_file_keep_each_others_days(file: Path) -> None:
    one, other = LastUsed(beside(file)), LastUsed(beside(file))
    await one.note("a", MONDAY)
    await other.note("b", TUESDAY)
    await one.note("c", TUESDAY)
    assert load(beside(file)) == {"a": MONDAY, "b": TUESDAY, "c": TUESDAY}


async def test_where_nothing_can_be_written_a_use_goes_on(tmp_path: Path) -> None:
    used = LastUsed(tmp_path / "nowhere" / "keys.json.used")
    with structlog.testing.capture_logs() as logs:
        assert await used.note("k", MONDAY)
        assert not await used.note("k", MONDAY)
    assert [(line["log_level"], line["error"]) for line in logs] == [("warning", "No such file or directory")]


async def test_a_broken_file_is_begun_again(file: Path) -> None:
    private_file.replace(beside(file), b"no json")
    assert load(beside(file)) == {}
    await LastUsed(beside(file)).note("k", MONDAY)
    assert load(beside(file)) == {"k": MONDAY}
