"""What is answered about the traces that are kept, by a real server; and the process itself."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from local_cluster import readiness
from local_cluster.traces import told
from tests.unit.local_cluster.traces.traces_lab import MS, REQUEST_ID, TRACE_ID, chat_trace, filled, serving, span
from trichord.telemetry import names
from trichord.web.files import POLICY

NOW_NS = 1_790_000_000 * 1000 * MS
FAILED, CANCELLED = "f" * 32, "c" * 32


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    spans = [
        *chat_trace(origin_ns=NOW_NS),
        *chat_trace(FAILED, NOW_NS + 5000 * MS, "INVALID_MEDIA"),
        *chat_trace(CANCELLED, NOW_NS - 5000 * MS, "CANCELLED"),
    ]
    async with serving(filled(spans)) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


async def listed(client: httpx2.AsyncClient, **search: str) -> list[str]:
    answer = await client.get("/api/traces", params=search)
    assert answer.status_code == 200
    return [line["trace_id"] for line in answer.json()["traces"]]


async def test_the_newest_is_first(client: httpx2.AsyncClient) -> None:
    assert await listed(client) == [FAILED, TRACE_ID, CANCELLED]
    assert await listed(client, limit="1") == [FAILED]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({"text": "invalid_media"}, [FAILED]),
        ({"text": "audio-encoder"}, [TRACE_ID]),
        ({"text": "smol Omni"}, [FAILED, TRACE_ID, CANCELLED]),
        ({"text": f"{REQUEST_ID} cancelled"}, [CANCELLED]),
        ({"text": TRACE_ID[:9]}, [TRACE_ID]),
        ({"text": "nowhere"}, []),
        ({"errors": "true"}, [FAILED, CANCELLED]),
        ({"min_ms": "1000"}, [TRACE_ID]),
        ({"errors": "true", "min_ms": "1000"}, []),
    ],
)
async def test_a_search_finds(client: httpx2.AsyncClient, search: dict[str, str], expected: list[str]) -> None:
    assert await listed(client, **search) == expected


@pytest.mark.parametrize("search", [{"min_ms": "-1"}, {"min_ms": "soon"}, {"limit": "0"}, {"colour": "red"}])
async def test_a_senseless_search_is_refused(client: httpx2.AsyncClient, search: dict[str, str]) -> None:
    answer = await client.get("/api/traces", params=search)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(next(iter(search)))


async def test_a_line_tells_how_it_ended(client: httpx2.AsyncClient) -> None:
    failed, good, cancelled = (await client.get("/api/traces")).json()["traces"]
    assert (failed["error"], failed["is_cancelled"], failed["num_failed"]) == ("INVALID_MEDIA", False, 6)
    assert (good["error"], good["label"], good["first_token_ms"]) == ("", "OmniService/Chat", 305.0)
    assert (good["duration_ms"], good["num_spans"], good["has_root"], good["is_settled"]) == (1240.0, 25, True, False)
    assert (cancelled["error"], cancelled["is_cancelled"]) == ("CANCELLED", True)


async def test_one_trace_has_a_row_for_each_span(client: httpx2.AsyncClient) -> None:
    trace = (await client.get(f"/api/traces/{TRACE_ID[:6]}")).json()
    assert (trace["trace_id"], trace["origin"], len(trace["rows"])) == (TRACE_ID, None, 25)
    generate = next(row for row in trace["rows"] if row["label"] == "DecoderService/Generate")
    assert (generate["depth"], generate["start_ms"], generate["kind"], generate["service"]) == (
        2,
        184.4,
        "client",
        "gateway",
    )
    assert generate["events"] == [{"name": "first token", "at_ms": 305.0, "attributes": {}}]
    encode = next(row for row in trace["rows"] if row["label"] == "encode image")
    assert (encode["note"], encode["attributes"]["trichord.units"]) == ("image", 4)


async def test_a_failure_is_traced_to_where_it_began(client: httpx2.AsyncClient) -> None:
    trace = (await client.get(f"/api/traces/{FAILED}")).json()
    assert trace["origin"] == {"service": "vision-encoder", "label": "decode image"}
    assert [row["label"] for row in trace["rows"] if row["is_origin"]] == ["decode image"]
    assert sum(row["error"] == "INVALID_MEDIA" for row in trace["rows"]) == 6


async def test_what_is_not_there_or_not_one_is_said(client: httpx2.AsyncClient) -> None:
    unknown, several = await client.get("/api/traces/" + "0" * 32), await client.get(f"/api/traces/{REQUEST_ID}")
    assert (unknown.status_code, several.status_code) == (404, 409)
    assert several.json()["error"].startswith("3 traces")
    assert "No span of such a trace has come" in unknown.json()["error"]


async def test_a_request_is_found_whatever_its_client_called_it() -> None:
    name = "a/b?c=%2F #1"
    store = filled([span(1, attributes={names.REQUEST_ID: name})])
    async with serving(store) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as client:
        found = await client.get("/api/traces/" + quote(name, safe=""))
        page = await client.get("/traces/" + quote(name, safe=""))
    assert (found.status_code, found.json()["trace_id"], page.status_code) == (200, TRACE_ID, 200)


async def test_a_trace_settles_once_its_root_is_there_and_nothing_more_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled([span(2, 1)])
    [trace] = store.traces()
    for has_root, idle_s, is_settled in ((False, 30, False), (False, 61, True), (True, 2, False), (True, 4, True)):
        if has_root:
            store.add(span(1))
        monkeypatch.setattr(told.time, "monotonic", lambda idle_s=idle_s: trace.changed_s + idle_s)
        assert told.line(trace)["is_settled"] is is_settled
        monkeypatch.undo()


async def test_pages_and_their_files_come_under_the_strict_policy(client: httpx2.AsyncClient) -> None:
    for path in ("/traces", f"/traces/{TRACE_ID}", "/static/theme.css", "/static/trace.js", "/static/icon.svg"):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["content-security-policy"]) == (200, POLICY)
        again = await client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert (await client.get("/")).headers["location"] == "/traces"
    assert (await client.get("/static/traces.html")).status_code == 404


def test_the_process_is_ready_on_its_port_and_ends_when_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert not asyncio.run(readiness.is_ready("http", port))
    argv, env = [sys.executable, "-m", "local_cluster.traces"], {"TRICHORD_TRACES_PORT": str(port)}
    with subprocess.Popen(argv, env=env, stderr=subprocess.PIPE) as process:
        assert process.stderr
        assert b"listening" in process.stderr.readline()
        assert asyncio.run(readiness.is_ready("http", port))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_senseless_setting_stops_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local_cluster.traces"],
        env={"TRICHORD_TRACES_MAX_SPANS": "0"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("cannot start: TRICHORD_TRACES_MAX_SPANS=")
