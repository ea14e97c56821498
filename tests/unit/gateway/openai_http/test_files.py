"""/v1/files with the official client: kept, told, listed, read, deleted; a tenant's own; bounded."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest

from gateway.openai_http.files import UPLOAD_BYTES
from tests.unit.gateway.lab import Lab
from tests.unit.gateway.openai_http.http_lab import HttpLab, error_of, running_http
from tests.unit.gateway.openai_http.jobs_lab import DirectoryJobs
from trichord.jobs import layout

CONTENT = b'{"custom_id": "a"}\n' * 50
_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"
LINES = ("lines.jsonl", CONTENT)


@pytest.fixture
async def jobs(lab: Lab, tmp_path: Path) -> DirectoryJobs:
    return DirectoryJobs(
        tmp_path, lab.cluster.sources, lab.cluster.settings, max_file_bytes=100_000, max_tenant_file_bytes=150_000
    )


@pytest.fixture
async def http(lab: Lab, jobs: DirectoryJobs) -> AsyncIterator[HttpLab]:
    async with running_http(lab, jobs.desk) as running:
        yield running


def client_of(http: HttpLab, tenant: str = "acme") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{http.url}/v1", api_key=f"key-of-{tenant}", max_retries=0)


@pytest.fixture
async def client(http: HttpLab) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(http) as client:
        yield client


async def test_a_file_is_kept_told_read_and_deleted(client: openai.AsyncOpenAI, jobs: DirectoryJobs) -> None:
    made = await client.files.create(file=LINES, purpose="batch")
    assert (made.object, made.bytes, made.filename, made.purpose) == ("file", len(CONTENT), "lines.jsonl", "batch")
    assert made.status == "processed"
    assert abs(made.created_at - time.time()) < 60
    assert made.expires_at == made.created_at + 30 * 24 * 3600
    assert await client.files.retrieve(made.id) == made
    response = await client.files.content(made.id)
    assert response.content == CONTENT
    assert response.response.headers["content-length"] == str(len(CONTENT))
    assert made.id in response.response.headers["content-disposition"]
    deleted = await client.files.delete(made.id)
    assert (deleted.id, deleted.deleted) == (made.id, True)
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(made.id)
    assert not [info async for info in jobs.store.list(layout.files_prefix("acme"))]


async def test_files_are_listed_page_by_page_newest_first(client: openai.AsyncOpenAI) -> None:
    ids = []
    for name in ("one", "two", "three"):
        ids.append((await client.files.create(file=(name, b"x"), purpose="batch")).id)
        await asyncio.sleep(0.002)  # ids are ordered by the millisecond
    page = await client.files.list(limit=2)
    assert [file.filename for file in page.data] == ["three", "two"]
    assert page.has_more
    assert [file.id async for file in client.files.list(limit=2)] == ids[::-1]
    assert [file.id async for file in client.files.list(limit=2, order="asc")] == ids
    assert [file.id async for file in client.files.list(purpose="batch_output")] == []


async def test_a_file_expires(client: openai.AsyncOpenAI, http: HttpLab, jobs: DirectoryJobs) -> None:
    made = await client.files.create(
        file=LINES, purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    kept = await client.files.create(file=LINES, purpose="batch")
    assert made.expires_at == made.created_at + 3600
    http.desk.jobs.files._clock = lambda: time.time() + 3601
    with pytest.raises(openai.NotFoundError):
        await client.files.content(made.id)
    assert [file.id async for file in client.files.list()] == [kept.id]
    assert await http.desk.jobs.files.sweep() == 1
    left = {info.key.split("/")[2] async for info in jobs.store.list("files/")}
    assert left == {kept.id}


async def test_nobody_elses_file_is_there(client: openai.AsyncOpenAI, http: HttpLab) -> None:
    made = await client.files.create(file=LINES, purpose="batch")
    async with client_of(http, "rival") as rival:
        assert [file async for file in rival.files.list()] == []
        for ask in (rival.files.retrieve, rival.files.content, rival.files.delete):
            with pytest.raises(openai.NotFoundError) as caught:
                await ask(made.id)
            assert caught.value.code == "not_found"
    assert (await client.files.content(made.id)).content == CONTENT


NO_FILES = ["file-", "file-" + "0" * 32, "nothing", "file-..%2Fcontent", "file-" + "é" * 32]


async def test_what_is_no_file_is_not_found(http: HttpLab) -> None:
    for file_id, (method, path) in itertools.product(NO_FILES, [("GET", ""), ("GET", "/content"), ("DELETE", "")]):
        response = await http.client.request(method, f"/v1/files/{file_id}{path}")
        assert response.status_code in (404, 405), file_id
        assert error_of(response)["code"] in ("not_found", "unknown_url", "method_not_allowed")


async def test_a_file_that_is_too_large_leaves_nothing(
    client: openai.AsyncOpenAI, http: HttpLab, jobs: DirectoryJobs
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        await client.files.create(file=("big", b"x" * 100_001), purpose="batch")
    assert (caught.value.status_code, caught.value.code) == (413, "file_too_large")
    head = "POST /v1/files HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key-of-acme\r\nConnection: close\r\n"
    form = f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {'9' * 12}\r\n\r\n"
    assert (await http.raw((head + form).encode())).startswith(b"HTTP/1.1 413 ")
    assert not [info async for info in jobs.store.list("files/")]


async def test_a_tenant_has_only_so_many_bytes(client: openai.AsyncOpenAI, http: HttpLab) -> None:
    made = [await client.files.create(file=("a", b"x" * 90_000), purpose="batch") for _ in range(2)]
    with pytest.raises(openai.RateLimitError) as caught:
        await client.files.create(file=LINES, purpose="batch")
    assert caught.value.type == "file_bytes"
    async with client_of(http, "rival") as rival:
        await rival.files.create(file=LINES, purpose="batch")
    await client.files.delete(made[0].id)
    await client.files.create(file=LINES, purpose="batch")


async def test_a_tenant_has_only_so_many_files(client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.openai_http.file_records.MAX_FILES", 1)
    await client.files.create(file=LINES, purpose="batch")
    with pytest.raises(openai.RateLimitError) as caught:
        await client.files.create(file=LINES, purpose="batch")
    assert caught.value.type == "files"


async def test_uploads_share_the_budget_of_bodies(lab: Lab, jobs: DirectoryJobs) -> None:
    async with running_http(lab, jobs.desk, max_buffered_bytes=UPLOAD_BYTES) as http, client_of(http) as client:
        writer = await _begun(http)
        with pytest.raises(openai.InternalServerError) as caught:
            await client.files.create(file=LINES, purpose="batch")
        assert (caught.value.status_code, caught.value.code) == (503, "overloaded")
        writer.close()
        await asyncio.wait_for(http.desk.drain.idle.wait(), 30)
        await client.files.create(file=LINES, purpose="batch")


WRONG_FIELDS: list[tuple[dict[str, str], str]] = [
    ({}, "purpose"),
    ({"purpose": "fine-tune"}, "purpose"),
    ({"purpose": "batch", "expires_after[seconds]": "3600"}, _ANCHOR),
    ({"purpose": "batch", "expires_after[anchor]": "created_at"}, _SECONDS),
    ({"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "1"}, _SECONDS),
    ({"purpose": "batch", "expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, _ANCHOR),
]


async def test_a_form_that_asks_for_what_there_is_not(http: HttpLab, jobs: DirectoryJobs) -> None:
    for fields, param in WRONG_FIELDS:
        response = await http.client.post("/v1/files", data=fields, files={"file": LINES})
        assert response.status_code == 400, fields
        assert error_of(response)["param"] == param, fields
    assert not [info async for info in jobs.store.list("files/")]


async def test_a_form_without_a_file(http: HttpLab) -> None:
    response = await http.client.post("/v1/files", files={"purpose": (None, b"batch")})
    assert error_of(response)["param"] == "file"
    response = await http.client.post("/v1/files", json={})
    assert response.status_code == 415


async def _begun(http: HttpLab) -> asyncio.StreamWriter:
    """An upload that lacks its end."""
    head = (
        "POST /v1/files HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key-of-acme\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    )
    _, writer = await asyncio.open_connection("127.0.0.1", http.running.port)
    writer.write(head.encode() + b"x" * 1000)
    await writer.drain()
    async with asyncio.timeout(30):
        while True:
            await asyncio.sleep(0.01)
            if not http.desk.drain.idle.is_set():
                return writer


async def test_an_upload_that_breaks_off_leaves_nothing(http: HttpLab, jobs: DirectoryJobs) -> None:
    writer = await _begun(http)
    writer.close()
    await writer.wait_closed()
    await asyncio.wait_for(http.desk.drain.idle.wait(), 30)
    assert not [info async for info in jobs.store.list("files/")]


async def test_bytes_without_a_record_are_swept_after_a_day(http: HttpLab, jobs: DirectoryJobs, tmp_path: Path) -> None:
    file_id, _ = await http.desk.jobs.files.upload("acme", _once(b"x"))
    assert await http.desk.jobs.files.sweep() == 0
    day_old = time.time() - 25 * 3600
    os.utime(tmp_path / layout.file_content("acme", file_id), (day_old, day_old))
    assert await http.desk.jobs.files.sweep() == 1
    assert not await jobs.store.exists(layout.file_content("acme", file_id))


async def test_a_list_that_cannot_be(http: HttpLab) -> None:
    for query in ["limit=0", "limit=x", "limit=10001", "limit=" + "9" * 5000, "order=up"]:
        response = await http.client.get(f"/v1/files?{query}")
        assert response.status_code == 400, query
        assert error_of(response)["param"] == query.partition("=")[0]


async def _once(piece: bytes) -> AsyncIterator[bytes]:
    yield piece
