"""A process that the bench asks: started in its own virtual environment if it needs one, asked, stopped.

Its answers are lines of JSON on its stdout (``worker.py``); what else it says goes to a log. Knows nothing of engines.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S, ANSWER_TIMEOUT_S, STOP_TIMEOUT_S = 600.0, 900.0, 60.0


class PeerError(Exception):
    """A peer could not be installed or started, or does not answer."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment under a directory."""

    directory: Path
    requirements: tuple[str, ...]
    """Names and pinned versions."""
    unwanted: tuple[str, ...] = ()
    """Dependencies to take out again."""

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.directory / "bin" / "python"

    def ensure(self) -> None:
        """Makes it if it is not there as described. Raises PeerError."""
        stamp, wanted = self.directory / "requirements.json", json.dumps([self.requirements, self.unwanted])
        if stamp.exists() and stamp.read_text() == wanted:
            return
        _run(sys.executable, "-m", "venv", "--clear", str(self.directory))
        _run(str(self.python), "-m", "pip", "install", *self.requirements)
        if self.unwanted:
            _run(str(self.python), "-m", "pip", "uninstall", "--yes", *self.unwanted)
        stamp.write_text(wanted)


@dataclass(frozen=True)
class Contestant:
    """How one peer is started."""

    name: str
    module: str
    arguments: tuple[str, ...]
    environment: Environment | None = None
    """None: it runs in ours."""
    variables: Mapping[str, str] = field(default_factory=dict)


class Peer:
    """A contestant that runs. Use it as a context manager. Raises PeerError."""

    def __init__(self, contestant: Contestant, log: Path) -> None:
        self.contestant, self._log = contestant, log
        if contestant.environment:
            contestant.environment.ensure()
        python = contestant.environment.python if contestant.environment else Path(sys.executable)
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [python, "-m", contestant.module, *contestant.arguments],
                cwd=ROOT,
                env={**os.environ, **contestant.variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert self._process.stdin, "a pipe"
        assert self._process.stdout, "a pipe"
        self._questions, self._answers = self._process.stdin, self._process.stdout
        try:
            self.version = self._answer(START_TIMEOUT_S)["version"]
        except PeerError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends its input, and the process if that does not."""
        with contextlib.suppress(BrokenPipeError):
            self._questions.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()

    def ask(self, verb: str, **arguments: Any) -> Any:
        """One answer. Raises PeerError."""
        with contextlib.suppress(BrokenPipeError):  # no answer will come, and the log says why
            print(json.dumps([verb, arguments]), file=self._questions, flush=True)
        return self._answer(ANSWER_TIMEOUT_S)

    def _answer(self, timeout_s: float) -> Any:
        watch = threading.Timer(timeout_s, self._process.kill)
        watch.start()
        line = self._answers.readline()
        watch.cancel()
        if not line:
            last_words = self._log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise PeerError(f"{self.contestant.name} does not answer: {last_words}")
        return json.loads(line)


def _run(*command: str) -> None:
    """Runs an installer; its progress goes to stderr. Raises PeerError."""
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        raise PeerError(f"{' '.join(command[1:4])} failed")
