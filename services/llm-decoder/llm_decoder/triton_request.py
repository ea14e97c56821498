"""Between Triton's Python backend and the engine: a request's tensors and parameters in, responses out.

Knows the wire of model ``llama`` (its config.pbtxt); knows nothing of how tokens are made.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from llm_decoder.request import Finish, Request, Sink, Span, Timings
from llm_decoder.sampling_limits import SAMPLING_PARAMETERS, Sampling


def parse(request: Any, sink: Sink) -> Request:
    """The engine's request of a Triton request. Raises KeyError or ValueError if the front sent something wrong."""
    parameters = json.loads(request.parameters())
    stop_token_ids = frozenset(int(token) for token in parameters.pop("stop_token_ids").split(","))
    tensors = {tensor.name(): torch.utils.dlpack.from_dlpack(tensor.to_dlpack()) for tensor in request.inputs()}
    return Request(
        prompt_ids=tensors["INPUT_IDS"].tolist(),
        sampling=Sampling(**{name: parameters[name] for name in SAMPLING_PARAMETERS}),
        stop_token_ids=stop_token_ids,
        sink=sink,
        arrival_s=time.monotonic(),
        # The backend's shared memory is reused once the request is answered; rows may be read in a later step.
        media_rows=tensors["EMBEDDINGS"].clone() if "EMBEDDINGS" in tensors else None,
        spans=_spans(tensors["SPANS"], parameters["media"]) if "SPANS" in tensors else (),
    )


def _spans(spans: torch.Tensor, media: str) -> list[Span]:
    """The runs of rows [k, 2], each with what it is."""
    pairs = zip(spans.tolist(), media.split(","), strict=True)
    return [Span(start, num_tokens, identity) for (start, num_tokens), identity in pairs]


class TritonSink:
    """Sends tokens as responses of one decoupled request."""

    def __init__(self, pb_utils: Any, response_sender: Any) -> None:
        self._pb_utils, self._sender = pb_utils, response_sender
        self._timings: Timings | None = None

    def start(self, timings: Timings) -> None:
        """See ``request.Sink``."""
        self._timings = timings  # goes with the first token: an answer may be left before its last

    def emit(self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]]) -> None:
        """See ``request.Sink``."""
        tensors = {"TOKEN_IDS": _int32(token_ids)}
        if self._timings:
            tensors["TIMINGS"] = _float32(self._timings)
            self._timings = None
        self._sender.send(self._response(**tensors))

    def finish(
        self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]], reason: Finish, timings: Timings
    ) -> None:
        """See ``request.Sink``."""
        response = self._response(TOKEN_IDS=_int32(token_ids), FINISH=_int32([reason]), TIMINGS=_float32(timings))
        self._sender.send(response, flags=self._pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def fail(self, message: str) -> None:
        """See ``request.Sink``."""
        error = self._pb_utils.TritonError(message)
        response = self._pb_utils.InferenceResponse(output_tensors=[], error=error)
        self._sender.send(response, flags=self._pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def is_cancelled(self) -> bool:
        """See ``request.Sink``."""
        return bool(self._sender.is_cancelled())

    def is_full(self) -> bool:
        """See ``request.Sink``."""
        return False

    def _response(self, **tensors: torch.Tensor) -> Any:
        from_dlpack = self._pb_utils.Tensor.from_dlpack
        return self._pb_utils.InferenceResponse([from_dlpack(name, tensor) for name, tensor in tensors.items()])


def _int32(values: Sequence[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


def _float32(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)
