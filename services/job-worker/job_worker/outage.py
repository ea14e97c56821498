"""Whether everything fails at the moment, so that no single item is to blame.

An item that brings a decoder down takes those with it that run beside it, and then the others are answered. Where so
many fail in a row that it cannot be those, the cluster itself is away. Pure.
"""

from __future__ import annotations

import grpc

from trichord.errors import TrichordError


class Outage:
    """Counts the calls in a row that found a part of the cluster away."""

    def __init__(self, num_beside: int) -> None:
        """``num_beside`` calls run at once: one item can make that many fail, and their first retries again."""
        self._limit, self._num_in_a_row = 2 * num_beside, 0

    @property
    def is_on(self) -> bool:
        """Whether it has come to that."""
        return self._num_in_a_row > self._limit

    def succeeded(self) -> None:
        """A call was answered."""
        self._num_in_a_row = 0

    def failed(self, error: TrichordError) -> None:
        """A call failed; what is no absence says nothing."""
        self._num_in_a_row += error.code is grpc.StatusCode.UNAVAILABLE
