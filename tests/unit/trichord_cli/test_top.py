"""Rates out of two looks at pages of metrics: true for what counters did, whatever pages come and go."""

from __future__ import annotations

import itertools
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from rich.console import Console
from typer.testing import CliRunner

from trichord.errors import RequestError
from trichord_cli.main import app
from trichord_cli.metrics_page import PREFIXES, Change, increase, parse
from trichord_cli.top_rates import rates
from trichord_cli.top_view import view

REQUESTS, TTFT = "trichord_requests", "gen_ai_server_time_to_first_token_seconds"
BOUNDS = (0.1, 0.25, 0.5, 1.0)


class Gateway:
    """A process with a page like the gateway's."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = {"registry": self.registry}
        self.requests = Counter(REQUESTS, "x", ["face", "outcome", "modalities"], **own)
        self.ttft = Histogram(TTFT, "x", ["gen_ai_operation_name", "modalities"], buckets=BOUNDS, **own)
        self.tokens = Counter("trichord_tokens", "x", ["direction", "modality"], **own)
        self.cached = Counter("trichord_cached_tokens", "x", **own)
        self.tiles = Counter("trichord_image_tiles", "x", ["source"], **own)
        self.running = Gauge("trichord_engine_num_running", "x", **own)
        self.kv_use = Gauge("trichord_engine_kv_use", "x", **own)
        self.replicas = Gauge("trichord_replicas", "x", ["service", "state"], **own)
        self.left = Gauge("trichord_jobs_pending_items", "x", ["priority"], **own)
        self.workers = Gauge("trichord_jobs_workers", "x", **own)
        self.ended = Counter("trichord_jobs_items_ended", "x", ["state"], **own)
        Gauge("other_metric", "x", **own).set(1)

    def page(self) -> str:
        return generate_latest(self.registry).decode()


def between(before: str | None, after: str, seconds: float = 2.0) -> Change:
    return Change.between({"a": parse(before)} if before is not None else {}, {"a": parse(after)}, seconds)


def test_a_cluster_at_work_shows_its_rates() -> None:
    gateway = Gateway()
    gateway.requests.labels("grpc", "ok", "text").inc(5)
    before = gateway.page()
    gateway.requests.labels("grpc", "ok", "text").inc(4)
    gateway.requests.labels("http", "ok", "text").inc(2)
    gateway.requests.labels("http", "shed", "text+image").inc(1)
    for seconds in (0.05, 0.3, 0.3, 0.9):
        gateway.ttft.labels("chat", "text").observe(seconds)
    gateway.tokens.labels("input", "text").inc(100)
    gateway.tokens.labels("input", "image").inc(60)
    gateway.tokens.labels("output", "text").inc(50)
    gateway.cached.inc(40)
    gateway.tiles.labels("encoded").inc(3)
    gateway.tiles.labels("store").inc(9)
    gateway.running.set(7)
    gateway.kv_use.set(0.25)
    gateway.replicas.labels("llm-decoder", "usable").set(1)
    gateway.replicas.labels("llm-decoder", "ejected").set(1)
    told = rates(between(before, gateway.page()))
    text, with_image = told.requests
    assert (text.modalities, text.per_s["ok"], text.per_s["failed"]) == ("text", 3.0, 0.0)
    assert (with_image.modalities, with_image.per_s["shed"], with_image.ttft_p50_s) == ("text+image", 0.5, None)
    assert text.ttft_p50_s == pytest.approx(0.25 + 0.25 / 2), "half of the four are through half of the third bucket"
    assert text.ttft_p95_s == pytest.approx(0.5 + 0.5 * 0.8)
    words, image, audio = told.work
    assert (words.input_tokens_per_s, words.output_tokens_per_s) == (50.0, 25.0)
    assert (image.units_per_s, image.reused, image.input_tokens_per_s) == (6.0, 0.75, 30.0)
    assert (audio.units_per_s, audio.reused, audio.queue_p95_s) == (0.0, None, None)
    assert (told.engine.running, told.engine.kv_use, told.engine.prefix_reused) == (7.0, 0.25, 0.25)
    assert told.replicas == [("llm-decoder", 1.0, 2.0)]
    assert json.loads(json.dumps(told.as_dict(), allow_nan=False))["requests"][0]["per_s"]["ok"] == 3.0


def test_people_see_the_same() -> None:
    gateway = Gateway()
    before = gateway.page()
    gateway.requests.labels("grpc", "ok", "text").inc(300)
    gateway.ttft.labels("chat", "text").observe(0.2)
    gateway.replicas.labels("llm-decoder", "usable").set(1)
    console = Console(width=140, no_color=True)
    with console.capture() as shown:
        console.print(view(rates(between(before, gateway.page())), ["vision-encoder"]))
    text = shown.get()
    for word in ("150", "text", "1/1", "175 ms", "no answer from vision-encoder"):
        assert word in text


def test_a_page_that_is_new_tells_no_rates_and_its_gauges() -> None:
    gateway = Gateway()
    gateway.requests.labels("grpc", "ok", "text").inc(1000)
    gateway.ttft.labels("chat", "text").observe(0.2)
    gateway.running.set(3)
    told = rates(between(None, gateway.page()))
    assert (told.requests[0].per_s["ok"], told.requests[0].ttft_p50_s, told.engine.running) == (0.0, None, 3.0)


def test_jobs_are_told_where_there_are_some() -> None:
    gateway = Gateway()
    gateway.left.labels("normal").set(0)
    assert rates(between("", gateway.page())).jobs is None
    before = gateway.page()
    gateway.left.labels("normal").set(900)
    gateway.left.labels("low").set(100)
    gateway.workers.set(2)
    gateway.ended.labels("completed").inc(50)
    gateway.ended.labels("failed").inc(3)
    told = rates(between(before, gateway.page()))
    assert told.jobs
    assert (told.jobs.left, told.jobs.workers, told.jobs.completed_per_s, told.jobs.failed_per_s) == (1000, 2, 25, 1.5)
    assert told.as_dict()["jobs"]["left"] == 1000
    console = Console(width=140, no_color=True)
    with console.capture() as shown:
        console.print(view(told))
    assert "answered/s" in shown.get()


def test_an_empty_page_is_a_quiet_cluster() -> None:
    told = rates(between("", ""))
    assert (told.requests, told.replicas, told.engine.kv_use) == ([], [], None)
    assert [row.input_tokens_per_s for row in told.work] == [0.0] * 3


counts = st.integers(0, 10**9)


@given(st.lists(counts, min_size=2, max_size=8), st.floats(0.1, 100))
def test_a_restarted_counter_counts_from_nothing(values: list[int], seconds: float) -> None:
    """Against a counter that is asked one by one: what went back is a new life."""
    expected = sum(now if now < then else now - then for then, now in itertools.pairwise(values))
    pages = [f'trichord_requests_total{{outcome="ok"}} {value}\n' for value in values]
    changes = [between(then, now, seconds) for then, now in itertools.pairwise(pages)]
    grown = sum(change.rate("trichord_requests_total", outcome="ok") * seconds for change in changes)
    assert grown == pytest.approx(expected)


@given(st.floats() | st.none(), st.floats())
def test_no_number_makes_a_rate_negative_or_endless(before: float | None, after: float) -> None:
    assert 0 <= increase(before, after) < math.inf or abs(after) > 1e307


observed = st.lists(st.floats(0, 5), max_size=60)


@given(observed, observed, st.sampled_from([0.5, 0.95, 1.0]), st.booleans())
def test_a_quantile_is_in_the_bucket_of_the_true_one(
    past: list[float], recent: list[float], share: float, restarts: bool
) -> None:
    gateway = Gateway()
    for value in past:
        gateway.ttft.labels("chat", "text").observe(value)
    before = gateway.page()
    is_seen = not restarts or len(recent) < len(past) or not past  # else a restart cannot be seen
    if restarts:
        gateway = Gateway()
    for value in recent:
        gateway.ttft.labels("chat", "text").observe(value)
    told = between(before, gateway.page()).quantile(TTFT, share, modalities="text")
    if not recent:
        assert told is None
    elif is_seen:
        true = sorted(recent)[max(0, math.ceil(share * len(recent)) - 1)]
        lower = max((bound for bound in (0.0, *BOUNDS) if bound < true), default=0.0)
        upper = min((bound for bound in BOUNDS if bound >= true), default=BOUNDS[-1])
        assert lower <= told <= upper


lines = st.text() | st.builds(lambda prefix, rest: prefix + rest, st.sampled_from(PREFIXES), st.text())


@given(st.lists(lines))
def test_any_text_is_a_page_or_refused(texts: list[str]) -> None:
    try:
        page = parse("\n".join(texts))
    except RequestError:
        return
    told = rates(Change.between({"a": page}, {"a": page}, 1.0))
    assert all(row.input_tokens_per_s == 0 for row in told.work)


def test_numbers_that_are_none_count_as_nothing() -> None:
    page = 'trichord_tokens_total{direction="input",modality="text"} %s\ntrichord_engine_kv_use %s\n'
    told = rates(between(page % (1, 0.5), page % ("NaN", "NaN")))
    assert (told.work[0].input_tokens_per_s, told.engine.kv_use) == (0.0, None)
    told = rates(between(page % ("NaN", "NaN"), page % (7, "+Inf")))
    assert (told.work[0].input_tokens_per_s, told.engine.kv_use) == (0.0, None)


@pytest.fixture
def busy_page() -> Iterator[str]:
    """The URL of a page whose counter grows with each look."""
    gateway = Gateway()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            gateway.requests.labels("grpc", "ok", "text").inc(10)
            body = gateway.page().encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()
        thread.join()


def test_the_command_looks_twice_and_tells(busy_page: str) -> None:
    arguments = ["top", "--once", "--interval", "0.2", "--url", busy_page, "--url", "http://127.0.0.1:9/metrics"]
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert told["requests"][0]["per_s"]["ok"] > 0
    assert told["silent"] == ["http://127.0.0.1:9/metrics"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    assert "chats a second" in shown.stdout


def test_nobody_there_is_one_sentence() -> None:
    result = CliRunner().invoke(app, ["top", "--once", "--url", "http://127.0.0.1:9/metrics"])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "No page of metrics answers" in result.stderr


def test_a_restarted_histogram_counts_all_that_is_in_it() -> None:
    old, new = Gateway(), Gateway()
    for value in (*[0.05] * 5, *[3.0] * 15):
        old.ttft.labels("chat", "text").observe(value)
    for value in (*[0.05] * 8, *[3.0] * 2):
        new.ttft.labels("chat", "text").observe(value)
    assert between(old.page(), new.page()).quantile(TTFT, 0.5) == pytest.approx(0.1 * 5 / 8)
