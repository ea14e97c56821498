"""A gateway's page as a process: where its setting says, nowhere else, and telling which program it is."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.error
import urllib.request
from asyncio.subprocess import PIPE, Process

import pytest

import trichord
from tests.metrics_lab import Page
from tests.unit.gateway.lab import WARNINGS

SOON_S = 30
NOWHERE = "127.0.0.1:1"
TOLD = {
    **{f"TRICHORD_GATEWAY_{name}": NOWHERE for name in ("VISION", "AUDIO", "DECODER")},
    "TRICHORD_GATEWAY_CACHE_URL": f"redis://{NOWHERE}",
    "TRICHORD_GATEWAY_STATE_URL": f"redis://{NOWHERE}",
    "TRICHORD_HTTP_LISTEN": "127.0.0.1:0",
}
NAMES = [
    "gen_ai_server_request_duration_seconds",
    "gen_ai_server_time_to_first_token_seconds",
    "gen_ai_server_time_per_output_token_seconds",
    "trichord_requests_total",
    "trichord_requests_in_progress",
    "trichord_queue_delay_seconds",
    "trichord_queue_length",
    "trichord_encode_duration_seconds",
    "trichord_fetch_duration_seconds",
    "trichord_tokens_total",
    "trichord_cached_tokens_total",
    "trichord_image_tiles_total",
    "trichord_audio_seconds_total",
    "trichord_sheds_total",
    "trichord_skipped_items_total",
    "trichord_store_lookups_total",
    "trichord_wake_wait_seconds",
    "trichord_replicas",
    "trichord_replica_attempts_total",
    "trichord_retries_total",
    "trichord_ejections_total",
    "trichord_admission_fallbacks_total",
    "trichord_admission_lost_settlements_total",
    "trichord_redis_command_duration_seconds",
    "trichord_redis_breaker_open",
    "trichord_build_info",
    "http_server_request_duration_seconds",
    "rpc_server_call_duration_seconds",
    "trichord_rpc_calls_in_progress",
    "trichord_event_loop_lag_seconds",
]


async def test_the_page_is_at_its_own_port_with_every_name(unused_tcp_port: int) -> None:
    metrics = {"TRICHORD_GATEWAY_METRICS_LISTEN": f"127.0.0.1:{unused_tcp_port}"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRICHORD_")}
    command = (sys.executable, *WARNINGS, "-m", "gateway")
    process = await asyncio.create_subprocess_exec(*command, env=environment | TOLD | metrics, stderr=PIPE)
    try:
        http_port = await listening(process)
        page = await opened(f"http://127.0.0.1:{unused_tcp_port}/metrics")
        told = [line.split()[2] for line in page.text().splitlines() if line.startswith("# HELP")]
        assert sorted(set(NAMES) - set(told)) == []
        assert page.value("trichord_build_info", service="gateway", version=trichord.__version__) == 1
        assert page.value("trichord_redis_breaker_open", store="cache") == 0
        with pytest.raises(urllib.error.HTTPError) as refused:
            await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{http_port}/metrics", timeout=SOON_S)
        assert refused.value.code in (401, 404)
        refused.value.close()
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), SOON_S)
    assert process.returncode == 0


async def listening(process: Process) -> int:
    """The HTTP face's port, from the log."""
    assert process.stderr is not None
    async with asyncio.timeout(SOON_S):
        async for line in process.stderr:
            if b'"listening"' in line and (told := json.loads(line)).get("protocol") == "http":
                return int(told["port"])
    raise AssertionError("The gateway ended without listening.")


async def opened(url: str) -> Page:
    """The page, once it is there: it is opened last."""
    async with asyncio.timeout(SOON_S):
        while True:
            try:
                return await asyncio.to_thread(Page, url)
            except urllib.error.URLError:
                await asyncio.sleep(0.05)
