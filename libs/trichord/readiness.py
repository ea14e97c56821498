"""Whether a front can serve: its model is loaded, and has done a first piece of work since.

A model's first pass is its slowest: memory is touched and kernels are chosen. So it is made before traffic comes, and
again after the model was away: it is another process then. Knows no model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class Readiness:
    """The ``trichord.server.Probe`` of one model."""

    def __init__(self, is_loaded: Callable[[], Awaitable[bool]], warm_up: Callable[[], Awaitable[object]]) -> None:
        """``warm_up`` does the first piece of work, and raises if the model did not."""
        self._is_loaded, self._warm_up = is_loaded, warm_up
        self._is_warm = False

    async def __call__(self) -> bool:
        """Whether a request would be answered now. Raises what ``warm_up`` raises."""
        if not await self._is_loaded():
            self._is_warm = False
        elif not self._is_warm:
            await self._warm_up()
            self._is_warm = True
        return self._is_warm
