from __future__ import annotations

import pytest

from llm_decoder import stopwatch as module
from llm_decoder.engine_client import EngineOutput, EngineTimings
from llm_decoder.stopwatch import Stopwatch


def test_stages_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([10.0, 10.002, 10.1, 10.15, 10.3])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(seconds))
    stopwatch = Stopwatch()
    stopwatch.tokenized()
    stopwatch.took(EngineOutput([], None, None))
    for token_ids, timings in (([1], None), ([2, 3], None), ([4], EngineTimings(5, 6, 7, 8, 0, 0))):
        stopwatch.took(EngineOutput(token_ids, None, timings))
    told = stopwatch.timings
    assert told.tokenize_ms == pytest.approx(2)
    assert told.first_token_ms == pytest.approx(100)
    assert told.decode_ms == pytest.approx(200)
    assert (told.queue_ms, told.prefill_ms) == (5, 6)
