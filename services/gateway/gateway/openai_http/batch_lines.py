"""A batch's input: OpenAI's JSON lines to items of a job, and what is wrong with those that are none. Pure.

A line's body goes through the very parser of POST /v1/chat/completions. What only a stream can tell is refused.
Format: https://platform.openai.com/docs/api-reference/batch/request-input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

from pydantic import Field
from typing_extensions import TypedDict

from gateway.jobs.checks import MAX_CUSTOM_ID_CHARS
from gateway.openai_http import parameters, refusals, strict_json
from gateway.openai_http.line_splitter import Line, LineSplitter
from gateway.openai_http.refusals import HttpError
from gateway.openai_http.schema import Strict
from gateway.openai_http.translation import translate
from trichord.errors import TrichordError
from trichord.v1 import gateway_pb2, jobs_pb2

ENDPOINT = "/v1/chat/completions"
MAX_ERRORS = 100
"""Errors that are told of one file; more are only counted."""

_SUPPORTED_VALUES: dict[str, tuple[object, ...]] = {
    "stream": (False,),
    "logprobs": (False,),
    "include_receipt": (False,),
    "degradation": ("fail", "wait"),
    "priority": ("batch",),
}
"""Parameters that a batch cannot honour: null and these values mean what happens anyway."""


class BatchLine(Strict):
    """One line of a batch's input."""

    custom_id: str = Field(
        min_length=1, max_length=MAX_CUSTOM_ID_CHARS, description="Names the line in the output; unique."
    )
    method: Literal["POST"]
    url: Literal["/v1/chat/completions"]
    body: dict[str, Any] = Field(description="A CompletionRequest that is not streamed and without logprobs.")


class LineError(TypedDict):
    """What is wrong with a line of a batch's input, or with the whole of it."""

    code: str
    line: int | None
    """From 1; null if it is the whole file."""
    message: str
    param: str | None
    """Path in the line's JSON, e.g. body.messages[0].content."""


class WrongLine(NamedTuple):
    """A line that is no request."""

    custom_id: str | None
    """If it has one that can be told."""
    error: LineError


class LineLimits(NamedTuple):
    """How much a file may hold."""

    max_lines: int
    max_line_bytes: int
    max_media_bytes: int
    """Of one image or sound, after base64."""


Check = Callable[[gateway_pb2.ChatRequest], None]
"""Whatever else a request must pass. Raises TrichordError, its field a path of the contract."""


def unchecked(_: gateway_pb2.ChatRequest) -> None:
    """Passes everything."""


class BatchReader:
    """Takes a file chunk by chunk, and makes of every line an item of a job, or says what is wrong with it.

    Heavy for large media: feed it in a thread.
    """

    def __init__(self, limits: LineLimits, model: str = "", check: Check = unchecked) -> None:
        """``model``: the only one that lines may name; empty: any one, the same in all."""
        self._limits, self._model, self._check = limits, model, check
        self._splitter = LineSplitter(limits.max_line_bytes)
        self._custom_ids: set[str] = set()
        self.errors: list[LineError] = []
        """The first of them."""
        self.num_items = self.num_wrong = 0
        """Lines that are requests, and those that are none."""
        self.is_full = False
        """Whether there were too many lines: the rest is not looked at."""

    def feed(self, chunk: bytes) -> list[jobs_pb2.JobItem | WrongLine]:
        """What the lines are that end in ``chunk``."""
        return list(self._read(self._splitter.feed(chunk)))

    def end(self) -> list[jobs_pb2.JobItem | WrongLine]:
        """What the last line is, if nothing ended it. Without any line, that is an error."""
        found = list(self._read(self._splitter.end()))
        if not (self.num_items or self.num_wrong or self.is_full):
            self.note(HttpError("The file has no lines.", code="empty_file"), None)
        return found

    def note(self, error: TrichordError, number: int | None) -> LineError:
        """Remembers an error of a line if it is among the first, or of the whole file: that comes before all others."""
        told = refusals.body(error)["error"]
        noted = LineError(
            code=told["code"] or "invalid_line", line=number, message=told["message"], param=told["param"]
        )
        if number is None:
            self.errors.insert(0, noted)
        elif len(self.errors) < MAX_ERRORS:
            self.errors.append(noted)
        return noted

    def _read(self, lines: Iterable[Line]) -> Iterator[jobs_pb2.JobItem | WrongLine]:
        for line in () if self.is_full else lines:
            if line.number > self._limits.max_lines:
                break
            yield self._item_or_wrong(line)
        if not self.is_full and self._splitter.num_lines > self._limits.max_lines:
            self.is_full = True
            message = f"A file has at most {self._limits.max_lines} lines. Split it."
            self.note(HttpError(message, code="too_many_lines"), None)

    def _item_or_wrong(self, line: Line) -> jobs_pb2.JobItem | WrongLine:
        told: dict[str, Any] = {}
        try:
            told = self._object(line)
            item = self._item(told)
        except TrichordError as error:
            self.num_wrong += 1
            return WrongLine(_custom_id(told), self.note(error, line.number))
        self.num_items += 1
        return item

    def _object(self, line: Line) -> dict[str, Any]:
        if line.is_cut:
            message = f"A line has at most {self._limits.max_line_bytes} bytes. Send fewer or smaller media."
            raise HttpError(message, code="line_too_large")
        return strict_json.parse_object(line.raw, "line")

    def _item(self, line: dict[str, Any]) -> jobs_pb2.JobItem:
        parsed = parameters.validated(BatchLine, line)
        if not parsed.custom_id.isprintable():
            raise HttpError("custom_id: printable characters only.", code="invalid_value", param="custom_id")
        if parsed.custom_id in self._custom_ids:
            message = "Another line before has the same custom_id."
            raise HttpError(message, code="duplicate_custom_id", param="custom_id")
        self._custom_ids.add(parsed.custom_id)
        try:
            return jobs_pb2.JobItem(custom_id=parsed.custom_id, request=self._request(parsed.body))
        except TrichordError as error:
            error.field = f"body.{error.field}" if error.field else "body"
            raise

    def _request(self, body: dict[str, Any]) -> gateway_pb2.ChatRequest:
        for name, values in _SUPPORTED_VALUES.items():
            if (value := body.get(name)) is not None and value not in values:
                raise parameters.unsupported(name, f"{name} is not supported in a batch as it is here. Leave it out.")
        wanted = parameters.parse(body)
        self._model = self._model or wanted.model
        if wanted.model != self._model:
            message = f"There is no model {wanted.model!r} here; it is {self._model!r}."
            raise HttpError(message, code="model_not_found", param="model")
        translated = translate(wanted, "", self._limits.max_media_bytes)
        translated.request.ClearField("priority")
        try:
            self._check(translated.request)
        except TrichordError as error:
            error.field = translated.paths.of(error.field)
            raise
        return translated.request


def _custom_id(line: dict[str, Any]) -> str | None:
    """What a line calls itself, right or wrong as it may be."""
    custom_id = line.get("custom_id")
    return custom_id[:MAX_CUSTOM_ID_CHARS] if isinstance(custom_id, str) else None
