"""FILE.jsonl as a job: OpenAI's batch lines to items, read again whenever they are needed, never all in memory.

Lines are checked by the very code that checks those of /v1/batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from gateway.openai_http.batch_lines import BatchReader, LineError, LineLimits, WrongLine
from trichord import sampling_ranges
from trichord.jobs.settings import JobsSettings
from trichord.v1 import gateway_pb2, jobs_pb2

CHUNK_BYTES = 1 << 20
MAX_MEDIA_BYTES = 25 * 1024 * 1024
"""Of one image or sound: what encoders take unless told otherwise."""


class JobFile(Collection[jobs_pb2.JobItem]):
    """The good lines of a file, in order."""

    def __init__(self, path: Path, settings: JobsSettings, model: str = "") -> None:
        """Reads all of it once. Raises OSError if it cannot be read.

        ``model``: the only one that requests may name; empty: any one, the same in all.
        """
        self.path, self._model = path, model
        self._limits = LineLimits(settings.max_items, settings.max_item_bytes, MAX_MEDIA_BYTES)
        reader, digest = self._reader(), hashlib.sha256()
        for chunk in self._chunks():
            digest.update(chunk)
            reader.feed(chunk)
        reader.end()
        self.sha256 = digest.hexdigest()
        """Of the whole file: what names the job, so that a file is submitted once."""
        self.errors: list[LineError] = reader.errors
        """The first hundred."""
        self.num_wrong = reader.num_wrong
        """Lines that are no requests."""
        self._num_items, self._is_full = reader.num_items, reader.is_full
        self._left_out: set[str] = set()

    @property
    def is_fit(self) -> bool:
        """Whether it can be a job, without its wrong lines: some are left, and not too many."""
        return len(self) > 0 and not self._is_full

    def leave_out(self, index: int) -> int:
        """Leaves out the request at ``index``, which is wrong after all, and returns its line, from 1."""
        reader = self._reader()
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                for item in self._kept(reader.feed(line.removesuffix(b"\n") + b"\n")):
                    if index == 0:
                        self.num_wrong += 1
                        self._left_out.add(item.custom_id)
                        return number
                    index -= 1
        raise IndexError(index)

    def __len__(self) -> int:
        return self._num_items - len(self._left_out)

    def __iter__(self) -> Iterator[jobs_pb2.JobItem]:
        reader = self._reader()
        for chunk in self._chunks():
            yield from self._kept(reader.feed(chunk))
        yield from self._kept(reader.end())

    def __contains__(self, item: object) -> bool:
        return any(item == one for one in self)

    def _reader(self) -> BatchReader:
        return BatchReader(self._limits, self._model, check=_check)

    def _kept(self, found: Iterable[jobs_pb2.JobItem | WrongLine]) -> Iterator[jobs_pb2.JobItem]:
        for one in found:
            if isinstance(one, jobs_pb2.JobItem) and one.custom_id not in self._left_out:
                yield one

    def _chunks(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


def _check(request: gateway_pb2.ChatRequest) -> None:
    sampling_ranges.check(request.sampling)
