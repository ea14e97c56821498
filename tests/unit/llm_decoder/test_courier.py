"""Errands run in order, on another thread, all of them before the end, whatever becomes of one."""

from __future__ import annotations

import threading

from llm_decoder import courier as courier_module
from llm_decoder.courier import Courier


def test_errands_run_in_order_and_before_the_end():
    courier, ran = Courier(), []
    for number in range(1000):
        courier.send(lambda number=number: ran.append((number, threading.current_thread().name)))
    courier.close()
    assert ran == [(number, "courier") for number in range(1000)]


def test_who_sends_does_not_wait():
    courier, may_go_on, ran = Courier(), threading.Event(), []
    courier.send(may_go_on.wait)
    courier.send(lambda: ran.append(1))
    assert ran == []
    may_go_on.set()
    courier.close()
    assert ran == [1]


def test_an_errand_that_fails_is_logged_and_the_next_runs(caplog):
    courier, ran = Courier(), []
    courier.send(lambda: 1 / 0)
    courier.send(lambda: ran.append(1))
    courier.close()
    assert ran == [1]
    assert "a response was not delivered" in caplog.text


def test_errands_after_a_silence_run_at_once_and_those_in_a_hurry_let_the_sender_go_first(monkeypatch):
    rests = []
    monkeypatch.setattr(courier_module.time, "sleep", rests.append)
    monkeypatch.setattr(courier_module, "SILENCE_S", 3600.0)
    courier = courier_module.Courier()
    courier.send(int)
    courier.close()
    assert rests
    assert set(rests) == {courier_module.LINGER_S}
    rests.clear()
    monkeypatch.setattr(courier_module, "SILENCE_S", 0.0)
    courier = courier_module.Courier()
    courier.send(int)
    courier.close()
    assert not rests
