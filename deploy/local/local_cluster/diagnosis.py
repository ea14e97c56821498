"""Why a process ended, in one sentence out of its log.

Pure text work. Knows the three ways in which our processes speak of their death: a service's ``cannot start: ...``, a
Triton's report of a model that did not load, and a Python traceback.
"""

from __future__ import annotations

import re
import signal

MAX_REASON_CHARS = 400

# A process's own words. Triton writes an exception as "Internal: CheckpointError: text\n\nAt:\n  file(line)...", with
# its line ends spelled out.
_MODEL_FAILED = r"failed to load '[^']+' version \d+: (?:[A-Z][a-z ]+: )?(?:\w+Error: )?(.+?)(?:\\n|\"?$)"
_WORDS = (
    re.compile(r"^cannot start: (.+)$", re.MULTILINE),
    re.compile(_MODEL_FAILED, re.MULTILINE),
    re.compile(r"^(?:[\w.]+\.)?(\w+(?:Error|Exception)(?:: .+)?)$", re.MULTILINE),
)
# Triton's own: every start without a GPU logs an error or two that stop nothing, so these come after the signal.
_HINTS = (
    re.compile(r"^error: (.+)$", re.MULTILINE),
    re.compile(r"^E\d{4} \S+ \d+ \S+\] (.+)$", re.MULTILINE),
    re.compile(r"^(.*\S.*)$", re.MULTILINE),
)


def reason(log: str, status: int | None) -> str:
    """What the log of a process that ended with ``status`` (negative: the signal; None: it runs) says of why.

    Without the final full stop, so that it can end a sentence.
    """
    if words := _last(_WORDS, log):
        return words
    if status is not None and status < 0:
        return f"it was killed by signal {-status} ({signal.strsignal(-status)})"
    return _last(_HINTS, log) or "it said nothing"


def _last(patterns: tuple[re.Pattern[str], ...], log: str) -> str | None:
    for pattern in patterns:
        if found := pattern.findall(log):
            return found[-1].strip(' ."')[:MAX_REASON_CHARS] or None
    return None
