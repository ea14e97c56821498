"""Logs: one structlog line an event on stderr, JSON unless a person watches. Nothing of a request's content is in one.

A line begins with ``time, level, event, service``, then ``trace_id, span_id, request_id, tenant`` (a digest) where it
is about a request, then what the event has to say. Libraries' loggers go the same way from warning up, without the
arguments of their messages: those may hold a caller's words, as may an exception's message.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from opentelemetry import trace

from trichord import log_values
from trichord.log_sink import MAX_LINE_BYTES, LineSink
from trichord.telemetry import request_line

STDERR = 2
FIRST = ("time", "level", "event", "service", "trace_id", "span_id", "request_id", "tenant")
MAX_VALUE_CHARS = (1500, 300, 60)
"""How long a value may be; a line that is still too long takes the next."""

Line = MutableMapping[str, Any]

_SEVERITIES = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


def configure(service: str, level: str) -> None:
    """Sets up logging of this process, which is ``service``, from ``level`` (debug, info, warning, error) up.

    Colours on a terminal, unless ``NO_COLOR`` is set (https://no-color.org).
    """
    structlog.configure(
        processors=[
            _of_request,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _Named(service),
            _exception,
            _for_people() if os.isatty(STDERR) else _json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=LineSink(STDERR if sys.stderr else -1),  # a closed one may be a socket by now
    )
    _take_over()


class _Named:
    """Adds the service's name."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _: object, method: str, line: Line) -> Line:
        line["service"] = self._service
        return line


def _of_request(_: object, method: str, line: Line) -> Line:
    """Adds what ties a line to its request."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        line.setdefault("trace_id", trace.format_trace_id(context.trace_id))
        line.setdefault("span_id", trace.format_span_id(context.span_id))
    return {**request_line.identity(), **line}


def _exception(_: object, method: str, line: Line) -> Line:
    """Replaces ``exc_info`` by what may be told of the exception."""
    match line.pop("exc_info", None):
        case BaseException() as error:
            line["exception"] = log_values.exception(error)
        case (_, BaseException() as error, _):
            line["exception"] = log_values.exception(error)
        case True if current := sys.exc_info()[1]:
            line["exception"] = log_values.exception(current)
    return line


def _json(_: object, method: str, line: Line) -> str:
    """One line of at most ``MAX_LINE_BYTES``, its end included."""
    for max_chars in MAX_VALUE_CHARS:
        text = log_values.to_json(_ordered(line, max_chars))
        if len(text) < MAX_LINE_BYTES:
            return text
    return log_values.to_json({name: line[name] for name in FIRST[:4]} | {"cut": True})


def _for_people() -> structlog.typing.Processor:
    render = structlog.dev.ConsoleRenderer(
        colors=not os.environ.get("NO_COLOR"),
        sort_keys=False,
        timestamp_key="time",
        exception_formatter=structlog.dev.plain_traceback,
    )

    def rendered(logger: Any, method: str, line: Line) -> str:
        return str(render(logger, method, _ordered(line, MAX_VALUE_CHARS[0])))

    return rendered


def _ordered(line: Line, max_chars: int) -> dict[str, Any]:
    names = [name for name in FIRST if name in line]
    names += [name for name in line if name not in FIRST]
    return {name: log_values.plain(line[name], max_chars, keep_lines=name == "exception") for name in names}


class _Libraries(logging.Handler):
    """Takes in what libraries log by the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        """Logs the first line of a record's message, as its library wrote it down: no arguments are put into it."""
        text = record.msg.strip().partition("\n")[0] if isinstance(record.msg, str) else type(record.msg).__name__
        severity = next((severity for severity in _SEVERITIES if severity <= record.levelno), logging.DEBUG)
        log = structlog.get_logger()
        log.log(severity, text, logger=record.name, exc_info=record.exc_info)


def _take_over() -> None:
    """Has everything that Python and libraries would print by themselves go through the same lines."""
    logging.root.handlers = [_Libraries(logging.WARNING)]
    logging.root.setLevel(logging.WARNING)
    warnings.showwarning = _warned
    threading.excepthook = _thread_died
    sys.unraisablehook = _not_raised


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    place = f"{os.path.basename(filename)}:{lineno}"
    structlog.get_logger().warning("a library warns", category=category.__name__, place=place)


def _thread_died(died: threading.ExceptHookArgs) -> None:
    name = died.thread.name if died.thread else ""
    structlog.get_logger().error("a thread died", thread=name, exc_info=died.exc_value)


def _not_raised(unraisable: Any) -> None:
    structlog.get_logger().error("an error that could not be raised", exc_info=unraisable.exc_value)
