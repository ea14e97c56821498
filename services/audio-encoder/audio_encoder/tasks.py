"""The tasks of one call: they end with it, and the first failure is the call's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from trichord.errors import DeadlineError


@contextlib.asynccontextmanager
async def call_tasks(timeout_s: float) -> AsyncIterator[asyncio.TaskGroup]:
    """A group for a call's tasks; leaving the body waits for them.

    A failure in one cancels the body and the others and comes out as itself. Raises DeadlineError after ``timeout_s``.
    """
    try:
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as tasks:
            yield tasks
    except TimeoutError as error:
        raise DeadlineError("The sound was not encoded in time. Allow a longer deadline or try again.") from error
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
