"""The bench of admission, but for its clock."""

from bench.admission import LANES, NUM_BURST, ONE_QUEUE, PREFILL_S, Waits, ratios, table


def test_ratios_are_of_the_time_to_first_token():
    calm, prefill_ms = Waits(1.0, 0.0, 10.0), PREFILL_S * 1e3
    figures = {(way.name, 0): calm for way in (LANES, ONE_QUEUE)}
    figures[LANES.name, NUM_BURST] = calm
    figures[ONE_QUEUE.name, NUM_BURST] = Waits(500.0, 2 * prefill_ms, 10.0)
    assert ratios(figures) == {
        "text_first_token_p50_lanes": 1.0,
        "text_first_token_p99_lanes": 1.0,
        "text_first_token_p50_one_queue": 3.0,
        "text_first_token_p99_one_queue": 1.0,
    }
    assert "| one queue | 200 | 500.0 | 60.0 | 10.0 |" in table(figures).splitlines()
