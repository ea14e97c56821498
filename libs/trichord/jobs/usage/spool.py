"""A bounded log on disk of what is still to be sent: appended at one end, read and forgotten in order at the other.

Its segments, ``<number>.log``, are of lines: the CRC-32 of the rest, and a record in base64. So a line tells by itself
whether it is whole: what a crash tore or a disk lost costs those records alone. A process begins a segment of its own,
and never writes on in one whose end may be torn. How far records are forgotten is in ``sent``; if that is lost, what
its segment has comes once more.

Not thread-safe, and blocks. Knows nothing of what records are.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import zlib
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from trichord.errors import SettingsError

NUM_SEGMENTS = 16
"""Of a full log: a segment goes when all of it is forgotten, so a sixteenth of the bytes may be the past."""
MAX_RECORD_BYTES = 16 * 1024
_MAX_LINE_BYTES = 9 + 4 * (MAX_RECORD_BYTES // 3 + 1) + 1
_SENT, _LOCK = "sent", "lock"


class Place(NamedTuple):
    """Where a record begins."""

    segment: int
    offset: int
    """Bytes from the segment's begin."""


class Spool:
    """See the module. One process has it at a time."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        """Raises SettingsError if another process has it, or it cannot be written."""
        self._directory, self._max_bytes = directory, max_bytes
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(directory)
            self._sizes = {int(path.stem): path.stat().st_size for path in directory.glob(f"{'[0-9]' * 12}.log")}
        except BlockingIOError as error:
            raise SettingsError(f"{directory} is another process's spool. Give each its own.") from error
        except OSError as error:
            raise SettingsError(f"{directory} cannot be a spool: {error.strerror}.") from error
        self._sent = self._read = self._noted_sent()
        self._active = max([self._sent.segment, *self._sizes]) + 1
        self._output: int | None = None
        self._ahead: deque[tuple[bytes, Place]] = deque()
        self.num_unreadable = 0
        """Lines met that were no whole records."""

    @property
    def num_bytes(self) -> int:
        """On disk, of what waits and of the past that is in a segment with it."""
        return sum(self._sizes.values())

    def append(self, records: Sequence[bytes]) -> int:
        """Writes records to the disk itself, and tells how many: those for which there was room.

        Raises OSError, and none of them is there, if they cannot be written.
        """
        lines, room = [], self._max_bytes - self.num_bytes
        for record in records:
            line = _line(record)
            if len(line) <= min(room, _MAX_LINE_BYTES):
                lines.append(line)
                room -= len(line)
        if lines:
            self._write(b"".join(lines))
        return len(lines)

    def peek(self, max_records: int) -> list[bytes]:
        """The oldest records, the same again until they are forgotten. Raises OSError if they cannot be read."""
        while len(self._ahead) < max_records and self._read_on(max_records):
            pass
        if not self._ahead:
            self._let_go(self._read)  # before it there is nothing, or nothing that can be read
        return [record for record, _ in list(self._ahead)[:max_records]]

    def forget(self, num_records: int) -> None:
        """Lets go the oldest records, as ``peek`` gave them: they are sent.

        If that cannot be noted on disk, they come once more in another process.
        """
        ends = [self._ahead.popleft()[1] for _ in range(num_records)]
        if ends:
            self._let_go(ends[-1])
            with contextlib.suppress(OSError):
                self._note_sent()

    def close(self) -> None:
        """Lets another process have it."""
        self._end_segment()
        os.close(self._lock)

    def _write(self, lines: bytes) -> None:
        if self._output is None:
            path = self._path(self._active)
            self._output = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._sizes[self._active] = 0
        size = self._sizes[self._active]
        try:
            _write_all(self._output, lines)  # outlives the process from here on, and the machine after what follows
            os.fdatasync(self._output)
            if not size:
                _sync_directory(self._directory)
        except OSError:
            self._cut(size)
            raise
        self._sizes[self._active] = size + len(lines)
        if self._sizes[self._active] >= self._max_bytes // NUM_SEGMENTS:
            self._end_segment()

    def _cut(self, size: int) -> None:
        """Takes back what may have been written beyond ``size``; if it cannot, nobody reads or writes on there."""
        assert self._output is not None, "it was written to"
        try:
            os.ftruncate(self._output, size)
        except OSError:
            self._end_segment()

    def _end_segment(self) -> None:
        if self._output is not None:
            os.close(self._output)
            self._output = None
            self._active += 1

    def _read_on(self, max_lines: int) -> bool:
        """Reads lines on in a segment, or goes to the next one; tells whether there was anything left."""
        segment, offset = self._read
        if offset >= self._sizes.get(segment, 0):
            is_last = segment == self._active
            if not is_last:
                self._read = Place(min((n for n in self._sizes if n > segment), default=self._active), 0)
            return not is_last
        lines = _lines(self._path(segment), offset, max_lines)
        for line in lines:
            self._take(line)
        if not lines:  # somebody took it away
            self.num_unreadable += 1
            self._read = Place(segment, self._sizes[segment])
        return True

    def _take(self, line: bytes) -> None:
        self._read = Place(self._read.segment, self._read.offset + len(line))
        record = _record(line)
        if record is None:
            self.num_unreadable += 1
        else:
            self._ahead.append((record, self._read))

    def _let_go(self, end: Place) -> None:
        self._sent = end
        for number in [number for number in self._sizes if number < end.segment]:
            with contextlib.suppress(OSError):
                self._path(number).unlink()
            del self._sizes[number]

    def _note_sent(self) -> None:
        scratch = self._directory / f"{_SENT}.new"
        scratch.write_bytes(_line(b"%d %d" % self._sent))
        scratch.replace(self._directory / _SENT)

    def _noted_sent(self) -> Place:
        try:
            segment, offset = (_record((self._directory / _SENT).read_bytes()) or b"").split()
            return Place(int(segment), int(offset))
        except (OSError, ValueError):
            return Place(0, 0)

    def _path(self, segment: int) -> Path:
        return self._directory / f"{segment:012}.log"


def _locked(directory: Path) -> int:
    """The kernel lets go of the lock however the process dies."""
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _sync_directory(path: Path) -> None:
    """A new file is in its directory then, even after a crash of the machine."""
    directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # not every file system can
            os.fsync(directory)
    finally:
        os.close(directory)


def _lines(path: Path, offset: int, max_lines: int) -> list[bytes]:
    """Lines from ``offset`` on; none if there is no such place."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return list(islice(iter(partial(file.readline, _MAX_LINE_BYTES), b""), max_lines))
    except FileNotFoundError:
        return []


def _write_all(output: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(output, view) :]


def _line(record: bytes) -> bytes:
    text = base64.b64encode(record)
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _record(line: bytes) -> bytes | None:
    """What a line holds; None if it is not whole."""
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
