"""A Lua script that runs inside Redis as one step, sent by its digest. Knows nothing of what it does."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

Argument = str | bytes | int


class RedisScript:
    """The script ``text``. Every key that it touches must be among ``keys``, and all in one hash slot."""

    def __init__(self, text: str) -> None:
        self._text = text
        # Redis names scripts by SHA-1; nothing rests on its strength.
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, redis: Redis, keys: Sequence[str | bytes], arguments: Sequence[Argument]) -> Any:
        """Runs it; sends its text only to a server that has not seen it. Raises what the client library raises."""
        try:
            return await redis.evalsha(self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await redis.eval(self._text, len(keys), *keys, *arguments)
