"""The log on disk, against a list in memory: nothing is lost, twice or out of order but what the disk itself lost."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trichord.errors import SettingsError
from trichord.jobs.usage import spool as spool_module
from trichord.jobs.usage.spool import MAX_RECORD_BYTES, NUM_SEGMENTS, Spool

MAX_BYTES = 4096
RECORDS = st.lists(st.binary(max_size=100), max_size=8)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", MAX_BYTES)
    yield spool
    spool.close()


def all_of(spool: Spool) -> list[bytes]:
    return spool.peek(10**6)


def line_bytes(record: bytes) -> int:
    """Checksum, space, base64 with its padding, line feed."""
    return 8 + 1 + (len(record) + 2) // 3 * 4 + 1


def disk_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*.log"))


class AgainstAList(RuleBasedStateMachine):
    """Whatever is appended, forgotten and restarted: what is left is what a list would have left."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.directory = Path(self.folder.name, "spool")
        self.spool = Spool(self.directory, MAX_BYTES)
        self.expected: list[bytes] = []

    @rule(records=RECORDS)
    def append(self, records: list[bytes]) -> None:
        num_kept = self.spool.append(records)
        if num_kept == len(records):
            self.expected += records
        else:
            assert self.spool.num_bytes > MAX_BYTES - line_bytes(b"x" * 100), "it was full"
            self.expected = all_of(self.spool)

    @rule(number=st.integers(1, 20))
    def forget(self, number: int) -> None:
        batch = self.spool.peek(number)
        assert batch == self.expected[:number]
        self.spool.forget(len(batch) // 2)
        assert self.spool.peek(1) == self.expected[len(batch) // 2 :][:1]
        self.spool.forget(len(batch) - len(batch) // 2)
        del self.expected[:number]

    @rule()
    def restart(self) -> None:
        self.spool.close()
        self.spool = Spool(self.directory, MAX_BYTES)

    @precondition(lambda self: any(self.directory.glob("*.log")))
    @rule(torn=st.binary(min_size=1, max_size=30).filter(lambda torn: b"\n" not in torn))
    def tear(self, torn: bytes) -> None:
        """A crash, in the middle of a write."""
        self.spool.close()
        with max(self.directory.glob("*.log")).open("ab") as last:
            last.write(torn)
        self.spool = Spool(self.directory, MAX_BYTES)

    @invariant()
    def is_as_expected(self) -> None:
        assert all_of(self.spool) == self.expected
        assert self.spool.num_bytes == disk_bytes(self.directory)

    def teardown(self) -> None:
        self.spool.close()
        self.folder.cleanup()


TestAgainstAList = AgainstAList.TestCase
TestAgainstAList.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


@settings(max_examples=50)
@given(records=st.lists(st.binary(max_size=60), min_size=1, max_size=12), data=st.data())
def test_what_a_crash_cut_off_is_lost_and_nothing_else(records: list[bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        written = Spool(Path(folder), 1 << 20)
        written.append(records)
        written.close()
        [segment] = Path(folder).glob("*.log")
        ends = list(accumulate(map(line_bytes, records)))
        cut = data.draw(st.integers(0, ends[-1]))
        os.truncate(segment, cut)
        read = Spool(Path(folder), 1 << 20)
        read.append([b"later"])
        assert all_of(read) == [record for record, end in zip(records, ends, strict=True) if end <= cut] + [b"later"]
        assert read.num_unreadable == (cut not in (0, *ends))
        read.close()


@settings(max_examples=50)
@given(records=st.lists(st.binary(max_size=60), min_size=1, max_size=12), data=st.data())
def test_a_byte_that_the_disk_changed_costs_its_own_record(records: list[bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        written = Spool(Path(folder), 1 << 20)
        written.append(records)
        written.close()
        [segment] = Path(folder).glob("*.log")
        content = bytearray(segment.read_bytes())
        place, flips = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(1, 255))
        was_end = content[place] == ord("\n")
        content[place] ^= flips
        segment.write_bytes(content)
        hit = bisect_right(list(accumulate(map(line_bytes, records))), place)
        lost = {hit, hit + 1} if was_end else {hit}  # without its end a line goes on into the next
        read = Spool(Path(folder), 1 << 20)
        assert all_of(read) == [record for i, record in enumerate(records) if i not in lost]
        assert read.num_unreadable >= 1
        read.close()


def test_what_is_forgotten_does_not_come_again_in_another_process(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MAX_BYTES)
    spool.append([b"1", b"2", b"3"])
    spool.peek(2)
    spool.forget(2)
    spool.close()
    again = Spool(tmp_path, MAX_BYTES)
    assert all_of(again) == [b"3"]
    again.append([b"4"])
    assert all_of(again) == [b"3", b"4"]
    again.close()


@pytest.mark.parametrize("note", [None, b"", b"nonsense", b"00000000 OSA5\n", b"\xff" * 1000])
def test_without_a_note_of_what_is_sent_it_comes_once_more(tmp_path: Path, note: bytes | None) -> None:
    spool = Spool(tmp_path, MAX_BYTES)
    spool.append([b"1", b"2", b"3"])
    spool.peek(1)
    spool.forget(1)
    spool.close()
    if note is None:
        (tmp_path / "sent").unlink()
    else:
        (tmp_path / "sent").write_bytes(note)
    again = Spool(tmp_path, MAX_BYTES)
    assert all_of(again) == [b"1", b"2", b"3"]
    again.close()


def test_a_full_log_takes_no_more_until_there_is_room(spool: Spool, tmp_path: Path) -> None:
    records = [b"%03d" % number for number in range(500)]
    num_kept = spool.append(records[:300]) + spool.append(records[300:])
    assert num_kept == MAX_BYTES // line_bytes(b"000")
    assert spool.append([b"more"]) == 0
    assert disk_bytes(tmp_path / "spool") <= MAX_BYTES
    assert all_of(spool) == records[:num_kept]


def test_segments_go_when_all_of_them_is_forgotten(spool: Spool, tmp_path: Path) -> None:
    for number in range(200):
        assert spool.append([b"%03d" % number]) == 1
        assert spool.peek(1) == [b"%03d" % number]
        spool.forget(1)
    assert disk_bytes(tmp_path / "spool") <= 2 * MAX_BYTES // NUM_SEGMENTS
    assert spool.peek(1) == []


def test_a_log_of_nothing_that_can_be_read_makes_room(tmp_path: Path) -> None:
    (tmp_path / "000000000007.log").write_bytes(b"x" * MAX_BYTES)
    (tmp_path / "somebody's.log").touch()
    spool = Spool(tmp_path, MAX_BYTES)
    assert spool.append([b"1"]) == 0
    assert spool.peek(1) == []
    assert spool.append([b"1"]) == 1
    assert spool.peek(1) == [b"1"]
    assert {path.name for path in tmp_path.glob("*.log")} == {"000000000008.log", "somebody's.log"}
    spool.close()


def test_a_record_that_is_too_large_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    assert spool.append([b"x" * MAX_RECORD_BYTES, b"y" * (MAX_RECORD_BYTES + 8), b"z"]) == 2
    assert all_of(spool) == [b"x" * MAX_RECORD_BYTES, b"z"]
    spool.close()


def test_a_segment_that_somebody_took_away_is_counted(tmp_path: Path) -> None:
    first = Spool(tmp_path, MAX_BYTES)
    first.append([b"1"])
    first.close()
    spool = Spool(tmp_path, MAX_BYTES)
    spool.append([b"2"])
    min(tmp_path.glob("*.log")).unlink()
    assert all_of(spool) == [b"2"]
    assert spool.num_unreadable == 1
    spool.close()


@pytest.mark.parametrize("can_cut", [True, False])
def test_what_cannot_be_written_is_not_there_and_harms_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, can_cut: bool
) -> None:
    spool.append([b"before"])

    def half(output: int, data: bytes) -> int:
        os.write(output, bytes(data[: len(data) // 2]))
        raise OSError(errno.ENOSPC, "No space left on device")

    def refuse(output: int, size: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(spool_module, "_write_all", half)
        if not can_cut:
            patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="No space"):
            spool.append([b"lost"])
    assert spool.append([b"after"]) == 1
    assert all_of(spool) == [b"before", b"after"]
    assert spool.num_unreadable == (not can_cut)


def test_only_one_process_has_it_and_only_its_owner_reads_it(spool: Spool, tmp_path: Path) -> None:
    spool.append([b"1"])
    with pytest.raises(SettingsError, match="another process's"):
        Spool(tmp_path / "spool", MAX_BYTES)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "spool").glob("*.log")}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be a spool: Not a directory"):
        Spool(tmp_path / "file" / "spool", MAX_BYTES)
