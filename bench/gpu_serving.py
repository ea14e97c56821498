"""Requests of the published setting through our encoder and engine, in one process on one device.

The images are encoded in this thread, on a stream of its own, while the engine's thread decodes. Knows the services'
cores; knows nothing of limits and tables.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.gpu_limits import seconds
from llm_decoder.block_manager import BlockManager
from llm_decoder.gpu.cuda_forward import CudaForward
from llm_decoder.gpu.fused_llama import FusedLlama
from llm_decoder.gpu.overlapped_engine import OverlappedEngine
from llm_decoder.gpu.starting import start_engine
from llm_decoder.kv_cache import KvCache
from llm_decoder.llama import Llama
from llm_decoder.request import Finish, Request, Span
from llm_decoder.sampling_limits import Sampling
from llm_decoder.scheduler import Limits, Scheduler
from llm_decoder.step_input import StepInput
from llm_decoder.timings import Timings
from trichord.errors import TrichordError
from trichord.media.slicing import TileShape
from vision_encoder.encoder import VisionEncoder

BLOCK_SIZE = 16
TEXT_BEFORE = 40
"""Tokens of a prompt before its image."""


@dataclass
class Reader:
    """Notes when a request's tokens come."""

    times: list[float] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    failure: str = ""

    def start(self, timings: Timings) -> None:
        """See ``Sink``."""

    def emit(self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]]) -> None:
        """See ``Sink``."""
        self.times += [time.perf_counter()] * len(token_ids)

    def finish(
        self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]], reason: Finish, timings: Timings
    ) -> None:
        """See ``Sink``."""
        self.emit(token_ids, logprobs)
        self.done.set()

    def fail(self, error: TrichordError) -> None:
        """See ``Sink``."""
        self.failure = error.message
        self.done.set()

    def is_cancelled(self) -> bool:
        """See ``Sink``."""
        return False

    def is_full(self) -> bool:
        """See ``Sink``."""
        return False

    def wait(self) -> None:
        """Until the last token. Raises RuntimeError if the engine failed."""
        self.done.wait()
        if self.failure:
            raise RuntimeError(self.failure)


@dataclass(frozen=True)
class Setting:
    """What every request asks for."""

    tiles: Sequence[TileShape]
    image_tokens: int
    text_tokens: int
    output_tokens: int
    num_requests: int
    step_tokens: int

    @property
    def prompt_tokens(self) -> int:
        """Tokens of a prompt."""
        return self.image_tokens + self.text_tokens

    def request(self, name: str, rows: Tensor, reader: Reader) -> Request:
        """One request. ``name`` is its own scope, so that no prefix is reused."""
        sampling = Sampling(
            max_tokens=self.output_tokens,
            temperature=0.0,
            top_k=0,
            top_p=1.0,
            min_p=0.0,
            repetition_penalty=1.2,
            presence_penalty=0.0,
            frequency_penalty=0.0,
            seed=0,
            min_tokens=0,
            ignore_eos=True,
        )
        return Request(
            prompt_ids=[number % 256 for number in range(self.prompt_tokens)],
            sampling=sampling,
            stop_token_ids=frozenset(),
            sink=reader,
            arrival_s=time.monotonic(),
            scope=name,
            media_rows=rows,
            spans=[Span(TEXT_BEFORE, self.image_tokens, name)],
        )


class Serving:
    """An encoder and an engine for so many sequences at once."""

    def __init__(self, setting: Setting, llama: Llama, vision: VisionEncoder, num_sequences: int) -> None:
        self._setting, self._vision = setting, vision
        self._device = llama.model.norm.weight.device
        longest = setting.prompt_tokens + setting.output_tokens
        blocks = BlockManager((num_sequences + 1) * -(-longest // BLOCK_SIZE), BLOCK_SIZE)
        limits = Limits(
            max_running=num_sequences,
            max_waiting=setting.num_requests,
            step_tokens=max(setting.step_tokens, num_sequences + 1),
        )
        self._engine: OverlappedEngine = start_engine(llama, Scheduler(blocks, limits), self._device)
        num_patches = sum(tile.height * tile.width for tile in setting.tiles)
        self._patches = torch.randint(0, 256, (num_patches, vision.patch_values), dtype=torch.uint8)
        self._stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def run(self, *, encoded: bool) -> tuple[float, list[list[float]]]:
        """Seconds for all requests, and when their tokens came; ``encoded``: every image was encoded before."""
        known = self._encode()
        self._submit("warm-up", known).wait()
        started = time.perf_counter()
        names = map(str, range(self._setting.num_requests))
        readers = [self._submit(name, known if encoded else self._encode()) for name in names]
        for reader in readers:
            reader.wait()
        return time.perf_counter() - started, [reader.times for reader in readers]

    def close(self) -> None:
        """Ends the engine."""
        self._engine.close()

    def _submit(self, name: str, rows: Tensor) -> Reader:
        reader = Reader()
        self._engine.submit(self._setting.request(name, rows, reader))
        return reader

    @torch.inference_mode()
    def _encode(self) -> Tensor:
        """Rows of the image, complete."""
        if self._stream is None:
            return torch.cat(self._vision(self._patches, self._setting.tiles))
        with torch.cuda.stream(self._stream):
            rows = torch.cat(self._vision(self._patches, self._setting.tiles))
        self._stream.synchronize()
        return rows


@contextlib.contextmanager
def serving(setting: Setting, llama: Llama, vision: VisionEncoder, num_sequences: int) -> Iterator[Serving]:
    """A ``Serving`` that is closed afterwards."""
    served = Serving(setting, llama, vision, num_sequences)
    try:
        yield served
    finally:
        served.close()


def decode_step_s(llama: Llama, num_sequences: int, context: int) -> float:
    """Seconds of one decode step of so many sequences of ``context`` positions, sampling aside."""
    config, device, dtype = llama.config, llama.model.norm.weight.device, llama.dtype
    blocks_each = -(-context // BLOCK_SIZE)
    cache = KvCache(config, num_sequences * blocks_each + 1, BLOCK_SIZE, dtype, str(device))
    forward = CudaForward(FusedLlama(llama, device), cache)
    tables = torch.randperm(num_sequences * blocks_each).int().view(num_sequences, blocks_each)
    at = context - 1
    step = StepInput(
        x_ND=torch.randn(num_sequences, config.hidden_size, dtype=dtype, device=device),
        positions_N=torch.full((num_sequences,), at, dtype=torch.int32),
        slots_N=tables[:, at // BLOCK_SIZE] * BLOCK_SIZE + at % BLOCK_SIZE,
        query_starts=torch.arange(num_sequences + 1, dtype=torch.int32),
        context_lens_B=torch.full((num_sequences,), context, dtype=torch.int32),
        block_tables_BM=tables,
        logit_rows_R=torch.arange(num_sequences, dtype=torch.int32),
    )
    return seconds(lambda: forward(step), device, repeats=30)
