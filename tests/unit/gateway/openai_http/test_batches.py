"""/v1/batches with the official client: lines become a job, its results files; states, counts, errors, cancelling."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch
from openai.types.batch_request_counts import BatchRequestCounts as RequestCounts

from tests.unit.gateway.lab import Lab
from tests.unit.gateway.openai_http.http_lab import HttpLab, error_of, question, running_http, text
from tests.unit.gateway.openai_http.jobs_lab import Answering, DirectoryJobs, completed, ended
from trichord.errors import UnavailableError
from trichord.jobs import layout
from trichord.jobs.objects import ObjectStore
from trichord.v1 import jobs_pb2

ENDPOINT: Any = "/v1/chat/completions"


def line(custom_id: str, content: str = "hi", **members: Any) -> dict[str, Any]:
    body = question(text(content))
    return {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body, **members}


def jsonl(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in lines)


@pytest.fixture
async def jobs(lab: Lab, tmp_path: Path) -> DirectoryJobs:
    return DirectoryJobs(tmp_path, lab.cluster.sources, lab.cluster.settings, max_items=100)


@pytest.fixture
async def http(lab: Lab, jobs: DirectoryJobs) -> AsyncIterator[HttpLab]:
    async with running_http(lab, jobs.desk) as running:
        yield running
        await running.desk.jobs.keeper.close()


@pytest.fixture
async def client(http: HttpLab) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{http.url}/v1", api_key="key-of-acme", max_retries=0) as client:
        yield client


class Batches:
    """Short ways to make batches and have them worked on."""

    def __init__(self, client: openai.AsyncOpenAI, http: HttpLab, jobs: DirectoryJobs) -> None:
        self.client, self.http, self.jobs = client, http, jobs

    async def make(self, *lines: dict[str, Any], content: bytes | None = None, **options: Any) -> Batch:
        content = jsonl(*lines) if content is None else content
        file = await self.client.files.create(file=("in.jsonl", content), purpose="batch")
        return await self.client.batches.create(
            input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h", **options
        )

    async def step(self, batch: Batch) -> Batch:
        """Whatever is to be done for it now."""
        await self.http.desk.jobs.work.advance("acme", batch.id)
        return await self.client.batches.retrieve(batch.id)

    async def run(self, batch: Batch, answering: Answering = completed) -> Batch:
        """From its making to its end."""
        assert (await self.step(batch)).status == "in_progress"
        await self.jobs.answer(answering)
        return await self.step(batch)

    async def lines(self, file_id: str | None) -> list[dict[str, Any]]:
        assert file_id
        content = await self.client.files.content(file_id)
        return [json.loads(one) for one in content.text.splitlines()]


@pytest.fixture
async def batches(client: openai.AsyncOpenAI, http: HttpLab, jobs: DirectoryJobs) -> Batches:
    return Batches(client, http, jobs)


async def test_the_round_trip(client: openai.AsyncOpenAI, http: HttpLab, jobs: DirectoryJobs) -> None:
    """As a client has it: nothing is done by hand but the answering."""
    http.desk.jobs.keeper.start()
    file = await client.files.create(file=("in.jsonl", jsonl(line("a", "ja"), line("b", "nein"))), purpose="batch")
    batch = await client.batches.create(
        input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h", metadata={"who": "me"}
    )
    assert (batch.object, batch.status, batch.endpoint) == ("batch", "validating", ENDPOINT)
    assert batch.expires_at == batch.created_at + 24 * 3600
    batch = await until(client, batch.id, "in_progress")
    await jobs.answer(completed)
    batch = await until(client, batch.id, "completed")
    assert batch.request_counts
    assert batch.request_counts.model_dump() == {"total": 2, "completed": 2, "failed": 0}
    assert batch.usage
    assert (batch.usage.input_tokens, batch.usage.output_tokens, batch.usage.total_tokens) == (14, 6, 20)
    assert batch.usage.input_tokens_details.cached_tokens == 2
    assert (batch.metadata, batch.model, batch.error_file_id) == ({"who": "me"}, "fake", None)
    assert batch.output_file_id
    lines = [json.loads(one) for one in (await client.files.content(batch.output_file_id)).text.splitlines()]
    said = {one["custom_id"]: one["response"]["body"]["choices"][0]["message"]["content"] for one in lines}
    assert said == {"a": "ja!", "b": "nein!"}
    times = [batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at]
    assert None not in times
    assert times == sorted(times, key=lambda at: at or 0)
    output = await client.files.retrieve(batch.output_file_id)
    assert output.purpose == "batch_output"


async def until(client: openai.AsyncOpenAI, batch_id: str, status: str) -> Batch:
    async with asyncio.timeout(60):
        while (batch := await client.batches.retrieve(batch_id)).status != status:
            assert batch.status not in ("failed", "completed", "expired", "cancelled"), batch
            await asyncio.sleep(0.02)
        return batch


async def test_a_line_of_output_is_what_the_live_face_answers(batches: Batches) -> None:
    batch = await batches.run(await batches.make(line("a")))
    [told] = await batches.lines(batch.output_file_id)
    live = (await batches.http.complete()).json()
    response = told["response"]
    assert (response["status_code"], told["error"]) == (200, None)
    assert response["request_id"].endswith("-0")
    assert told["id"].startswith("batch_req_")
    assert response["body"].keys() == live.keys()
    assert response["body"]["choices"][0].keys() == live["choices"][0].keys()
    assert response["body"]["choices"][0]["finish_reason"] == "length"
    assert response["body"]["usage"].keys() == live["usage"].keys()
    assert response["body"]["usage"]["prompt_tokens_details"]["image_tokens"] == 2
    assert openai.types.chat.ChatCompletion.model_validate(response["body"]).model == "fake"


ADDRESS = {"type": "image_url", "image_url": {"url": "https://elsewhere.example/cat.png"}}
WRONG = [
    (line("a"), "a", "duplicate_custom_id", "custom_id"),
    (line("b", url="/v1/embeddings"), "b", "invalid_value", "url"),
    (line("c", body=question(model="gpt")), "c", "model_not_found", "body.model"),
    (line("d", body=question(ADDRESS)), "d", "invalid_value", "body.messages[0].content[0].image_url"),
    (line(7), None, "invalid_value", "custom_id"),  # type: ignore[arg-type]
]
"""Lines that are no requests after one named a."""


async def test_wrong_lines_are_told_and_the_rest_proceeds(batches: Batches) -> None:
    content = jsonl(line("a"), *(wrong for wrong, *_ in WRONG)) + b"{\xff\x00\n" + jsonl(line("z"))
    expected = [(number, *told) for number, (_, *told) in enumerate(WRONG, 2)] + [(7, None, "invalid_json", None)]
    made = await batches.make(content=content)
    batch = await batches.step(made)
    assert (batch.status, batch.request_counts) == ("in_progress", RequestCounts(total=8, completed=0, failed=6))
    batch = await batches.run(made)
    assert (batch.status, batch.request_counts) == ("completed", RequestCounts(total=8, completed=2, failed=6))
    assert batch.errors
    assert batch.errors.data
    assert [(one.line, one.code, one.param) for one in batch.errors.data] == [
        (number, code, param) for number, _, code, param in expected
    ]
    assert [one["custom_id"] for one in await batches.lines(batch.output_file_id)] == ["a", "z"]
    told = await batches.lines(batch.error_file_id)
    assert all(one["response"] is None and one["error"]["message"] for one in told)
    assert len({one["id"] for one in told}) == 6
    assert [
        (one["error"]["line"], one["custom_id"], one["error"]["code"], one["error"]["param"]) for one in told
    ] == expected


async def test_a_batch_without_a_right_line_fails(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is told in the file, whatever has room in the batch itself."""
    monkeypatch.setattr("gateway.openai_http.batch_work.PIECE_BYTES", 1000)
    monkeypatch.setattr("gateway.openai_http.batch_lines.MAX_ERRORS", 3)
    batch = await batches.step(await batches.make(content=b"{}\n" * 50))
    assert (batch.status, batch.request_counts) == ("failed", RequestCounts(total=50, completed=0, failed=50))
    assert batch.failed_at
    assert batch.output_file_id is batch.in_progress_at is None
    assert batch.errors
    assert len(batch.errors.data or ()) == 3
    told = await batches.lines(batch.error_file_id)
    assert [one["error"]["line"] for one in told] == list(range(1, 51))
    assert await batches.jobs.taken() == []
    assert [one.id async for one in batches.http.desk.jobs.batches.open()] == []


