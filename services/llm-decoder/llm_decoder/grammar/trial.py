"""Whether a schema can be enforced, found out in a process of its own: a bomb costs that process, and nobody else.

Knows nothing of the schema's meaning. Blocks: for threads, not for an event loop.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import threading

import structlog

from llm_decoder.grammar.probe import REFUSED
from llm_decoder.grammar.schema import ANY_OBJECT, CANNOT_ENFORCE, FIELD
from trichord.errors import InternalError, OverloadedError, RequestError

log = structlog.get_logger(__name__)

MAX_TRIALS = 2
"""Processes at once: each may take ``probe.MAX_MEMORY_BYTES``."""
MAX_WAIT_S = 5.0
MAX_TRIAL_S = 10.0
"""Wall time; the limit that counts is of CPU time, ``probe.MAX_CPU_S``."""
MAX_REMEMBERED = 256

_trials = threading.BoundedSemaphore(MAX_TRIALS)


def check(schema: str) -> None:
    """Raises RequestError if the schema, from ``schema.canonical``, cannot be enforced within limits.

    A schema costs about 0.1 s once, and is remembered. Raises OverloadedError if too many are being tried.
    """
    if schema != ANY_OBJECT and not _is_enforceable(schema):
        raise RequestError(CANNOT_ENFORCE, field=FIELD)


@functools.lru_cache(MAX_REMEMBERED)
def _is_enforceable(schema: str) -> bool:
    if not _trials.acquire(timeout=MAX_WAIT_S):
        raise OverloadedError("Too many schemas are being compiled. Try again later.", retry_after_s=1.0)
    try:
        command = [sys.executable, "-I", "-m", "llm_decoder.grammar.probe"]
        quiet = subprocess.DEVNULL
        tried = subprocess.run(  # noqa: S603
            command, input=schema.encode(), stdout=quiet, stderr=quiet, timeout=MAX_TRIAL_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OverloadedError("The schema could not be compiled in time.", retry_after_s=1.0, field=FIELD) from error
    finally:
        _trials.release()
    if tried.returncode > 0 and tried.returncode != REFUSED:
        log.error("the trial of a schema failed", returncode=tried.returncode)
        raise InternalError("A schema could not be tried here.")
    return tried.returncode == 0  # negative: the kernel ended it, at a limit
