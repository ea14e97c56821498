"""Errands run in order, on another thread, all of them before the end, whatever becomes of one."""

from __future__ import annotations

import threading

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
