"""Traces in a terminal."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console
from typer.testing import CliRunner

from local_cluster.process_id import ProcessId
from local_cluster.state import ClusterState, ProcessState, RunDirectory
from local_cluster.topology import ClusterSpec
from local_cluster.traces import told
from tests.unit.local_cluster.traces.traces_lab import REQUEST_ID, TRACE_ID, chat_trace, filled, span
from trichord_cli import trace, trace_view
from trichord_cli.main import app


def whole(spans: Any) -> dict[str, Any]:
    return told.whole(filled(spans).find(TRACE_ID)[0])


def drawn(view: Any, width: int = 120, styled: bool = False) -> str:
    console = Console(width=width, force_terminal=styled, color_system="truecolor" if styled else None)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def test_a_waterfall_has_a_line_for_each_span_indented_and_in_order() -> None:
    lines = drawn(trace_view.waterfall(whole(chat_trace()), 120)).splitlines()
    assert lines[0] == "OmniService/Chat  1.24 s in all, 305 ms to the first token  well"
    rows = [line for line in lines[3:] if line.strip()]
    assert len(rows) == 25
    assert rows[0].startswith("OmniService/Chat ")
    assert rows[2].startswith("    admit ")
    assert [row.split()[-1] for row in rows[:4]] == ["gateway"] * 4
    assert rows[-1].split() == ["decode", "933", "ms", rows[-1].split()[3], "llm-decoder-model"]


def test_bars_stand_where_the_work_was_and_the_first_token_is_marked() -> None:
    rows = [line for line in drawn(trace_view.waterfall(whole(chat_trace()), 120)).splitlines()[3:] if line.strip()]
    at = {row.split("  ")[0].strip() or row.strip().split("  ")[0]: row for row in rows}
    prefill, decode = at["prefill"], at["decode"]
    assert prefill.index("█") < prefill.rindex("█") <= decode.index("█") + 1 < decode.rindex("█")
    assert abs(at["merge"].index("┊") - decode.index("█")) <= 1
    assert max(row.rindex("█") for row in rows) == rows[0].rindex("█")


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_a_line_is_no_wider_than_the_terminal_where_that_is_wide_enough_to_read(width: int) -> None:
    lines = drawn(trace_view.waterfall(whole(chat_trace()), width), width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert sum("█" in line for line in lines) == 25


def test_errors_are_red_where_they_passed_and_named_where_they_began() -> None:
    failed = whole(chat_trace(error="INVALID_MEDIA"))
    plain = drawn(trace_view.waterfall(failed, 120))
    assert plain.count("INVALID_MEDIA") == 2
    assert "decode image INVALID_MEDIA" in plain
    assert "What failed did so in vision-encoder, at decode image." in plain
    styled = drawn(trace_view.waterfall(failed, 120), styled=True)
    red_rows = [line for line in styled.splitlines()[3:] if re.search(r"\x1b\[31m *█", line)]
    assert len(red_rows) == 6


def test_a_cancelled_trace_is_not_red() -> None:
    styled = drawn(trace_view.waterfall(whole(chat_trace(error="CANCELLED")), 120), styled=True)
    assert "\x1b[31m" not in styled
    assert "cancelled" in styled


def test_a_trace_in_progress_says_so() -> None:
    text = drawn(trace_view.waterfall(whole(chat_trace()[2:12]), 120))
    assert "in progress" in text.splitlines()[0]
    assert "not received" in text
    assert "░" in text
    assert "The outermost span has not come" in text


def test_hostile_names_stay_text() -> None:
    text = drawn(trace_view.waterfall(whole([span(1, 0, "[red]x[/red] [link=http://evil]y", service="[bold]z")]), 120))
    assert "[red]x[/red] [link=http://evil]y" in text
    assert "[bold]z" in text
    lines = [told.line(one) for one in filled([span(1, 0, "[red]name[/red]")]).traces()]
    assert "[red]name[/red]" in drawn(trace_view.table(lines, 120))


@pytest.mark.parametrize("width", [80, 140])
def test_a_list_has_a_line_for_each_trace(width: int) -> None:
    spans = [*chat_trace(), *chat_trace("f" * 32, error="INVALID_MEDIA"), *chat_trace("e" * 32)[2:5]]
    text = drawn(trace_view.table([told.line(one) for one in filled(spans).traces()], width), width)
    good, failed, open_ = (line for line in text.splitlines() if line.strip()[:4] in (TRACE_ID[:4], "ffff", "eeee"))
    assert "OmniService/Chat smol" in good
    assert "305 ms" in good
    assert "INVALID_MEDIA" in failed
    assert "in progress" in open_
    assert all(line.strip()[8] == " " for line in (good, failed, open_)), "eight digits of the id, not cut"
    assert (REQUEST_ID in good) == (width > 100)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "Ask something first" in drawn(trace_view.table([], 120))


class Keeper(BaseHTTPRequestHandler):
    """Answers as the keeper of traces does: the first time only in part."""

    asked: ClassVar[list[str]]
    answers: ClassVar[list[tuple[int, Any]]]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status, answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Keeper]]:
    """A cluster ``lab`` that runs, as far as files tell, and keeps its traces."""

    class Own(Keeper):
        asked: ClassVar[list[str]] = []
        answers: ClassVar[list[tuple[int, Any]]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("TRICHORD_HOME", str(tmp_path))
    monkeypatch.setattr(trace, "POLL_S", 0.01)
    write_state(tmp_path, "lab", [ProcessState(name="traces", title="traces", port=server.server_port, phase="ready")])
    yield Own
    server.shutdown()
    server.server_close()
    thread.join()


def write_state(home: Path, name: str, processes: list[ProcessState]) -> None:
    directory = RunDirectory(home, name)
    directory.path.mkdir(parents=True)
    spec = ClusterSpec(name=name, checkpoint=Path("/c/tiny"))
    directory.write(ClusterState(spec=spec, supervisor=ProcessId.of(os.getpid()), phase="ready", processes=processes))


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["trace", *arguments])
    return done.exit_code, done.output


def test_the_command_waits_for_what_is_on_its_way(keeper: type[Keeper]) -> None:
    settled = {**whole(chat_trace()), "is_settled": True}
    keeper.answers = [(404, {"error": "No span."}), (200, whole(chat_trace()[2:5])), (200, settled)]
    status, output = run(TRACE_ID[:8])
    assert status == 0
    assert output.startswith("OmniService/Chat  1.24 s in all")
    assert keeper.asked == [f"/api/traces/{TRACE_ID[:8]}"] * 3


def test_after_some_patience_it_shows_what_there_is_or_says_why_not(
    keeper: type[Keeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "PATIENCE_S", 0.05)
    keeper.answers = [(200, whole(chat_trace()[2:5]))]
    assert "in progress" in run("4bf9")[1]
    keeper.answers = [(404, {"error": "No span of such a trace has come."})]
    assert run("0000") == (1, "No span of such a trace has come.\n")
    keeper.answers = [(409, {"error": "2 traces begin so."})]
    assert run("../x") == (1, "2 traces begin so.\n")
    assert keeper.asked[-1] == "/api/traces/..%2Fx"


def test_without_an_id_it_lists_what_is_looked_for(keeper: type[Keeper]) -> None:
    lines = [told.line(one) for one in filled(chat_trace()).traces()]
    keeper.answers = [(200, {"traces": lines})]
    status, output = run("--errors", "--search", "media", "--min-ms", "5", "-n", "3")
    assert status == 0
    assert TRACE_ID[:8] in output
    assert keeper.asked == ["/api/traces?text=media&errors=true&min_ms=5.0&limit=3"]


def test_json_is_what_the_cluster_answers(keeper: type[Keeper]) -> None:
    keeper.answers = [(200, {"traces": [], "x": 1})]
    status, output = run("--json", "--name", "lab")
    assert (status, json.loads(output)) == (0, {"traces": [], "x": 1})


def test_a_trace_is_pointed_to_only_where_it_is_kept(keeper: type[Keeper], tmp_path: Path) -> None:
    write_state(tmp_path, "other", [])
    lab = RunDirectory(tmp_path, "lab")
    target = f"127.0.0.1:{ClusterSpec(name='lab', checkpoint=Path('/c/tiny')).port}"
    assert trace.command(target, TRACE_ID) == f"trichord trace {TRACE_ID[:8]} --name lab"
    assert trace.command("127.0.0.1:1", TRACE_ID) == ""
    lab.forget()
    assert trace.command(target, TRACE_ID) == "", "the other cluster, on the same port, keeps none"


def test_a_cluster_that_does_not_run_or_keeps_no_traces_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRICHORD_HOME", str(tmp_path))
    assert run() == (1, "Cluster default does not run. Start it with: trichord up\n")
    write_state(tmp_path, "other", [])
    assert run() == (1, "Cluster other keeps no traces: TRICHORD_TELEMETRY_OTLP_URL was set when it started.\n")
    write_state(tmp_path, "third", [])
    assert run() == (1, "Several clusters run. Name one with --name: other, third.\n")
    assert run("--name", "fourth") == (1, "Cluster fourth does not run. Start it with: trichord up\n")