NO_JOBS = [
    (b"", "empty_file"),
    (b"\n", "empty_file"),
    (jsonl(*(line(str(i)) for i in range(101))), "too_many_lines"),
    (jsonl(line("a", body={"model": "fake", "messages": [{"role": "user", "content": "x"}] * 9})), "invalid_value"),
    (jsonl(line("a", body=question(max_tokens=0))), "invalid_value"),
]


async def test_no_job_is_made_of_what_cannot_be_one(batches: Batches) -> None:
    for content, code in NO_JOBS:
        batch = await batches.step(await batches.make(content=content))
        assert batch.status == "failed", code
        assert batch.errors
        assert batch.errors.data
        assert batch.errors.data[0].code == code
    assert await batches.jobs.taken() == []


async def test_failed_items_are_told_in_the_error_file(batches: Batches) -> None:
    def answering(item: jobs_pb2.JobItem) -> jobs_pb2.ItemResult:
        if item.custom_id == "good":
            return completed(item)
        reason = {"media": "INVALID_MEDIA", "away": "UNAVAILABLE", "odd": "WHATEVER"}[item.custom_id]
        return ended(jobs_pb2.ITEM_STATE_FAILED, reason, "messages[0].parts[0].image_bytes")(item)

    made = await batches.make(line("media"), line("good"), line("away"), line("odd"))
    batch = await batches.run(made, answering)
    assert batch.status == "completed"
    assert batch.request_counts
    assert batch.request_counts.model_dump() == {"total": 4, "completed": 1, "failed": 3}
    assert [one["custom_id"] for one in await batches.lines(batch.output_file_id)] == ["good"]
    errors = {one["custom_id"]: one["response"] for one in await batches.lines(batch.error_file_id)}
    assert {name: one["status_code"] for name, one in errors.items()} == {"media": 400, "away": 503, "odd": 500}
    assert [one["body"]["error"]["code"] for one in errors.values()] == [
        "invalid_image",
        "unavailable",
        "internal_error",
    ]
    assert errors["media"]["body"]["error"]["message"] == "That went wrong."
    assert list(errors["media"]["body"]["error"]) == ["message", "type", "param", "code"]


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        (jobs_pb2.ITEM_STATE_EXPIRED, "expired", "batch_expired"),
        (jobs_pb2.ITEM_STATE_CANCELLED, "cancelled", "batch_cancelled"),
    ],
)
async def test_results_stay_when_a_batch_ends_early(
    batches: Batches, state: jobs_pb2.ItemState, status: str, code: str
) -> None:
    def answering(item: jobs_pb2.JobItem) -> jobs_pb2.ItemResult:
        return completed(item) if item.custom_id == "done" else ended(state)(item)

    batch = await batches.run(await batches.make(line("done"), line("late")), answering)
    assert batch.status == status
    assert batch.expired_at or batch.cancelled_at
    assert not batch.completed_at
    assert [one["custom_id"] for one in await batches.lines(batch.output_file_id)] == ["done"]
    [late] = await batches.lines(batch.error_file_id)
    assert (late["custom_id"], late["response"], late["error"]["code"]) == ("late", None, code)


