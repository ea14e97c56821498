"""A checkpoint's config.json: everything that differs between checkpoints.

Strict: an unknown key is an error (so a config that asks to load code, ``auto_map``, is refused). Sizes are bounded,
because a checkpoint is untrusted input too. Knows no torch and no weights. Facts and their sources: the report (arXiv
2502.15803, Tables 1-2, sections 3.2-3.4); names of fields follow Hugging Face's where those exist.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trichord.errors import CheckpointError

CONFIG_FILE = "config.json"
MAX_CONFIG_BYTES = 1024 * 1024

Dtype = Literal["float32", "bfloat16"]
"""Type that a tower's weights and activations are held in while it runs."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LlmConfig(_Section):
    """The LLaMA decoder with grouped-query attention."""

    vocab_size: int = Field(gt=0, le=1 << 20)
    hidden_size: int = Field(gt=0, le=16384)
    num_hidden_layers: int = Field(gt=0, le=256)
    num_attention_heads: int = Field(gt=0, le=256)
    num_key_value_heads: int = Field(gt=0, le=256)
    head_dim: int = Field(gt=0, le=512)
    intermediate_size: int = Field(gt=0, le=131072)
    rms_norm_eps: float = Field(gt=0)
    rope_theta: float = Field(gt=0)
    max_position_embeddings: int = Field(gt=0, le=1 << 20, description="Context: tokens of prompt and answer.")
    tie_word_embeddings: bool = Field(description="The output layer is the embedding table; no llm.lm_head.")

    @model_validator(mode="after")
    def _heads_group(self) -> LlmConfig:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads must be a multiple of num_key_value_heads")
        return self


class VisionConfig(_Section):
    """The SigLIP tower, NaViT style."""

    hidden_size: int = Field(gt=0, le=8192)
    num_hidden_layers: int = Field(gt=0, le=128)
    num_attention_heads: int = Field(gt=0, le=128)
    intermediate_size: int = Field(gt=0, le=65536)
    patch_size: int = Field(gt=0, le=64)
    image_size: int = Field(gt=0, le=8192, description="Side in pixels that the position table spans.")
    layer_norm_eps: float = Field(gt=0)

    @property
    def positions_per_side(self) -> int:
        """Learned positions along one side of the table (70 for 980 / 14)."""
        return self.image_size // self.patch_size


class ResamplerConfig(_Section):
    """The perceiver resampler: one cross-attention layer; its width is the LLM's."""

    num_queries: int = Field(gt=0, le=4096, description="Rows that one tile becomes.")
    num_attention_heads: int = Field(gt=0, le=256)
    layer_norm_eps: float = Field(gt=0)


class SlicingConfig(_Section):
    """How an image is cut into tiles (report, section 3.2: at most 9 slices of about 448 x 448, and a global view)."""

    max_slices: int = Field(ge=1, le=64)
    scale_resolution: int = Field(gt=0, le=4096, description="A tile's area is about the square of this, in pixels.")


class AudioConfig(_Section):
    """The Whisper encoder and its projection to the LLM's width."""

    n_mels: int = Field(gt=0, le=512)
    n_ctx: int = Field(gt=0, le=6000, description="Positions after conv2: 50 a second, 1500 for 30 s.")
    n_state: int = Field(gt=0, le=8192)
    n_head: int = Field(gt=0, le=128)
    n_layer: int = Field(gt=0, le=128)
    avg_pool: bool = Field(description="Halve the rows by averaging pairs: 25 a second instead of 50.")
    add_bos_eos: bool = Field(description="Put a learned row before and after each window.")
    codebook_size: int = Field(
        default=0,
        ge=0,
        le=65_536,
        description="Rows are mixtures of so many learned ones, by a softmax; 0: a linear map.",
    )


class PromptConfig(_Section):
    """The chat template and the layout of tokens around media.

    A template is a list of pieces: ``{role}`` and ``{content}`` are filled in; a piece that is the name of a special
    token stands for it; anything else is text.
    """

    turn: list[str] = Field(min_length=1, max_length=16)
    answer_opening: list[str] = Field(min_length=1, max_length=16)
    default_system: str | None = Field(description="Put before a conversation that has no system message.")
    stop_tokens: list[str] = Field(min_length=1, max_length=16)
    placeholder: str = Field(description="Special token whose embedding is overwritten by a row of media.")
    image_start: str
    image_end: str
    slice_start: str
    slice_end: str
    audio_start: str
    audio_end: str
    row_separator: str = Field(description="Text between two rows of slices.")
    after_image: str = Field(description="Text after each image.")
    before_audio: str = Field(description="Text before each sound; {k} counts the conversation's sounds from 1.")
    after_audio: str = Field(description="Text after each sound.")


class ModelConfig(_Section):
    """A whole checkpoint."""

    model: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="The name that requests ask for.")
    note: str = Field("", max_length=2000, description="What people should know of it: what is trained, what is not.")
    dtype: Dtype = Field(description="Type that the weights are stored and, by default, run in.")
    llm: LlmConfig
    vision: VisionConfig
    resampler: ResamplerConfig
    slicing: SlicingConfig
    audio: AudioConfig
    prompt: PromptConfig

    @classmethod
    def read(cls, checkpoint: Path) -> ModelConfig:
        """Reads ``checkpoint/config.json``. Raises CheckpointError saying which key is wrong."""
        path = checkpoint / CONFIG_FILE
        try:
            if path.stat().st_size > MAX_CONFIG_BYTES:
                raise CheckpointError(f"{CONFIG_FILE} is larger than {MAX_CONFIG_BYTES} bytes.")
            return cls.model_validate(json.loads(path.read_bytes()))
        except FileNotFoundError as error:
            raise CheckpointError(f"There is no {CONFIG_FILE} in {checkpoint.name}. Pull or init it first.") from error
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise CheckpointError(f"{CONFIG_FILE}: {key}: {first['msg']}") from error
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{CONFIG_FILE} is not JSON.") from error

    def write(self, checkpoint: Path) -> None:
        """Writes ``checkpoint/config.json``."""
        text = json.dumps(self.model_dump(), indent=2, ensure_ascii=False)
        (checkpoint / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
