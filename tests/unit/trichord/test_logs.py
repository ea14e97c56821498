"""Log lines go to stderr, one JSON object each, from the configured level up; nothing they are told can forge or stop
one, and nothing of a request's content is in one."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pty
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from trichord import log_values
from trichord.log_sink import LOST, MAX_LINE_BYTES, LineSink
from trichord.logs import MAX_VALUE_CHARS, configure
from trichord.telemetry import request_line, spans

SECRET = "xyzzy"  # a caller's words


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = structlog.get_config()
    handlers, level = logging.root.handlers, logging.root.level
    hooks = threading.excepthook, sys.unraisablehook
    with warnings.catch_warnings():
        yield
    structlog.configure(**before)
    logging.root.handlers, threading.excepthook, sys.unraisablehook = handlers, *hooks
    logging.root.setLevel(level)


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    out, err = capfd.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_a_line_is_an_object_whose_first_fields_are_always_in_the_same_order(
    capfd: pytest.CaptureFixture[str], recorded_spans: object
) -> None:
    configure("gateway", "info")
    with request_line.begun(), spans.span("outer"):
        request_line.add(tokens=3, tenant="0123", request_id="req_1")
        structlog.get_logger().info("listening", port=1)
        trace_id = spans.current_trace_id()
    (line,) = lines(capfd)
    assert list(line) == [
        *("time", "level", "event", "service", "trace_id", "span_id", "request_id", "tenant"),
        "port",
    ]
    assert (line["event"], line["port"], line["level"], line["service"]) == ("listening", 1, "info", "gateway")
    assert (line["trace_id"], line["request_id"], line["tenant"]) == (trace_id, "req_1", "0123")
    assert str(line["time"]).endswith("Z")


def test_outside_of_a_request_a_line_names_none(capfd: pytest.CaptureFixture[str]) -> None:
    configure("gateway", "info")
    with request_line.begun():
        request_line.add(request_id="req_1")
    request_line.add(request_id="req_2")
    structlog.get_logger().info("listening")
    (line,) = lines(capfd)
    assert list(line) == ["time", "level", "event", "service"]


@pytest.mark.parametrize(("level", "heard"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_less_than_the_level_is_not_written(level: str, heard: int, capfd: pytest.CaptureFixture[str]) -> None:
    configure("gateway", level)
    log = structlog.get_logger()
    for severity in ("debug", "info", "warning", "error"):
        getattr(log, severity)("x")
    assert len(lines(capfd)) == heard


def failed() -> Exception:
    try:
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            raise KeyError(SECRET) from error
    except KeyError as error:
        return error


def test_of_an_exception_its_kind_and_place_are_told_and_never_its_message(capfd: pytest.CaptureFixture[str]) -> None:
    configure("gateway", "info")
    structlog.get_logger().error("unforeseen error", exc_info=failed())
    with contextlib.suppress(KeyError):
        try:
            raise failed()
        except KeyError:
            structlog.get_logger().exception("again")
    first, second = lines(capfd)
    told = str(first["exception"]).splitlines()
    assert [told[0], told[2]] == ["KeyError", "because of ValueError"]
    assert "test_logs.failed:" in told[1]
    assert str(second["exception"]).startswith("KeyError\n")
    assert SECRET not in json.dumps([first, second])


def test_a_group_of_exceptions_tells_their_kinds() -> None:
    told = log_values.exception(ExceptionGroup(SECRET, [ValueError(SECRET), OSError(SECRET)]))
    assert told.splitlines() == ["ExceptionGroup", "of ValueError, OSError"]


def test_libraries_are_heard_from_warning_up_without_what_they_say_of_a_request(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure("gateway", "debug")
    library = logging.getLogger("uvicorn.error")
    library.info("hello")
    library.warning("Refused %s\nmore", SECRET)
    try:
        raise failed()
    except KeyError:
        library.exception("Broken")
    library.log(55, ValueError(SECRET))
    first, second, third = lines(capfd)
    assert (first["event"], first["level"], first["logger"]) == ("Refused %s", "warning", "uvicorn.error")
    assert (second["event"], second["level"]) == ("Broken", "error")
    assert (third["event"], third["level"]) == ("ValueError", "critical")
    assert SECRET not in json.dumps([first, second])


def test_warnings_and_dying_threads_go_the_same_way(capfd: pytest.CaptureFixture[str]) -> None:
    configure("gateway", "info")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure("gateway", "info")
        warnings.warn(SECRET, stacklevel=1)
    thread = threading.Thread(target=lambda: {}[SECRET], name="worker")
    thread.start()
    thread.join()
    warned, died = lines(capfd)
    assert (warned["category"], str(warned["place"]).split(":")[0]) == ("UserWarning", "test_logs.py")
    assert (died["thread"], str(died["exception"]).split("\n")[0]) == ("worker", "KeyError")


@given(st.text(), st.text())
def test_no_text_can_forge_a_line_or_move_the_cursor(event: str, value: str) -> None:
    line = log_values.to_json({"event": log_values.plain(event, 100), "x": log_values.plain(value, 100)})
    assert line.isascii()
    assert line.isprintable()
    assert all(str(told).isprintable() for told in json.loads(line).values())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(object()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
)


@given(values)
def test_whatever_is_logged_fits_json(value: object) -> None:
    plain = log_values.plain(value, 20)
    assert json.loads(log_values.to_json({"x": plain})) == {"x": plain}


def test_values_are_cut_in_their_middle() -> None:
    assert log_values.plain("a" * 30 + "b" * 30, 20) == "a" * 10 + "..." + "b" * 10
    assert log_values.plain(1 << 70, 20) == "large"
    assert log_values.plain([[[["deep"]]]], 20) == [[["list"]]]


def test_a_line_fits_into_one_write(capfd: pytest.CaptureFixture[str]) -> None:
    configure("gateway", "info")
    log = structlog.get_logger()
    log.info("x" * 10_000)
    log.info("many", **{f"name{i}": "\u20ac" * 10_000 for i in range(8)})
    log.info("more", **{f"name{i}": "\u20ac" * 10_000 for i in range(80)})
    out = capfd.readouterr().err.splitlines()
    assert [len(line) < MAX_LINE_BYTES for line in out] == [True] * 3
    assert len(json.loads(out[0])["event"]) == MAX_VALUE_CHARS[0] + 3
    assert [json.loads(line).get("cut") for line in out] == [None, None, True]


def test_a_full_pipe_loses_lines_and_holds_up_nobody() -> None:
    reader, writer = os.pipe()
    sink, lost = LineSink(writer), LOST._value.get()
    try:
        for _ in range(100):
            sink.write("x" * (MAX_LINE_BYTES - 1))
        num_lost = LOST._value.get() - lost
        assert 0 < num_lost < 100
        data = os.read(reader, 1 << 20)
        assert len(data) == (100 - num_lost) * MAX_LINE_BYTES, "whole lines alone"
        sink.write("again")
        assert os.read(reader, 100) == b"again\n"
    finally:
        os.close(reader)
        os.close(writer)


def test_where_nobody_reads_or_nothing_is_open_a_line_is_lost() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    lost = LOST._value.get()
    try:
        LineSink(writer).write("to nobody")
        LineSink(-1).write("to nowhere")
    finally:
        os.close(writer)
    assert LOST._value.get() - lost == 2


SCRIPT = """
import structlog
from trichord.logs import configure
configure("gateway", "info")
try:
    {}["xyzzy"]
