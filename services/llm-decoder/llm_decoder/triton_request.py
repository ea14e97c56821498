"""Between Triton's Python backend and the engine: a request's tensors and parameters in, responses out.

Knows the wire of model ``llama`` (its config.pbtxt); knows nothing of how tokens are made.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import torch
from opentelemetry.context import Context

from llm_decoder import trail_spans
from llm_decoder.coalescing import Pace
from llm_decoder.courier import Courier
from llm_decoder.engine import Engine
from llm_decoder.grammar.constraint import Grammars
from llm_decoder.request import Finish, Priority, Request, Span
from llm_decoder.sampling_limits import SAMPLING_PARAMETERS, Sampling
from llm_decoder.timings import Timings
from llm_decoder.traced_sink import TracedSink
from llm_decoder.trail import Trail
from trichord.errors import InternalError, RequestError, TrichordError
from trichord.settings import Backend
from trichord.telemetry import names
from trichord.triton.model_tracing import parent_of, record_queue

ASK_PERIOD_S = 1.0
"""Seconds between two questions to Triton whether a request was cancelled: each is a round trip between processes, for
which the engine does not wait."""


class TritonRequests:
    """Takes Triton's requests for an engine; remembers those in progress, so that the front can steer them."""

    def __init__(self, pb_utils: Any, engine: Engine, backend: Backend, max_hold_ms: float, grammars: Grammars) -> None:
        """``max_hold_ms``: see ``coalescing.Pace``."""
        self._pb_utils, self._engine, self._backend = pb_utils, engine, backend
        self._grammars, self._pace, self._courier = grammars, Pace(max_hold_ms, len(os.sched_getaffinity(0))), Courier()
        self._sinks: WeakValueDictionary[str, TritonSink] = WeakValueDictionary()

    def take(self, request: Any) -> None:
        """Hands over one request, or does what it says of another."""
        sink = TritonSink(self._pb_utils, request.get_response_sender(), self._courier)
        try:
            parameters = json.loads(request.parameters())
            if "is_full" in parameters:
                self._steer(parameters)
                sink.close()
                return
            if parameters["backend"] != self._backend:
                raise ValueError(f"its front was told {parameters['backend']}, this model {self._backend}")
            self._sinks[parameters["key"]] = sink
            constraints = self._grammars.constraints(parameters["json_schema"], parameters["num_samples"])
            samples = parse(request, parameters, sink)
            if (parent := parent_of(request, parameters)) is not None:
                self._trace(samples, parent)
                began_ns = time.time_ns()
                self._courier.send(lambda: record_queue(parameters, began_ns))
            for sample, constraint in zip(samples, constraints, strict=True):
                sample.allowed_tokens = constraint
                sample.sink = self._pace.coalesced(sample.sink)
                self._engine.submit(sample)
        except RequestError as error:
            sink.fail(error)
        except (KeyError, ValueError) as error:
            sink.fail(InternalError(f"The request is not one of this model's: {error!r}."))

    def close(self) -> None:
        """Sends what is to be sent, and ends; call it after the engine's own."""
        self._courier.close()

    def _trace(self, samples: Sequence[Request], parent: Context) -> None:
        """Has what the samples meet in the engine told once each is over, as children of ``parent``."""
        attributes = {names.SIMULATED: True} if self._backend == "simulated" else {}

        def tell(trail: Trail) -> None:
            self._courier.send(lambda: trail_spans.tell(trail, parent, attributes))

        for number, sample in enumerate(samples):
            sample.trail = Trail(sample.arrival_s, number)
            assert isinstance(sample.sink, SampleSink)
            sample.sink = TracedSink(sample.sink, sample.trail, tell)

    def _steer(self, wishes: Mapping[str, Any]) -> None:
        """Notes what the front wishes of a request in progress; see ``steering.Wishes``."""
        if sink := self._sinks.get(wishes["key"]):  # else it is over already
            sink.is_full = wishes["is_full"]
            sink.has_left = wishes["has_left"]
            sink.ended_samples |= frozenset(json.loads(wishes["ended_samples"]))


