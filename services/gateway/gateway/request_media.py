"""All media of one request: encoded at once, waited for together, and put in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

from gateway.caller import Caller
from gateway.conversation import Item
from gateway.degradation import NOTES, Skipped, encoded_or_skipped
from gateway.encoding import Encoded, ItemEncoder
from gateway.waking.notices import Notices
from trichord.v1 import gateway_pb2, tensor_pb2


class RequestMedia:
    """The media of one request in progress."""

    def __init__(
        self, items: list[Item], encoder: ItemEncoder, caller: Caller, degradation: gateway_pb2.Degradation
    ) -> None:
        self.items = items
        self.encoded: list[Encoded] = []
        """Those that are ready; in their order once all are."""
        self._skipped: list[Item] = []
        self._encoder, self._caller, self._degradation = encoder, caller, degradation
        self._notices = Notices()

    async def encode(self) -> AsyncGenerator[Encoded | Skipped | gateway_pb2.Waiting, None]:
        """Every item at once; each as it is ready, and how the wait for a sleeping encoder stands.

        The first failure cancels the others. Raises it, its field set.
        """
        tasks = [asyncio.create_task(self._one(item), name=f"encode {item.field}") for item in self.items]
        for task in tasks:
            task.add_done_callback(lambda _: self._notices.changed.set())
        try:
            left = tasks
            while left:
                await self._notices.changed.wait()
                self._notices.changed.clear()
                ready, left = [task for task in left if task.done()], [task for task in left if not task.done()]
                for outcome in [task.result() for task in ready]:
                    self._note(outcome)
                    yield outcome
                for waiting in self._notices.take():
                    yield waiting
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.encoded.sort(key=lambda encoded: encoded.item.indices)

    @property
    def embeddings(self) -> Mapping[tuple[int, int], tensor_pb2.Embedding]:
        """By the indices of their message and part."""
        return {encoded.item.indices: encoded.embedding for encoded in self.encoded}

    @property
    def notes(self) -> Mapping[tuple[int, int], str]:
        """What stands in the place of media that are left out."""
        return {item.indices: NOTES[item.modality] for item in self._skipped}

    @property
    def num_rows(self) -> int:
        """Positions of the prompt that the embeddings take."""
        return sum(encoded.num_rows for encoded in self.encoded)

    def _note(self, outcome: Encoded | Skipped) -> None:
        if isinstance(outcome, Skipped):
            self._skipped.append(outcome.item)
        else:
            self.encoded.append(outcome)

    async def _one(self, item: Item) -> Encoded | Skipped:
        may_wait = self._degradation != gateway_pb2.DEGRADATION_ANSWER_WITHOUT

        async def encode() -> Encoded:
            return await self._encoder.encode(item, self._caller, self._notices if may_wait else None)

        return await encoded_or_skipped(item, encode, self._degradation, self._caller.deadline)
