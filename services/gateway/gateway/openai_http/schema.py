"""The request of a chat completion, as JSON: names, types and ranges.

The one source of what is accepted and of what /openapi.json tells. Strict: no number is made of a string. Fields that
it does not name are ignored; ``parameters`` refuses those of OpenAI's that this deployment cannot honour.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

MAX_MESSAGES = 4096
MAX_PARTS = 512
MAX_URL_CHARS = 8192


class Strict(BaseModel):
    """Base: strict types, unknown members ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, frozen=True)


class TextPart(Strict):
    """Some text."""

    type: Literal["text"]
    text: str = Field(description="Special tokens in it are spelled out as literals.")


class ImageUrl(Strict):
    """Where an image is."""

    url: str = Field(description="data:image/...;base64,... or an address, if the deployment allows its host.")
    detail: Literal["auto", "low", "high", "original"] | None = Field(
        None, description="Accepted and ignored: the image's size decides how it is sliced."
    )


class ImagePart(Strict):
    """An image: PNG, JPEG or WebP, sniffed from its bytes."""

    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(Strict):
    """A sound's bytes."""

    data: str = Field(description="The file in base64.")
    format: Literal["wav", "mp3", "flac", "ogg", "m4a", "webm"] | None = Field(
        None, description="A hint; the format is sniffed from the bytes."
    )


class AudioPart(Strict):
    """A sound: WAV, MP3, FLAC, Ogg, M4A or WebM."""

    type: Literal["input_audio"]
    input_audio: InputAudio


Part = Annotated[TextPart | ImagePart | AudioPart, Field(discriminator="type")]


def _is_text(value: Any) -> str:
    return "text" if isinstance(value, str) else "parts"


Content = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[Part], Field(min_length=1, max_length=MAX_PARTS), Tag("parts")],
    Discriminator(_is_text),
]
TextContent = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[TextPart], Field(min_length=1, max_length=MAX_PARTS), Tag("parts")],
    Discriminator(_is_text),
]


class SystemMessage(Strict):
    """Instructions; before all other messages."""

    role: Literal["system", "developer"]
    content: TextContent


class UserMessage(Strict):
    """What is asked; the last message is one."""

    role: Literal["user"]
    content: Content


class AssistantMessage(Strict):
    """An earlier answer."""

    role: Literal["assistant"]
    content: TextContent


Message = Annotated[SystemMessage | UserMessage | AssistantMessage, Field(discriminator="role")]


class StreamOptions(Strict):
    """How an answer is streamed."""

    include_usage: bool | None = Field(None, description="End with one chunk that has usage and no choices.")
    include_obfuscation: bool | None = Field(
        None, description="Pad chunks to even sizes, against telling tokens by length on an encrypted wire."
    )


class TextFormat(Strict):
    """Free text."""

    type: Literal["text"]


class JsonObjectFormat(Strict):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(Strict):
    """A named JSON Schema (draft 2020-12)."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema", description="What the answer is valid under; at most 64 KiB.")
    strict: bool | None = Field(None, description="The schema is always enforced, token by token.")


class JsonSchemaFormat(Strict):
    """A JSON document that is valid under a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
TokenId = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,8})$")]
ShortText = Annotated[str, Field(max_length=512)]


class CompletionRequest(Strict):
    """POST /v1/chat/completions."""

    model: str = Field(min_length=1, max_length=256, description="As /v1/models tells.")
    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = Field(None, description="Only with stream.")
    max_completion_tokens: int | None = Field(None, ge=1, lt=1 << 31, description="Most tokens to generate.")
    max_tokens: int | None = Field(None, ge=1, lt=1 << 31, description="The older name of max_completion_tokens.")
    temperature: float | None = Field(None, ge=0, le=2, description="Unset: 1, as OpenAI has it. 0 is greedy.")
    top_p: float | None = Field(None, ge=0, le=1, description="0 is greedy.")
    n: int | None = Field(None, ge=1, le=8, description="Answers to draw from one prompt.")
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63, description="Repeats an answer on the same replica.")
    stop: str | Annotated[list[str], Field(max_length=16)] | None = Field(
        None, description="Strings that end the answer, each of 1 to 256 bytes; not part of it."
    )
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[TokenId, Annotated[float, Field(ge=-100, le=100)]] | None = Field(None, max_length=1024)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20, description="Only with logprobs.")
    response_format: ResponseFormat | None = None
    metadata: dict[Annotated[str, Field(max_length=64)], ShortText] | None = Field(
        None, max_length=16, description="Accepted and ignored."
    )
    user: ShortText | None = Field(None, description="Accepted and ignored, as are safety_identifier and the like.")

    top_k: int | None = Field(None, ge=0, lt=1 << 31, description="Trichord: keep the k likeliest tokens; 0: all.")
    min_p: float | None = Field(None, ge=0, lt=1, description="Trichord: drop tokens below this share of the best.")
    repetition_penalty: float | None = Field(None, ge=0.1, le=10, description="Trichord: divide seen tokens' logits.")
    min_tokens: int | None = Field(None, ge=0, lt=1 << 31, description="Trichord: do not end before so many tokens.")
    ignore_eos: bool | None = Field(None, description="Trichord: go on past the model's own end.")
    priority: Literal["live", "batch"] | None = Field(None, description="Trichord: batch gives way to live.")
    degradation: Literal["fail", "wait", "answer_without"] | None = Field(
        None, description="Trichord: what to do when an encoder cannot be reached. The answer tells what was left out."
    )
    include_receipt: bool | None = Field(
        None,
        description="Trichord: tell stages' times and usage by medium under ``trichord``, in a stream at its end.",
    )
