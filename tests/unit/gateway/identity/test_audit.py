"""The audit log: whole lines, only appended, bounded."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest
import structlog

from gateway.identity.audit import BURST_LINES, LINES_PER_S, MAX_CHARS, AuditLog, digest
from tests.unit.gateway.identity.keys import lines


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def test_a_line_says_who_did_what(audit: Path) -> None:
    AuditLog(audit).record("call", "/x/Y", "OK", actor="k1", tenant="acme", request_id="r")
    (line,) = lines(audit)
    timestamp = line.pop("timestamp")
    assert timestamp.endswith("Z")
    assert line == {
        "event": "call",
        "logger": "audit",
        "actor": "k1",
        "tenant": digest("acme"),
        "object": "/x/Y",
        "result": "OK",
        "request_id": "r",
    }
    assert digest("acme") != digest("acmf")
    assert stat.S_IMODE(audit.stat().st_mode) == 0o600


def test_lines_are_only_appended_also_after_the_file_was_moved(audit: Path) -> None:
    log = AuditLog(audit)
    log.record("one", "", "OK")
    audit.rename(audit.with_suffix(".1"))
    log.record("two", "", "OK")
    AuditLog(audit).record("three", "", "OK")
    assert [line["event"] for line in lines(audit.with_suffix(".1"))] == ["one"]
    assert [line["event"] for line in lines(audit)] == ["two", "three"]


def test_lines_of_several_writers_are_whole(audit: Path) -> None:
    def write(actor: str) -> None:
        log = AuditLog(audit)
        for _ in range(100):
            log.record("call", "x" * MAX_CHARS, "OK", actor=actor)

    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line["actor"] for line in lines(audit)) == sorted("0123" * 100)


def test_a_stranger_makes_no_line_of_his_own_and_no_long_one(audit: Path) -> None:
    AuditLog(audit).refused("call", '/x\n{"actor":"admin"}' + "y" * 10_000, "UNAUTHENTICATED")
    (line,) = lines(audit)
    assert line["object"].startswith('/x\n{"actor"')
    assert len(line["object"]) == MAX_CHARS


def test_refusals_are_written_at_a_bounded_rate_and_counted(audit: Path) -> None:
    clock = Clock()
    log = AuditLog(audit, clock)
    for _ in range(BURST_LINES + 500):
        log.refused("call", "x", "UNAUTHENTICATED")
    assert len(lines(audit)) == BURST_LINES
    log.record("key revoke", "k", "OK")  # what operators do is always written
    assert len(lines(audit)) == BURST_LINES + 1
    clock.s += 3 / LINES_PER_S
    for _ in range(10):
        log.refused("call", "x", "UNAUTHENTICATED")
    assert [line["unwritten_before"] for line in lines(audit)[-3:]] == [500, 0, 0]
    clock.s += 3600
    for _ in range(BURST_LINES + 1):
        log.refused("call", "x", "UNAUTHENTICATED")
    assert len(lines(audit)) == BURST_LINES + 4 + BURST_LINES


def test_without_a_file_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    AuditLog(None).record("call", "x", "OK", actor="k")
    out, err = capsys.readouterr()
    assert (out, json.loads(err)["actor"]) == ("", "k")


def test_a_line_that_cannot_be_written_is_in_the_ordinary_log(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        AuditLog(tmp_path / "nowhere" / "audit").record("call", "x", "OK", actor="k")
    assert [(line["log_level"], line["actor"], line["unwritten"]) for line in logs] == [
        ("error", "k", "No such file or directory")
    ]
