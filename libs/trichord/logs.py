"""Logs: structlog lines on stderr, JSON unless a person watches. Nothing of a request's content is ever logged."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(level: str) -> None:
    """Sets up logging of this process from ``level`` (debug, info, warning, error) up."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
