"""The other end of ``peer.py``: a process that answers one question after another, in JSON, until its input ends.

Runs in a peer's own virtual environment: the standard library only. Knows nothing of what is asked.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO


def claim_stdout() -> TextIO:
    """Where answers go. Call it first: from now on what libraries print goes to stderr, and looks like no answer."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def serve(answers: TextIO, version: str, **verbs: Callable[..., Any]) -> None:
    """Says that it is ready and what it is, then answers ``[verb, {argument: value}]`` lines, each by one line."""
    print(json.dumps({"version": version}), file=answers, flush=True)
    for line in sys.stdin:
        verb, arguments = json.loads(line)
        print(json.dumps(verbs[verb](**arguments)), file=answers, flush=True)
