"""Log lines go to stderr, one JSON object each, from the configured level up."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator

import pytest
import structlog

from trichord.logs import configure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_a_line_is_an_object_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    structlog.get_logger().info("listening", port=1)
    out, err = capsys.readouterr()
    assert out == ""
    line = json.loads(err)
    assert (line["event"], line["port"], line["level"]) == ("listening", 1, "info")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize(("level", "heard"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_less_than_the_level_is_not_written(level: str, heard: int, capsys: pytest.CaptureFixture[str]) -> None:
    configure(level)
    log = structlog.get_logger()
    for severity in ("debug", "info", "warning", "error"):
        getattr(log, severity)("x")
    assert len(capsys.readouterr().err.splitlines()) == heard


def failed() -> ValueError:
    try:
        raise ValueError("broken")
    except ValueError as error:
        return error


def test_a_traceback_is_part_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    structlog.get_logger().error("unforeseen error", exc_info=failed())
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: broken" in json.loads(line)["exception"]


def test_a_person_gets_lines_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure("info")
    structlog.get_logger().error("unforeseen error", exc_info=failed())
    assert "unforeseen error" in terminal.getvalue()
    assert "ValueError" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
