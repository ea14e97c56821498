"""Triton's metrics on the front's page: whatever Triton answers, the page is there and is one."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, start_http_server
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from trichord.triton import metrics_page

PAGE = """\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="llama",version="1"} 7
# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="llama",version="1"} 2
# HELP nv_inference_queue_summary_us Summary of inference queuing duration in microseconds
# TYPE nv_inference_queue_summary_us summary
nv_inference_queue_summary_us_count{model="llama",version="1"} 0
nv_inference_queue_summary_us_sum{model="llama",version="1"} 0
nv_inference_queue_summary_us{model="llama",version="1",quantile="0.5"} Nan
nv_inference_queue_summary_us{model="llama",version="1",quantile="1"} Nan
# HELP nv_inference_first_response_histogram_ms Duration from request to first response in milliseconds
# TYPE nv_inference_first_response_histogram_ms histogram
nv_inference_first_response_histogram_ms_count{model="llama",version="1"} 3
nv_inference_first_response_histogram_ms_sum{model="llama",version="1"} 600
nv_inference_first_response_histogram_ms_bucket{model="llama",version="1",le="100"} 1
nv_inference_first_response_histogram_ms_bucket{model="llama",version="1",le="+Inf"} 3
# HELP trichord_engine_steps_total Steps.
# TYPE trichord_engine_steps_total counter
trichord_engine_steps_total 41
# HELP trichord_engine_kv_use Share.
# TYPE trichord_engine_kv_use gauge
trichord_engine_kv_use 0.25
"""

Answer = Callable[[BaseHTTPRequestHandler], None]


def says(text: str, status: int = 200) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        data = text.encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


@contextmanager
def fake_triton(answer: Answer) -> Iterator[str]:
    """The URL of a page that is answered so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, address: object) -> None:
            pass  # the reader left

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def registry() -> CollectorRegistry:
    """Of a front with a metric of its own."""
    registry = CollectorRegistry(auto_describe=True)
    Counter("ours", "Our own.", registry=registry).inc()
    return registry


def page_of(registry: CollectorRegistry, url: str) -> dict[str, float]:
    """What a scraper reads: samples by name, labels included."""
    with metrics_page.carried(url, registry):
        text = generate_latest(registry).decode()
        assert list(parse_openmetrics(openmetrics(registry).decode())), "it is OpenMetrics, too"
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_tritons_families_are_told_under_their_own_names(registry: CollectorRegistry) -> None:
    with fake_triton(says(PAGE)) as url:
        page = page_of(registry, url)
    assert page["trichord_triton_up"] == page["ours_total"] == 1
    assert page['nv_inference_request_success{model="llama",version="1"}'] == 7
    assert page['nv_inference_pending_request_count{model="llama",version="1"}'] == 2
    assert page["trichord_engine_steps_total"] == 41
    assert page["trichord_engine_kv_use"] == 0.25
    first_ms = "nv_inference_first_response_histogram_ms"
    assert page[f'{first_ms}_bucket{{le="100.0",model="llama",version="1"}}'] == 1
    assert page[f'{first_ms}_sum{{model="llama",version="1"}}'] == 600


def test_types_are_kept_where_both_formats_have_them() -> None:
    types = {family.name: family.type for family in metrics_page.parse(PAGE)}
    assert types == {
        "nv_inference_request_success": "unknown",
        "nv_inference_pending_request_count": "gauge",
        "nv_inference_queue_summary_us": "summary",
        "nv_inference_first_response_histogram_ms": "histogram",
        "trichord_engine_steps": "counter",
        "trichord_engine_kv_use": "gauge",
    }


def test_only_tritons_own_are_taken_and_each_once(registry: CollectorRegistry) -> None:
    foreign = "# TYPE ours_total counter\nours_total 99\n# TYPE process_open_fds gauge\nprocess_open_fds 5\n"
    again = '# TYPE nv_inference_request_success counter\nnv_inference_request_success{model="b"} 1\n'
    with fake_triton(says(PAGE + foreign + again)) as url:
        page = page_of(registry, url)
    assert page["ours_total"] == 1
    assert "process_open_fds" not in page
    assert [name for name in page if name.startswith("nv_inference_request_success")] == [
        'nv_inference_request_success{model="llama",version="1"}'
    ]


def hangs(handler: BaseHTTPRequestHandler) -> None:
    says(PAGE[:400])(handler)
    handler.connection.shutdown(socket.SHUT_RD)
    time.sleep(1.0)


def drips(handler: BaseHTTPRequestHandler) -> None:
    """A page that comes whole in the end: no single read takes long, but all together."""
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
    for _ in range(40):
        handler.wfile.write(b"x")
        time.sleep(0.02)
    handler.wfile.write(b"\r\n\r\n" + PAGE.encode())