def parse(request: Any, parameters: Mapping[str, Any], sink: TritonSink) -> list[Request]:
    """The engine's requests of a Triton request, one for each sample.

    Raises KeyError or ValueError if the front sent something wrong.
    """
    tensors = {tensor.name(): torch.utils.dlpack.from_dlpack(tensor.to_dlpack()) for tensor in request.inputs()}
    sampling = _sampling(parameters)
    arrival_s = time.monotonic()
    first = Request(
        prompt_ids=tensors["INPUT_IDS"].tolist(),
        sampling=sampling,
        stop_token_ids=frozenset(int(token) for token in parameters["stop_token_ids"].split(",")),
        sink=sink.of_sample(0),
        arrival_s=arrival_s,
        deadline_s=arrival_s + parameters["timeout_s"],
        priority=Priority.BATCH if parameters["is_batch"] else Priority.LIVE,
        scope=parameters["cache_scope"],
        # The backend's shared memory is reused once the request is answered; rows may be read in a later step.
        media_rows=tensors["EMBEDDINGS"].clone() if "EMBEDDINGS" in tensors else None,
        spans=_spans(tensors["SPANS"], parameters["media"]) if "SPANS" in tensors else (),
    )
    return [first, *(_sibling(first, number, sink) for number in range(1, sampling.num_samples))]


def _sibling(first: Request, number: int, sink: TritonSink) -> Request:
    """Another sample of the same prompt, with the next seed, that starts when the first's prompt is in the cache."""
    sampling = replace(first.sampling, seed=first.sampling.seed + number)
    return replace(first, sampling=sampling, sink=sink.of_sample(number), leader=first)


def _sampling(parameters: Mapping[str, Any]) -> Sampling:
    chosen = {name: parameters[name] for name in SAMPLING_PARAMETERS}
    bias = {int(token_id): value for token_id, value in json.loads(parameters["logit_bias"]).items()}
    return Sampling(**chosen, logit_bias=bias, logprobs=None if parameters["logprobs"] < 0 else parameters["logprobs"])


def _spans(spans: torch.Tensor, media: str) -> list[Span]:
    """The runs of rows [k, 2], each with what it is."""
    pairs = zip(spans.tolist(), media.split(","), strict=True)
    return [Span(start, num_tokens, identity) for (start, num_tokens), identity in pairs]


class TritonSink:
    """The responses of one decoupled request, whose samples share it: the last to end ends it."""

    def __init__(self, pb_utils: Any, response_sender: Any, courier: Courier) -> None:
        self._pb_utils, self._sender, self._courier = pb_utils, response_sender, courier
        self._num_open = 0
        self._ask_s = time.monotonic() + ASK_PERIOD_S
        self._was_cancelled = False
        self.is_full = False
        """Whether so much is undelivered that the samples should rest."""
        self.ended_samples: frozenset[int] = frozenset()
        """Samples that the front wants no more of."""
        self.has_left = False
        """Whether that is because it gave up."""

    def of_sample(self, number: int) -> SampleSink:
        """Where sample ``number``'s tokens go."""
        self._num_open += 1
        return SampleSink(self, number)

    def is_cancelled(self) -> bool:
        """Whether the front has left: it says so, unless it died."""
        now_s = time.monotonic()
        if now_s >= self._ask_s:
            self._ask_s = now_s + ASK_PERIOD_S
            self._courier.send(self._ask)
        return self._was_cancelled

    def _ask(self) -> None:
        self._was_cancelled = bool(self._sender.is_cancelled())

    def send(self, tensors: Callable[[], Mapping[str, torch.Tensor]], *, is_last: bool) -> None:
        """Sends one response, whose tensors the courier makes; ``is_last`` if it is its sample's last."""
        flags = self._flags(is_last)

        def deliver() -> None:
            from_dlpack = self._pb_utils.Tensor.from_dlpack
            outputs = [from_dlpack(name, tensor) for name, tensor in tensors().items()]
            self._sender.send(self._pb_utils.InferenceResponse(outputs), flags=flags)

        self._courier.send(deliver)

    def close(self) -> None:
        """Ends a request that has no answer."""
        final = self._pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        self._courier.send(lambda: self._sender.send(flags=final))

    def leave(self) -> None:
        """Ends a sample without a word, because nobody waits for one."""
        self._num_open -= 1
        if not self._num_open:
            self.close()

    def fail(self, error: TrichordError) -> None:
        """Ends a sample with an error; the front reads its class back from the reason in front."""
        told = self._pb_utils.TritonError(f"{error.reason}: {error.message}")
        response, flags = self._pb_utils.InferenceResponse(output_tensors=[], error=told), self._flags(is_last=True)
        self._courier.send(lambda: self._sender.send(response, flags=flags))

    def _flags(self, is_last: bool) -> int:
        """Of the next response, which ends the request if it ends the last open sample."""
        self._num_open -= is_last
        is_final = is_last and self._num_open <= 0
        return int(self._pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL) if is_final else 0


