"""What a batch needs done between its making and its end: its lines read and made a job, its files written.

A line that is no request is told in the error file, and the rest proceeds; without any other the batch has failed.

Every step may be done twice, by this gateway or another one, and changes nothing then: whoever finds a step missing
does it. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeVar

from gateway.jobs.desk import Jobs
from gateway.openai_http import batch_output, batch_view
from gateway.openai_http.answering import ServedModel
from gateway.openai_http.batch_lines import BatchReader, Check, LineLimits, WrongLine
from gateway.openai_http.batch_records import BatchRecords, BatchSpec, BatchState, Checked, Ended, EndStatus
from gateway.openai_http.event_stream import to_json
from gateway.openai_http.file_records import FileRecords
from gateway.openai_http.line_file import PIECE_BYTES, LineFile
from trichord.errors import AlreadyExistsError, NotFoundError, RequestError
from trichord.jobs import layout
from trichord.telemetry import spans
from trichord.v1 import jobs_pb2

SLICE_BYTES = 8 * 1024
"""Of a file, parsed at a time: some milliseconds."""
RESTS = 2.0
"""How long nothing is parsed then, as a multiple of how long it was: 50 000 short lines take half a minute."""

T = TypeVar("T")

_STATUS: dict[jobs_pb2.JobState, EndStatus] = {
    jobs_pb2.JOB_STATE_COMPLETED: "completed",
    jobs_pb2.JOB_STATE_CANCELLED: "cancelled",
    jobs_pb2.JOB_STATE_EXPIRED: "expired",
}


class _UnfitError(RequestError):
    """No job can be made of the input: what is wrong is in the reader."""


class BatchWork:
    """The steps, one batch at a time."""

    def __init__(
        self,
        jobs: Jobs,
        files: FileRecords,
        batches: BatchRecords,
        model: Callable[[], Awaitable[ServedModel]],
        limits: LineLimits,
        check: Check,
    ) -> None:
        """``check``: what requests must pass beside the schema."""
        self._jobs, self._files, self._batches = jobs, files, batches
        self._model, self._limits, self._check = model, limits, check

    async def advance(self, tenant: str, batch_id: str) -> None:
        """Does the steps that can be done now. Raises UnavailableError and the like for what may go well later."""
        state = await self._batches.get(tenant, batch_id)
        if state.end is None and state.checked is None and not self._ends_unread(state):
            await self._batches.check(state, await self._submit(state.spec))
            state = await self._batches.get(tenant, batch_id)
        if state.end is None:
            state = await self._step(state)
        if state.end is not None:
            await self._batches.close(tenant, batch_id)

    async def job(self, state: BatchState) -> jobs_pb2.Job | None:
        """The job that the lines of a batch are; None if they are none (yet), or it is kept no longer."""
        if state.checked is None or state.checked.job_id is None or state.end is not None:
            return None
        with contextlib.suppress(NotFoundError):
            return await self._jobs.standing.job(state.spec.tenant, state.checked.job_id)
        return None

    async def _step(self, state: BatchState) -> BatchState:
        job = await self.job(state)
        if job is None or batch_view.is_over(job):
            await self._batches.finish(state, await self._written(state, job))
        elif state.cancelled:
            await self._jobs.cancel(state.spec.tenant, job.id)
        return await self._batches.get(state.spec.tenant, state.spec.id)

    def _ends_unread(self, state: BatchState) -> bool:
        """Whether it is too late for its lines."""
        return state.cancelled is not None or state.spec.expires_at <= self._batches.now()

    # The lines

    async def _submit(self, spec: BatchSpec) -> Checked:
        with spans.span("check batch", parent=spans.inbound([(spans.TRACEPARENT, spec.traceparent)])):
            return await self._submitted(spec)

    async def _submitted(self, spec: BatchSpec) -> Checked:
        served = await self._model()
        reader = BatchReader(self._limits, served.name, self._check)
        job_id: str | None = layout.job_id(spec.tenant, spec.id)
        try:
            content = await self._files.open(spec.tenant, spec.request.input_file_id)
            await self._jobs.submit(spec.tenant, _job_spec(spec), self._items(spec, content, reader))
        except AlreadyExistsError:
            pass  # by a gateway that died before it could note so, when another model was served
        except _UnfitError:
            job_id = None
        except (NotFoundError, RequestError) as error:
            job_id = None
            reader.note(error, None)
        return Checked(
            at=self._batches.now(),
            job_id=job_id,
            num_wrong=reader.num_wrong,
            model=served.name,
            errors=reader.errors,
        )

    async def _items(
        self, spec: BatchSpec, content: AsyncIterator[bytes], reader: BatchReader
    ) -> AsyncIterator[jobs_pb2.JobItem]:
        """The items of the lines that are requests; the others are kept apart. Raises _UnfitError at the end."""
        wrong, num_kept = bytearray(), 0
        async for found in _read(content, reader):
            if isinstance(found, jobs_pb2.JobItem):
                yield found
                continue
            wrong += _line(batch_output.wrong_line(found, spec.id))
            if len(wrong) >= PIECE_BYTES:
                await self._batches.keep_wrong(spec, num_kept, bytes(wrong))
                wrong, num_kept = bytearray(), num_kept + 1
        if wrong:
            await self._batches.keep_wrong(spec, num_kept, bytes(wrong))
        if reader.is_full or not reader.num_items:
            raise _UnfitError("No job can be made of this.")

    # The files

    async def _written(self, state: BatchState, job: jobs_pb2.Job | None) -> Ended:
        """Its end, with its files. ``job``: None if none came to be."""
        output, errors = LineFile(), LineFile()
        try:
            async with asyncio.TaskGroup() as group:
                output_id = group.create_task(self._keep(state.spec, output, "output"))
                error_id = group.create_task(self._keep(state.spec, errors, "errors"))
                await self._fill(output, errors, state.spec, job)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        return Ended(
            status=_status(state, job),
            finalizing_at=job.end_time.seconds if job else None,
            at=self._batches.now(),
            output_file_id=output_id.result(),
            error_file_id=error_id.result(),
            counts=batch_view.counts(state, job),
            usage=batch_view.usage(job),
        )

    async def _fill(self, output: LineFile, errors: LineFile, spec: BatchSpec, job: jobs_pb2.Job | None) -> None:
        async for lines in self._batches.wrong(spec):
            await errors.add(lines)
        if job is not None:
            async for result in self._jobs.records.results(spec.tenant, job.id, range(job.counts.total)):
                file = output if batch_output.is_answered(result) else errors
                await file.add(_line(batch_output.line(result, spec.id)))
        await output.end()
        await errors.end()

    async def _keep(self, spec: BatchSpec, file: LineFile, name: str) -> str | None:
        """Writes one file; its id, or None if nothing came to be in it."""
        file_id = f"file-{spec.id.removeprefix('batch_')}-{name}"
        num_bytes = await self._files.write(spec.tenant, file_id, file.pieces())
        if not num_bytes:
            await self._files.drop(spec.tenant, file_id)
            return None
        expiry = spec.request.output_expires_after
        life_s = expiry.seconds if expiry else None
        await self._files.keep(spec.tenant, file_id, num_bytes, f"{spec.id}_{name}.jsonl", "batch_output", life_s)
        return file_id


def _status(state: BatchState, job: jobs_pb2.Job | None) -> EndStatus:
    if job is not None:
        return _STATUS[job.state]
    if state.checked is not None:
        return "failed"
    return "cancelled" if state.cancelled else "expired"


def _job_spec(spec: BatchSpec) -> jobs_pb2.JobSpec:
    wanted = jobs_pb2.JobSpec(request_id=spec.id, metadata=spec.request.metadata or {})
    wanted.deadline.FromSeconds(spec.expires_at)
    return wanted


async def _read(content: AsyncIterator[bytes], reader: BatchReader) -> AsyncIterator[jobs_pb2.JobItem | WrongLine]:
    """What the lines are, as far as they are not too many."""
    async for chunk in content:
        for begin in range(0, len(chunk), SLICE_BYTES):
            for found in await _leisurely(partial(reader.feed, chunk[begin : begin + SLICE_BYTES])):
                yield found
        if reader.is_full:
            return
    for found in await _leisurely(reader.end):
        yield found


def _line(line: batch_output.OutputLine) -> bytes:
    return to_json(line) + b"\n"


async def _leisurely(work: Callable[[], T]) -> T:
    """Does a little in a thread, then rests for longer: parsing holds up all that this process does live."""
    began_s = time.perf_counter()
    done = await asyncio.to_thread(work)
    await asyncio.sleep(RESTS * (time.perf_counter() - began_s))
    return done