def breaks_off(handler: BaseHTTPRequestHandler) -> None:
    """After a whole line: only the length that it told first shows it."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(PAGE)))
    handler.end_headers()
    handler.wfile.write(PAGE.partition("# HELP nv_inference_queue")[0].encode())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(says("nv_x{ 1"), id="no page of metrics"),
        pytest.param(says("nv_x " + "9" * 400), id="a number that no float holds"),
        pytest.param(says("# TYPE nv_x nonsense\nnv_x 1\n"), id="no type"),
        pytest.param(says(PAGE, status=503), id="not served"),
        pytest.param(says(PAGE + "# long\n" * (metrics_page.MAX_PAGE_BYTES // 6)), id="too long"),
        pytest.param(hangs, id="hanging"),
        pytest.param(drips, id="dripping"),
        pytest.param(breaks_off, id="broken off"),
        pytest.param(lambda handler: handler.wfile.write(b"\xff\xfe" * 9), id="no HTTP"),
        pytest.param(lambda handler: handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\nnv_x\xff 1\n"), id="no text"),
        pytest.param(lambda handler: None, id="nothing"),
    ],
)
def test_what_triton_does_wrong_leaves_our_own_page_whole(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr(metrics_page, "TIMEOUT_S", 0.2)
    with fake_triton(answer) as url:
        page = page_of(registry, url)
    assert page["trichord_triton_up"] == 0
    assert page["ours_total"] == 1
    assert not [name for name in page if name.startswith("nv_")]


def test_a_triton_that_is_away_is_down(registry: CollectorRegistry) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        page = page_of(registry, f"http://127.0.0.1:{nobody.getsockname()[1]}/metrics")
    assert page["trichord_triton_up"] == 0


def test_no_proxy_of_the_environment_is_asked(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with fake_triton(says(PAGE)) as url:
        assert page_of(registry, url)["trichord_triton_up"] == 1


def test_over_http_as_a_front_serves_it_in_both_formats(registry: CollectorRegistry) -> None:
    with fake_triton(says(PAGE)) as url, metrics_page.carried(url, registry):
        server, thread = start_http_server(0, "127.0.0.1", registry)
        try:
            address = f"http://127.0.0.1:{server.server_port}/metrics"
            with urllib.request.urlopen(address, timeout=10) as response:
                text = response.read().decode()
            accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
            with urllib.request.urlopen(urllib.request.Request(address, headers=accept), timeout=10) as response:
                open_text = response.read().decode()
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
    assert open_text.endswith("# EOF\n")
    assert not text.endswith("# EOF\n")
    line = '\nnv_inference_request_success{model="llama",version="1"} 7.0\n'
    assert line in text
    assert line in open_text
    assert {f.name for f in parse_text(text)} >= {"nv_inference_request_success", "trichord_triton_up", "ours"}
    assert {f.name for f in parse_openmetrics(open_text)} >= {"nv_inference_request_success", "trichord_triton_up"}


def test_without_a_url_nothing_is_carried_and_at_the_end_no_longer(registry: CollectorRegistry) -> None:
    with metrics_page.carried("", registry):
        assert b"triton" not in generate_latest(registry)
    with fake_triton(says(PAGE)) as url:
        assert "trichord_triton_up" in page_of(registry, url)
    assert b"triton" not in generate_latest(registry)


def test_starting_to_carry_asks_nothing(registry: CollectorRegistry) -> None:
    asked = []
    with fake_triton(asked.append) as url, metrics_page.carried(url, registry):
        assert asked == []


@given(st.lists(st.sampled_from([*PAGE.splitlines(), "nv_a 1", "{", "}", '"', "\\", "# TYPE", "nv_a{le="]), max_size=9))
def test_whatever_the_page_says_ours_can_be_told(lines: list[str]) -> None:
    class Said(metrics_page.TritonPage):
        pass

    registry = CollectorRegistry(auto_describe=True)
    registry.register(Said("http://unused"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics_page, "fetch", lambda url: "\n".join(lines).encode())
        assert b"trichord_triton_up" in generate_latest(registry)
        assert openmetrics(registry).endswith(b"# EOF\n")


def test_promtool_finds_nothing_wrong_but_tritons_own_names(registry: CollectorRegistry) -> None:
    with fake_triton(says(PAGE)) as url, metrics_page.carried(url, registry):
        text = generate_latest(registry)
    found = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    complaints = (found.stdout + found.stderr).decode().splitlines()
    assert [line for line in complaints if line and not line.startswith("nv_")] == []
