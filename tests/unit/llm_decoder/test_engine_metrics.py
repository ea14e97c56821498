"""The engine's figures: what a real engine's gauges add up to, and how they reach Triton's page."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from llm_decoder import metrics
from llm_decoder.block_manager import BlockManager
from llm_decoder.gauges import Gauges, Reading, Totals
from llm_decoder.metrics import COUNTERS, GAUGES, EngineMetrics
from llm_decoder.scheduler import Limits, Scheduler
from tests.fakes import CollectingSink, request
from tests.unit.llm_decoder.test_engine import BLOCK, engine_of, wait


class FakeMetric:
    """One of Triton's; it counts how often it was told."""

    def __init__(self, kind: str) -> None:
        self.kind, self.value, self.num_calls = kind, 0.0, 0
        self.told = threading.Event()

    def set(self, value: float) -> None:
        assert self.kind == "GAUGE", "Triton sets no counter"
        self._tell(value)

    def increment(self, value: float) -> None:
        assert value > 0, "counters grow"
        self._tell(self.value + value)

    def _tell(self, value: float) -> None:
        self.value, self.num_calls = value, self.num_calls + 1
        self.told.set()


class FakeBackend:
    """Of triton_python_backend_utils, what metrics need."""

    def __init__(self) -> None:
        self.metrics = metrics_by_name = {}

        class MetricFamily:
            GAUGE, COUNTER = "GAUGE", "COUNTER"

            def __init__(self, name: str, description: str, kind: str) -> None:
                assert description.endswith(".")
                self._metric = metrics_by_name.setdefault(name, FakeMetric(kind))

            def Metric(self, labels: dict[str, str]) -> FakeMetric:
                return self._metric

        self.MetricFamily = MetricFamily


@pytest.fixture
def engine() -> Iterator[Any]:
    engine = engine_of(num_blocks=12, max_running=3)
    yield engine
    engine.close()


def run(engine: Any, *prompts: range, max_tokens: int) -> None:
    sinks = [CollectingSink() for _ in prompts]
    for prompt, sink in zip(prompts, sinks, strict=True):
        engine.submit(request(list(prompt), sink, max_tokens=max_tokens))
    wait(sinks)
    assert [sink.failure for sink in sinks] == [None] * len(sinks)


def test_steps_and_tokens_add_up(engine: Any) -> None:
    run(engine, range(1, 18), max_tokens=5)
    totals = engine.gauges.totals
    # 17 tokens by 8 a step: 8, 8, and the one that is left, which yields the first; then four more.
    assert (totals.steps, totals.prompt_tokens, totals.output_tokens) == (7, 16, 5)
    assert totals.step_seconds > 0
    assert (totals.cached_tokens, totals.preemptions) == (0, 0)


def test_a_known_prefix_is_counted_as_cached(engine: Any) -> None:
    run(engine, range(1, 18), max_tokens=2)
    run(engine, range(1, 18), max_tokens=2)
    assert engine.gauges.totals.cached_tokens == 4 * BLOCK


def test_preemptions_are_counted(engine: Any) -> None:
    run(engine, range(1, 10), range(20, 30), range(40, 50), max_tokens=24)
    assert engine.gauges.totals.preemptions > 0
    assert engine.gauges.totals.output_tokens == 3 * 24


def test_totals_outlast_idleness() -> None:
    gauges, scheduler = Gauges(), Scheduler(BlockManager(8, BLOCK), Limits(max_running=1, max_waiting=1, step_tokens=8))
    scheduler.add(request([1, 2, 3]))
    gauges.step(scheduler, scheduler.schedule(0.0), num_sampled=1, seconds=0.5)
    gauges.idle()
    assert gauges.reading == Reading()
    assert gauges.totals == Totals(steps=1, step_seconds=0.5, prompt_tokens=3, output_tokens=1)


def test_a_sequence_whose_reader_is_behind_is_told_of(engine: Any) -> None:
    class BehindAfterThree(CollectingSink):
        has_caught_up = False

        def is_full(self) -> bool:
            return len(self.token_ids) >= 3 and not self.has_caught_up

    sink = BehindAfterThree()
    engine.submit(request([1, 2, 3], sink, max_tokens=9))
    deadline = time.monotonic() + 30
    while engine.gauges.reading.num_resting == 0:
        assert time.monotonic() < deadline, "it never rested"
        time.sleep(0.001)
    reading = engine.gauges.reading
    assert (reading.num_running, reading.num_resting, reading.batch_size, reading.step_tokens) == (1, 1, 0, 0)
    sink.has_caught_up = True
    wait([sink])


def test_triton_is_told_what_changed_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "INTERVAL_S", 0.01)
    backend, gauges = FakeBackend(), Gauges()
    publishing = EngineMetrics(backend, gauges)
    told = backend.metrics
    gauges.totals = Totals(steps=3, output_tokens=5)
    assert told["trichord_engine_steps_total"].told.wait(30)
    gauges.reading = Reading(num_running=2)
    assert told["trichord_engine_num_running"].told.wait(30)
    told["trichord_engine_steps_total"].told.clear()
    gauges.totals = Totals(steps=7, output_tokens=5)
    assert told["trichord_engine_steps_total"].told.wait(30)
    publishing.close()
    assert {name: metric.value for name, metric in told.items() if metric.num_calls} == {
        "trichord_engine_steps_total": 7,
        "trichord_engine_output_tokens_total": 5,
        "trichord_engine_num_running": 2,
    }
    assert [told[f"trichord_engine_{name}"].num_calls for name in ("steps_total", "output_tokens_total")] == [2, 1]


def test_every_figure_has_its_meaning() -> None:
    assert list(GAUGES) == list(Reading._fields)
    assert list(COUNTERS) == list(Totals._fields)