async def test_cancelling(batches: Batches) -> None:
    made = await batches.make(line("a"))
    await batches.step(made)
    batch = await batches.client.batches.cancel(made.id)
    assert batch.status == "cancelling"
    assert batch.cancelling_at
    assert (await batches.client.batches.cancel(made.id)).cancelling_at == batch.cancelling_at
    await batches.step(batch)
    assert await batches.jobs.records.is_cancelled("acme", layout.job_id("acme", made.id))
    await batches.jobs.answer(ended(jobs_pb2.ITEM_STATE_CANCELLED))
    batch = await batches.step(batch)
    assert (batch.status, batch.output_file_id) == ("cancelled", None)
    assert (await batches.client.batches.cancel(made.id)).status == "cancelled"


async def test_cancelling_before_the_lines_are_read(batches: Batches) -> None:
    made = await batches.make(line("a"))
    await batches.client.batches.cancel(made.id)
    batch = await batches.step(made)
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("cancelled", None, None)
    assert await batches.jobs.taken() == []


async def test_cancelling_while_the_lines_are_read(batches: Batches) -> None:
    """What was read by then is a job that ends early."""
    made = await batches.make(line("a"))
    work = batches.http.desk.jobs.work
    model = work._model

    async def cancelled_meanwhile() -> Any:
        assert (await batches.client.batches.cancel(made.id)).status == "cancelling"
        return await model()

    work._model = cancelled_meanwhile
    assert (await batches.step(made)).status == "cancelling"
    assert await batches.jobs.records.is_cancelled("acme", layout.job_id("acme", made.id))
    await batches.jobs.answer(ended(jobs_pb2.ITEM_STATE_CANCELLED))
    batch = await batches.step(made)
    assert (batch.status, batch.request_counts) == ("cancelled", RequestCounts(total=1, completed=0, failed=1))


