"""A checkpoint in this process: the services' own decoding, towers, prompt layout and engine; no Triton, no gRPC."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from audio_encoder import encoder as audio
from audio_encoder.settings import AudioSettings
from audio_encoder.sound import decode
from llm_decoder import sampling_limits
from llm_decoder.conversation import Image, Message, Sound
from llm_decoder.detokenizer import Detokenizer
from llm_decoder.loading import EngineSettings, load_engine
from llm_decoder.prompt import PromptTemplate, PromptTokens
from llm_decoder.request import Finish, Request, Span
from llm_decoder.timings import Timings
from llm_decoder.vocabulary import Vocabulary
from trichord.checkpoint.digest import fingerprint
from trichord.errors import TrichordError
from trichord.media import windows
from trichord.model_config import Dtype, ModelConfig
from trichord.settings import ModelSettings
from trichord.v1 import decoder_pb2
from trichord_training.evaluation.asking import MAX_TOKENS, Identity
from trichord_training.evaluation.sample import Sample
from vision_encoder import encoder as vision
from vision_encoder.prepare import Preparer
from vision_encoder.settings import VisionSettings

Medium = tuple[Tensor, Image | Sound]
"""Rows [tokens, hidden] of an image or a sound, and their layout."""


class InProcessModel:
    """A checkpoint. ``close`` it: it has threads."""

    def __init__(self, checkpoint: Path, dtype: Dtype | None = None, threads: int = 1) -> None:
        """Loads everything; ``dtype`` None is the checkpoint's own. Raises CheckpointError."""
        self.config = ModelConfig.read(checkpoint)
        self._checkpoint, self._dtype = checkpoint, dtype or self.config.dtype
        torch.set_num_threads(threads)
        told = ModelSettings.model_validate({"checkpoint": checkpoint, "dtype": self._dtype, "threads": threads})
        self._vision, self._audio = vision.load(told, "cpu"), audio.load(told)
        front = {"checkpoint": checkpoint, "triton": ""}
        self._preparer = Preparer(self.config, VisionSettings.model_validate(front))
        self._sound_limits = AudioSettings.model_validate(front).limits
        self._encodes = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._vocabulary = Vocabulary.read(checkpoint, self.config.llm.vocab_size)
        self.template = PromptTemplate(self.config.prompt, self._vocabulary)
        self._engine = load_engine(told, EngineSettings.from_environment())

    def close(self) -> None:
        """Ends its threads."""
        self._engine.close()
        self._preparer.close()
        self._encodes.shutdown()

    async def identity(self) -> Identity:
        """See ``Model``."""
        prints = [await asyncio.to_thread(fingerprint, self._checkpoint, t, self._dtype) for t in ("vision", "audio")]
        return Identity(self.config.model, {"vision": prints[0], "audio": prints[1]})

    async def answer(self, sample: Sample) -> str:
        """See ``Model``."""
        media = [await self._image(data) for data in sample.images]
        if sample.sound is not None:
            media.append(await self._encoded(partial(self._sound, sample.sound)))
        message = Message("user", (*(layout for _, layout in media), sample.question))
        _, token_ids = await self.generate([message], [rows for rows, _ in media], MAX_TOKENS)
        text = Detokenizer(self._vocabulary)
        return "".join(text.push(token_id) for token_id in token_ids) + text.flush()

    async def generate(
        self, messages: Sequence[Message], rows: Sequence[Tensor], max_tokens: int
    ) -> tuple[PromptTokens, list[int]]:
        """A conversation's prompt and its greedy answer, the token that ended the turn included."""
        prompt = self.template.tokens(messages)
        told = decoder_pb2.SamplingParams(max_tokens=max_tokens, temperature=0.0)
        left = prompt.context_left(self.config.llm.max_position_embeddings)
        sink = _Answer()
        request = Request(
            prompt_ids=prompt.ids.tolist(),
            sampling=sampling_limits.check(told, left, self.config.llm.vocab_size),
            stop_token_ids=frozenset(self.template.stop_ids),
            sink=sink,
            arrival_s=time.monotonic(),
            media_rows=torch.cat(list(rows)) if rows else None,
            spans=list(_spans(prompt, torch.cat(list(rows)))) if rows else (),
        )
        self._engine.submit(request)
        return prompt, await asyncio.wrap_future(sink.future)

    async def _image(self, data: bytes) -> Medium:
        image = (await self._preparer.prepare(data)).image
        layout = Image(image.plan.cols, image.plan.rows, self.config.resampler.num_queries)
        patches = torch.from_numpy(image.patches)

        def encode() -> Medium:
            with torch.inference_mode():
                return torch.cat(self._vision(patches, image.plan.tile_shapes)), layout

        return await self._encoded(encode)

    def _sound(self, data: bytes) -> Medium:
        samples = torch.from_numpy(decode(data, self._sound_limits).samples)
        cuts = windows.cut(len(samples), self.config.audio)
        rows = self._audio.encode([samples[window.start : window.stop] for window in cuts])
        return torch.cat(rows), Sound(tuple(window.tokens for window in cuts))

    async def _encoded(self, encode: Callable[[], Medium]) -> Medium:
        """One at a time: beside each other they would only share the cores."""
        return await asyncio.get_running_loop().run_in_executor(self._encodes, encode)


def _spans(prompt: PromptTokens, rows: Tensor) -> Iterator[Span]:
    """Where the rows go, and what each run of them is: the engine's cache of prefixes rests on it."""
    first = 0
    for span in prompt.spans:
        run = rows[first : first + span.length].contiguous().view(torch.uint8)
        yield Span(span.start, span.length, hashlib.sha256(run.numpy().tobytes()).hexdigest())
        first += span.length


class _Answer:
    """Collects one answer in the engine's thread, for another to wait for."""

    def __init__(self) -> None:
        self.future: Future[list[int]] = Future()
        self.future.set_running_or_notify_cancel()
        self._token_ids: list[int] = []

    def start(self, timings: Timings) -> None:
        """See ``request.Sink``."""

    def emit(self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]]) -> None:
        """See ``request.Sink``."""
        self._token_ids += token_ids

    def finish(
        self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]], reason: Finish, timings: Timings
    ) -> None:
        """See ``request.Sink``."""
        self.future.set_result([*self._token_ids, *token_ids])

    def fail(self, error: TrichordError) -> None:
        """See ``request.Sink``."""
        self.future.set_exception(error)

    def is_cancelled(self) -> bool:
        """See ``request.Sink``."""
        return False

    def is_full(self) -> bool:
        """See ``request.Sink``."""
        return False
