from __future__ import annotations

import pytest

from llm_decoder import stopwatch as module
from llm_decoder.engine_client import EngineOutput
from llm_decoder.stopwatch import Stopwatch
from llm_decoder.timings import Timings


def test_stages_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    # Made, tokenized, then one reading for each output.
    seconds = iter([10.0, 10.002, 10.01, 10.1, 10.15, 10.2, 10.3])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(seconds))
    stopwatch = Stopwatch()
    stopwatch.tokenized()
    early = Timings(5, 6, 7, 8, 32, 0)
    for token_ids, timings in (([], None), ([1], early), ([2, 3], None), ([4], None)):
        stopwatch.took(EngineOutput(token_ids, None, timings))
    stopwatch.took(EngineOutput([9], None, None, sample=1))
    told = stopwatch.timings
    assert told.tokenize_ms == pytest.approx(2)
    assert told.first_token_ms == pytest.approx(100)
    assert told.decode_ms == pytest.approx(100)
    assert told.inter_token_p50_ms == pytest.approx(50)
    assert told.inter_token_p99_ms == pytest.approx(50)
    assert (told.queue_ms, told.prefill_ms) == (5, 6)
    assert stopwatch.num_cached_tokens == 32