async def test_a_window_that_ends_before_the_lines_are_read(batches: Batches) -> None:
    made = await batches.make(line("a"))
    batches.http.desk.jobs.batches._clock = lambda: made.created_at + 24 * 3600
    batch = await batches.step(made)
    assert (batch.status, batch.errors, batch.error_file_id) == ("expired", None, None)
    assert batch.expired_at


async def test_what_is_over_cannot_be_cancelled(batches: Batches) -> None:
    made = await batches.run(await batches.make(line("a")))
    with pytest.raises(openai.ConflictError) as caught:
        await batches.client.batches.cancel(made.id)
    assert caught.value.code == "batch_is_over"
    assert caught.value.response.headers["x-should-retry"] == "false"


async def test_each_step_may_be_done_twice(batches: Batches) -> None:
    """Two gateways at once, or one that died before it could note what it had done."""
    made = await batches.make(line("a"), line("b"))
    work, store = batches.http.desk.jobs.work, batches.jobs.store
    await asyncio.gather(work.advance("acme", made.id), work.advance("acme", made.id))
    await store.delete(f"{layout.batch('acme', made.id)}/checked")
    assert (await batches.step(made)).status == "in_progress"
    assert len(await batches.jobs.taken()) == 1
    await batches.jobs.answer(completed)
    await asyncio.gather(work.advance("acme", made.id), work.advance("acme", made.id))
    await store.delete(f"{layout.batch('acme', made.id)}/end")
    batch = await batches.step(made)
    assert batch.status == "completed"
    assert len(await batches.lines(batch.output_file_id)) == 2
    assert [file.purpose async for file in batches.client.files.list(order="asc")] == ["batch", "batch_output"]
    assert [one.id async for one in batches.http.desk.jobs.batches.open()] == []


async def test_a_batch_waits_while_the_decoder_is_away(batches: Batches) -> None:
    await batches.http.lab.stop("decoder")
    made = await batches.make(line("a"))
    keeper = batches.http.desk.jobs.keeper
    await keeper.round()
    assert (await batches.client.batches.retrieve(made.id)).status == "validating"
    await batches.http.lab.restart("decoder")
    keeper.start()
    await until(batches.client, made.id, "in_progress")


