"""Text at a steady rate and a burst of images, against one gateway; when each came, was held and was answered.

Every request is one task and one line of what became of it. Knows nothing of clusters or scaling.
"""

from __future__ import annotations

import asyncio
import io
import random
import time
from dataclasses import dataclass

from PIL import Image

from trichord.client import OmniClient, image, user
from trichord.v1 import decoder_pb2, gateway_pb2

TIMEOUT_S = 120.0
TEXT_TOKENS, IMAGE_TOKENS = 8, 4
PICTURE_PX = 336


@dataclass
class Request:
    """One of them, in seconds of the bench's clock; nan as long as it has not come to that."""

    is_image: bool
    sent_s: float
    was_held: bool = False
    encoded_s: float = float("nan")
    first_token_s: float = float("nan")
    failed: str = ""

    @property
    def first_token_ms(self) -> float:
        """What it waited for its first token."""
        return (self.first_token_s - self.sent_s) * 1e3


class Load:
    """Sends requests and notes what becomes of them."""

    def __init__(self, client: OmniClient, started_s: float) -> None:
        self._client, self._started_s = client, started_s
        self._random = random.Random(1)
        self._tasks: list[asyncio.Task[None]] = []
        self.requests: list[Request] = []

    def now_s(self) -> float:
        """The bench's clock."""
        return time.monotonic() - self._started_s

    async def texts(self, per_s: float) -> None:
        """Text at random moments, so many a second on average, until cancelled."""
        while True:
            self._send(user(f"Tell me a story about lighthouse {self._random.random()}."), is_image=False)
            await asyncio.sleep(self._random.expovariate(per_s))

    async def images(self, number: int, per_s: float) -> None:
        """So many images that nobody has seen, evenly, and all of their answers."""
        first = len(self._tasks)
        for picture in range(number):
            self._send(user(image(await asyncio.to_thread(one_tile, picture)), "What is it?"), is_image=True)
            await asyncio.sleep(1 / per_s)
        await asyncio.gather(*self._tasks[first:])

    async def settled(self) -> None:
        """Waits for every answer."""
        await asyncio.gather(*self._tasks)

    def _send(self, message: gateway_pb2.Message, is_image: bool) -> None:
        request = Request(is_image, self.now_s())
        self.requests.append(request)
        self._tasks.append(asyncio.create_task(self._follow(request, message)))

    async def _follow(self, request: Request, message: gateway_pb2.Message) -> None:
        num_tokens = IMAGE_TOKENS if request.is_image else TEXT_TOKENS
        sampling = decoder_pb2.SamplingParams(max_tokens=num_tokens, ignore_eos=True)
        try:
            async for event in self._client.chat([message], sampling, timeout_s=TIMEOUT_S):
                match event.WhichOneof("event"):
                    case "waiting":
                        request.was_held = True
                    case "item_encoded":
                        request.encoded_s = self.now_s()
                    case "token" if request.first_token_s != request.first_token_s:
                        request.first_token_s = self.now_s()
        except Exception as error:
            request.failed = type(error).__name__


def one_tile(seed: int) -> bytes:
    """A picture of one tile: seeded noise, as a JPEG of some 10 KB."""
    coarse = Image.frombytes("RGB", (12, 12), random.Random(seed).randbytes(12 * 12 * 3))
    file = io.BytesIO()
    coarse.resize((PICTURE_PX, PICTURE_PX), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()