class SampleSink:
    """The responses of one sample."""

    def __init__(self, sink: TritonSink, number: int) -> None:
        self._sink, self._number = sink, number
        self._timings: Timings | None = None

    def start(self, timings: Timings) -> None:
        """See ``request.Sink``."""
        self._timings = timings  # goes with the first token: an answer may be left before its last

    def emit(self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]]) -> None:
        """See ``request.Sink``."""
        timings, self._timings = self._timings, None
        self._sink.send(partial(self._tensors, token_ids, logprobs, timings), is_last=False)

    def finish(
        self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]], reason: Finish, timings: Timings
    ) -> None:
        """See ``request.Sink``."""
        self._sink.send(partial(self._tensors, token_ids, logprobs, timings, reason), is_last=True)

    def fail(self, error: TrichordError) -> None:
        """See ``request.Sink``."""
        if self._has_ended:
            self._sink.leave()
        else:
            self._sink.fail(error)

    def is_cancelled(self) -> bool:
        """See ``request.Sink``."""
        return self._has_ended or self._sink.is_cancelled()

    def is_full(self) -> bool:
        """See ``request.Sink``."""
        return self._sink.is_full

    @property
    def is_satisfied(self) -> bool:
        """See ``traced_sink.SatisfiableSink``."""
        return self._has_ended and not self._sink.has_left

    @property
    def _has_ended(self) -> bool:
        return self._number in self._sink.ended_samples

    def _tensors(
        self,
        token_ids: Sequence[int],
        logprobs: Sequence[Mapping[int, float]],
        timings: Timings | None,
        reason: Finish | None = None,
    ) -> dict[str, torch.Tensor]:
        tensors = {"TOKEN_IDS": _int32(token_ids), "SAMPLE": _int32([self._number])}
        if timings:
            tensors["TIMINGS"] = torch.tensor(timings, dtype=torch.float32)
        if logprobs:
            tensors |= _logprobs(logprobs)
        if reason is not None:
            tensors["FINISH"] = _int32([reason])
        return tensors


def _logprobs(logprobs: Sequence[Mapping[int, float]]) -> dict[str, torch.Tensor]:
    """Ids and values, [tokens, most]; the chosen token first, -1 where there are fewer."""
    widest = max(map(len, logprobs))
    ids = [[*row, *[-1] * (widest - len(row))] for row in logprobs]
    values = [[*row.values(), *[0.0] * (widest - len(row))] for row in logprobs]
    return {"LOGPROB_IDS": torch.tensor(ids, dtype=torch.int32), "LOGPROBS": torch.tensor(values, dtype=torch.float32)}


def _int32(values: Sequence[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)
