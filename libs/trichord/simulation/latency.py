"""How long a model takes for its work: the one formula of each modality, and its coefficients.

A pass costs a fixed part (launching, norms, copies), and a part that grows with the work but is never less than
reading the weights once: the roofline (Williams et al., CACM 52(4), 2009) with its two slopes. Pure arithmetic; waits
for nothing and reads no file.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Cost = Annotated[float, Field(ge=0, le=1e9)]


class Section(BaseModel):
    """Base of what a profile is made of: strict, so that a misspelt figure is not silently another one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class VisionLatency(Section):
    """The vision tower and its resampler."""

    pass_ms: Cost = Field(description="Each pass, whatever it holds.")
    weights_ms: Cost = Field(description="Reading the weights: the least that the tiles of a pass take.")
    tile_ms: Cost = Field(description="Each tile of a pass.")

    def pass_s(self, num_tiles: int) -> float:
        """Seconds of one pass over ``num_tiles`` tiles."""
        return (self.pass_ms + max(self.weights_ms, num_tiles * self.tile_ms)) / 1e3


class AudioLatency(Section):
    """The audio tower and its projection."""

    pass_ms: Cost = Field(description="Each pass, whatever it holds.")
    weights_ms: Cost = Field(description="Reading the weights: the least that the sound of a pass takes.")
    second_ms: Cost = Field(description="Each second of sound, all windows of the pass together.")

    def pass_s(self, audio_s: float) -> float:
        """Seconds of one pass over ``audio_s`` seconds of sound."""
        return (self.pass_ms + max(self.weights_ms, audio_s * self.second_ms)) / 1e3


class StepLoad(NamedTuple):
    """The work of one step of the decoder."""

    num_prompt_tokens: int = 0
    """Tokens of the chunks of prompts."""
    num_prompt_pairs: int = 0
    """(token of a chunk, position that it sees): what attention over prompts costs by."""
    num_sequences: int = 0
    """Sequences that go on by one token."""
    num_context_tokens: int = 0
    """Positions that those sequences see, all together: keys and values that are read."""


class DecoderLatency(Section):
    """The LLM, sampling included."""

    step_ms: Cost = Field(description="Each step, whatever it holds.")
    weights_ms: Cost = Field(description="Reading the weights: the least that the tokens of a step take.")
    prompt_token_ms: Cost = Field(description="Each token of a prompt.")
    prompt_pair_ns: Cost = Field(description="Each position that each token of a prompt sees.")
    sequence_ms: Cost = Field(description="Each sequence that goes on by one token.")
    context_token_us: Cost = Field(description="Each position that such a sequence sees.")

    def step_s(self, load: StepLoad) -> float:
        """Seconds of one step."""
        tokens_ms = load.num_prompt_tokens * self.prompt_token_ms + load.num_sequences * self.sequence_ms
        attention_ms = load.num_prompt_pairs * self.prompt_pair_ns / 1e6
        attention_ms += load.num_context_tokens * self.context_token_us / 1e3
        return (self.step_ms + max(self.weights_ms, tokens_ms) + attention_ms) / 1e3