except KeyError as error:
    structlog.get_logger().error("unforeseen", exc_info=error, name="a\\x1b[31m\\nforged")
print("alive")
"""


def test_a_process_without_stderr_lives() -> None:

    shell = ["/bin/sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, SCRIPT]
    done = subprocess.run(shell, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert done.stdout == "alive\n"


def on_a_terminal(**env: str) -> str:
    """What the script writes to a terminal."""
    main, terminal = pty.openpty()
    try:
        argv = [sys.executable, "-c", SCRIPT]
        subprocess.run(
            argv, stderr=terminal, stdout=subprocess.DEVNULL, timeout=60, check=True, env={**os.environ, **env}
        )
    finally:
        os.close(terminal)
    text = b""
    with contextlib.suppress(OSError), os.fdopen(main, "rb", buffering=0) as file:
        while chunk := file.read(4096):
            text += chunk
    return text.decode()


def test_a_person_gets_coloured_lines_to_read() -> None:
    text = on_a_terminal(NO_COLOR="")
    assert "\x1b[" in text
    assert "unforeseen" in text
    assert "KeyError" in text
    assert not text.lstrip().startswith("{")
    assert "xyzzy" not in text
    assert r"a\x1b[31m\nforged" in text


def test_colours_can_be_turned_off() -> None:
    text = on_a_terminal(NO_COLOR="1")
    assert "\x1b" not in text
    assert "unforeseen" in text
