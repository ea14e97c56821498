"""A tiny checkpoint, a tokenizer with merges, and a stand-in for Triton: the front's only fake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llm_decoder.engine_client import EngineClient
from llm_decoder.front import DecoderFront
from llm_decoder.intake import Intake
from llm_decoder.prompt import PromptTemplate
from llm_decoder.settings import DecoderSettings
from llm_decoder.vocabulary import Vocabulary
from trichord import server
from trichord.checkpoint.initialize import init
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.tokenizer import special_tokens
from trichord.model_config import ModelConfig
from trichord.v1 import decoder_pb2, decoder_pb2_grpc

FINGERPRINT = "0f" * 32

TRAINING_TEXT = """user\n\nhello world\n\nsystem\n hello user, hello world: the assistant answers\nassistant\n\n\n
你好，世界。你好 Größe größer naïve café 🙂🙂 Audio 1: Audio 2: \n\nhello\n
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of preset tiny."""
    directory = tmp_path_factory.mktemp("checkpoints") / "tiny"
    init(PRESETS["tiny"], directory, seed=0)
    return directory


@pytest.fixture(scope="session")
def config(tiny: Path) -> ModelConfig:
    return ModelConfig.read(tiny)


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny: Path) -> Tokenizer:
    """The library's own tokenizer over the tiny checkpoint: the reference."""
    return Tokenizer.from_file(str(tiny / "tokenizer.json"))


@pytest.fixture(scope="session")
def vocabulary(tiny: Path, config: ModelConfig) -> Vocabulary:
    return Vocabulary.read(tiny, config.llm.vocab_size)


@pytest.fixture(scope="session")
def template(config: ModelConfig, vocabulary: Vocabulary) -> PromptTemplate:
    return PromptTemplate(config.prompt, vocabulary)


@pytest.fixture(scope="session")
def trained() -> Callable[[str], Tokenizer]:
    """Makes a byte-level BPE with merges (newlines with newlines among them) for a preset's prompts."""

    def train(preset: str) -> Tokenizer:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=480,
            special_tokens=special_tokens(PRESETS[preset].prompt),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator([TRAINING_TEXT] * 20, trainer)
        return tokenizer

    return train


@dataclass
class Call:
    """One generation that was asked of the stand-in."""

    model: str
    inputs: dict[str, Any]
    parameters: dict[str, Any]
    timeout_s: float
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    num_responses: int = 0


@dataclass
class FakeTriton:
    """Plays the same responses to every call, and remembers the calls."""

    responses: list[dict[str, Any]] = field(default_factory=list)
    ready: bool = True
    pause_s: float = 0.0
    """Between two responses."""
    error: Exception | None = None
    """Raised after the responses."""
    calls: list[Call] = field(default_factory=list)
    controls: list[dict[str, Any]] = field(default_factory=list)
    """What was said of requests in progress."""

    async def model_ready(self, model: str) -> bool:
        return self.ready and model == "llama"

    async def stream(
        self, model: str, inputs: dict[str, Any], parameters: dict[str, Any], *, timeout_s: float
    ) -> AsyncIterator[dict[str, Any]]:
        if "is_full" in parameters:
            self.controls.append(parameters)
            return
        call = Call(model, inputs, parameters, timeout_s)
        self.calls.append(call)
        try:
            for response in self.responses:
                await asyncio.sleep(self.pause_s)
                call.num_responses += 1
                yield response
            if self.error:
                raise self.error
        finally:
            call.closed.set()

    def plays(self, *token_ids: Sequence[int], finish: int = decoder_pb2.FINISH_REASON_END_OF_TURN) -> None:
        """Sets the responses: these tokens, the last with ``finish``."""
        self.responses = [{"TOKEN_IDS": np.array(ids, dtype=np.int32)} for ids in token_ids]
        self.responses[-1]["FINISH"] = np.array([finish], dtype=np.int32)
        self.responses[-1]["TIMINGS"] = np.array([1, 2, 3, 4, 0, 0], dtype=np.float32)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Waits until something holds."""

    async def wait(holds: Callable[[], object]) -> None:
        for _ in range(30_000):
            if holds():
                return
            await asyncio.sleep(0.001)
        raise AssertionError("it never came true")

    return wait


@pytest.fixture
def triton() -> FakeTriton:
    return FakeTriton()


@pytest.fixture
def decoder_settings(tiny: Path) -> DecoderSettings:
    return DecoderSettings(
        checkpoint=tiny,
        triton="",
        accept_fingerprints=(FINGERPRINT,),
        max_images=2,
        max_audios=1,
        max_text_bytes=20_000,
    )


@pytest.fixture
def intake(config: ModelConfig, decoder_settings: DecoderSettings, vocabulary: Vocabulary) -> Intake:
    return Intake(config, decoder_settings, vocabulary, [])


@pytest.fixture
def front(intake: Intake, vocabulary: Vocabulary, triton: FakeTriton) -> DecoderFront:
    engine = EngineClient(triton, intake.template.stop_ids)  # type: ignore[arg-type]
    return DecoderFront(intake, vocabulary, engine, default_deadline_s=60)


@pytest.fixture
async def stub(
    front: DecoderFront, decoder_settings: DecoderSettings
) -> AsyncIterator[decoder_pb2_grpc.DecoderServiceStub]:
    """A client of a real server on loopback whose Triton is the stand-in."""
    running = await server.start(front.register, decoder_settings)
    channel = server.open_channel(f"127.0.0.1:{running.port}", decoder_settings.max_message_bytes)
    yield decoder_pb2_grpc.DecoderServiceStub(channel)
    await channel.close()
    await running.server.stop(0)
