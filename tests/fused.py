"""The whole model in one process, as the cluster's counterpart: same weights, no split, no batch, no cache.

Media are decoded and prompts laid out by the fronts' own functions; the towers run in this process; the LLaMA is
transformers', so that the greedy answer rests on an implementation that is not ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from audio_encoder import encoder as audio
from audio_encoder.settings import AudioSettings
from audio_encoder.sound import decode
from llm_decoder.conversation import ROLES, Image, Message, Sound
from llm_decoder.prompt import PromptTemplate, PromptTokens
from llm_decoder.vocabulary import Vocabulary
from trichord.checkpoint.weights import load_into
from trichord.media import windows
from trichord.media.slicing import plan_slices
from trichord.model_config import Dtype, LlmConfig, ModelConfig
from trichord.settings import ModelSettings
from trichord.v1 import gateway_pb2
from vision_encoder import encoder as vision
from vision_encoder.image import open_image, to_rgb
from vision_encoder.settings import VisionSettings
from vision_encoder.tiles import cut


def independent_llama(config: LlmConfig, checkpoint: Path, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """transformers' LLaMA with a checkpoint's weights."""
    llama = LlamaForCausalLM(LlamaConfig(**config.model_dump()))
    load_into(llama, checkpoint, "llm.", dtype)
    llama.tie_weights()
    return llama.eval().requires_grad_(False)


class FusedModel:
    """A checkpoint in this process."""

    def __init__(self, checkpoint: Path, dtype: Dtype = "float32") -> None:
        self.config = ModelConfig.read(checkpoint)
        settings = ModelSettings(checkpoint=checkpoint, dtype=dtype)
        self._vision, self._audio = vision.load(settings, "cpu"), audio.load(settings, "cpu")
        self._llama = independent_llama(self.config.llm, checkpoint, getattr(torch, dtype))
        vocabulary = Vocabulary.read(checkpoint, self.config.llm.vocab_size)
        self._template = PromptTemplate(self.config.prompt, vocabulary)
        self._fields = {"checkpoint": checkpoint, "triton": ""}

    def image_rows(self, data: bytes) -> tuple[torch.Tensor, Image]:
        """The rows [tokens, hidden] of an image file, and their layout."""
        with open_image(data, VisionSettings(**self._fields).limits) as opened:
            pixels = to_rgb(opened)
        plan = plan_slices(*pixels.size, self.config.slicing, self.config.vision.patch_size)
        rows = self._vision(torch.from_numpy(cut(pixels, plan)), plan.tile_shapes)
        return torch.cat(rows), Image(plan.cols, plan.rows, self.config.resampler.num_queries)

    def audio_rows(self, data: bytes) -> tuple[torch.Tensor, Sound]:
        """The rows [tokens, hidden] of a sound file, and their layout."""
        samples = decode(data, AudioSettings(**self._fields).limits).samples
        cuts = windows.cut(len(samples), self.config.audio)
        rows = self._audio.encode([torch.from_numpy(samples[window.start : window.stop]) for window in cuts])
        return torch.cat(rows), Sound(tuple(window.tokens for window in cuts))

    @property
    def stop_ids(self) -> Sequence[int]:
        """Tokens that end the turn."""
        return self._template.stop_ids

    def prompt(self, messages: Sequence[gateway_pb2.Message], rows: list[torch.Tensor]) -> PromptTokens:
        """The conversation's tokens; the rows of its media are added to ``rows``, in order."""
        return self._template.tokens([self._message(message, rows) for message in messages])

    def greedy(self, messages: Sequence[gateway_pb2.Message], max_tokens: int, guess: Sequence[int] = ()) -> list[int]:
        """The greedy answer, less the token that ends the turn: the whole sequence computed anew for every token.

        As many tokens as ``guess`` has right are computed at once. What it has wrong costs time and changes nothing.
        """
        rows: list[torch.Tensor] = []
        prompt = self.prompt(messages, rows)
        embed = self._llama.get_input_embeddings()
        x_ND = embed(torch.from_numpy(prompt.ids).long())
        if rows:
            slots = [position for span in prompt.spans for position in range(span.start, span.start + span.length)]
            x_ND[slots] = torch.cat(rows)
        answer: list[int] = []
        while len(answer) < max_tokens:
            ahead = list(guess[len(answer) : max_tokens - 1]) if list(guess[: len(answer)]) == answer else []
            y_ND = torch.cat((x_ND, embed(torch.tensor([*answer, *ahead], dtype=torch.long))))
            logits_NV = self._llama(inputs_embeds=y_ND[None]).logits[0, len(x_ND) + len(answer) - 1 :]
            for token_id, guessed in zip(logits_NV.argmax(-1).tolist(), [*ahead, None], strict=True):
                if token_id in self.stop_ids:
                    return answer
                answer.append(token_id)
                if token_id != guessed:
                    break
        return answer

    def _message(self, message: gateway_pb2.Message, rows: list[torch.Tensor]) -> Message:
        return Message(ROLES[message.role], tuple(self._part(part, rows) for part in message.parts))

    def _part(self, part: gateway_pb2.Part, rows: list[torch.Tensor]) -> str | Image | Sound:
        match part.WhichOneof("part"):
            case "text":
                return part.text
            case "image_bytes":
                values, layout = self.image_rows(part.image_bytes)
            case "audio_bytes":
                values, layout = self.audio_rows(part.audio_bytes)
        rows.append(values)
        return layout