async def test_an_idempotency_key_makes_one_batch(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.openai_http.batch_records.MAX_OPEN", 1)
    file = await batches.client.files.create(file=("in.jsonl", jsonl(line("a"))), purpose="batch")
    body = {"input_file_id": file.id, "endpoint": ENDPOINT, "completion_window": "24h"}

    async def post(**changes: Any) -> Any:
        headers = {"idempotency-key": "k"}
        return await batches.http.client.post("/v1/batches", json={**body, **changes}, headers=headers)

    first, second, other = await post(), await post(), await post(completion_window="2h")
    assert first.json() == second.json()
    assert other.status_code == 409
    assert len([one async for one in batches.client.batches.list()]) == 1


async def test_a_tenant_has_only_so_many_open_batches(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.openai_http.batch_records.MAX_OPEN", 1)
    made = await batches.make(line("a"))
    with pytest.raises(openai.RateLimitError) as caught:
        await batches.make(line("b"))
    assert caught.value.type == "batches"
    await batches.run(made)
    await batches.make(line("b"))


async def test_batches_are_listed_newest_first_and_a_tenants_own(batches: Batches) -> None:
    made = []
    for name in ("a", "b", "c"):
        made.append((await batches.make(line(name))).id)
        await asyncio.sleep(0.002)
    assert [batch.id async for batch in batches.client.batches.list(limit=2)] == made[::-1]
    url = f"{batches.http.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="key-of-rival", max_retries=0) as rival:
        assert [batch async for batch in rival.batches.list()] == []
        for ask in (rival.batches.retrieve, rival.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                await ask(made[0])
        file = await batches.client.batches.retrieve(made[0])
        with pytest.raises(openai.NotFoundError) as caught:
            await rival.batches.create(input_file_id=file.input_file_id, endpoint=ENDPOINT, completion_window="24h")
        assert caught.value.param == "input_file_id"


CANNOT_BE: list[tuple[dict[str, Any], str]] = [
    ({"endpoint": "/v1/embeddings"}, "endpoint"),
    ({"completion_window": "1d"}, "completion_window"),
    ({"completion_window": "169h"}, "completion_window"),
    ({"completion_window": None}, "completion_window"),
    ({"input_file_id": "file-1"}, "input_file_id"),
    ({"input_file_id": 1}, "input_file_id"),
    ({"metadata": {"k": "v" * 513}}, "metadata.k"),
    ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
    ({"output_expires_after": {"anchor": "created_at", "seconds": 5}}, "output_expires_after.seconds"),
]


async def test_a_request_that_cannot_be(batches: Batches) -> None:
    file = await batches.client.files.create(file=("in.jsonl", jsonl(line("a"))), purpose="batch")
    for changes, param in CANNOT_BE:
        body = {"input_file_id": file.id, "endpoint": ENDPOINT, "completion_window": "24h", **changes}
        response = await batches.http.client.post("/v1/batches", json=body)
        assert response.status_code in (400, 404), changes
        assert error_of(response)["param"] == param, changes


async def test_an_output_is_no_input(batches: Batches) -> None:
    batch = await batches.run(await batches.make(line("a")))
    assert batch.output_file_id
    with pytest.raises(openai.BadRequestError):
        await batches.client.batches.create(
            input_file_id=batch.output_file_id, endpoint=ENDPOINT, completion_window="24h"
        )


async def test_an_input_that_is_deleted_in_time_fails_the_batch(batches: Batches) -> None:
    made = await batches.make(line("a"))
    await batches.client.files.delete(made.input_file_id)
    batch = await batches.step(made)
    assert batch.status == "failed"
    assert batch.errors
    assert batch.errors.data
    assert batch.errors.data[0].code == "not_found"


async def test_a_batch_waits_while_its_files_cannot_be_written(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await batches.make(line("a"))
    await batches.step(made)
    await batches.jobs.answer(completed)

    async def away(*_: object) -> int:
        raise UnavailableError("The store of jobs does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "put_stream", away)
        with pytest.raises(UnavailableError):
            await batches.http.desk.jobs.work.advance("acme", made.id)
    assert (await batches.client.batches.retrieve(made.id)).status == "finalizing"
    assert (await batches.step(made)).status == "completed"


async def test_a_batch_whose_job_is_lost_fails_and_holds_up_no_list(batches: Batches) -> None:
    made = await batches.make(line("a"))
    await batches.step(made)
    job_id = layout.job_id("acme", made.id)
    await batches.jobs.records.forget("acme", job_id)
    batches.jobs.desk.standing.forget(job_id)
    assert [batch.id async for batch in batches.client.batches.list()] == [made.id]
    assert (await batches.step(made)).status == "failed"


async def test_outputs_expire_as_asked(batches: Batches) -> None:
    expiry: Any = {"anchor": "created_at", "seconds": 3600}
    batch = await batches.run(await batches.make(line("a"), output_expires_after=expiry))
    assert batch.output_file_id
    file = await batches.client.files.retrieve(batch.output_file_id)
    assert file.expires_at == file.created_at + 3600


async def test_without_jobs_files_and_batches_are_off(lab: Lab) -> None:
    async with running_http(lab) as http:
        for method, path in (("GET", "/v1/files"), ("POST", "/v1/batches"), ("GET", "/v1/batches/batch_1")):
            response = await http.client.request(method, path)
            assert response.status_code == 501
            assert error_of(response)["code"] == "unsupported"


async def test_each_face_needs_its_own_scope(http: HttpLab) -> None:
    for tenant, path, status in (("batch", "/v1/batches", 200), ("chatter", "/v1/batches", 403)):
        response = await http.client.get(path, headers={"authorization": f"Bearer key-of-{tenant}"})
        assert response.status_code == status
