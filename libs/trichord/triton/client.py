"""A client of Triton's gRPC inference protocol (KServe v2), for our own models on this pod's loopback.

Thin over Triton's stubs rather than its Python client: one deadline, one cancellation and one error tree then hold on
this hop as on every other. Knows nothing of what the tensors mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from trichord.errors import (
    ContextLengthError,
    DeadlineError,
    InternalError,
    OverloadedError,
    RequestError,
    TrichordError,
    UnavailableError,
)
from trichord.server import open_channel
from trichord.telemetry import names, spans
from trichord.tensors import BFLOAT16, Array

Parameter = bool | int | float | str

_DTYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "BF16": BFLOAT16,
    "INT32": np.dtype("<i4"),
    "UINT8": np.dtype("u1"),
}
_DATATYPES = {dtype: name for name, dtype in _DTYPES.items()}

OWN_REASONS: dict[str, type[TrichordError]] = {
    cls.reason: cls for cls in (OverloadedError, UnavailableError, DeadlineError, RequestError, ContextLengthError)
}

# Streams answer errors in-band unless asked for real gRPC codes (Triton 24.08+).
_METADATA = (("triton_grpc_error", "true"),)

END_TIMEOUT_S = 1.0
"""Longest that closing waits for streams that have had their last response to be ended by Triton."""

# What grpc.aio says in place of a call's own status, where the call ended while a message was being written to it.
_ENDED_IN_WRITE = "Internal error from Core"


class TritonClient:
    """Calls one Triton server. Every call takes the seconds it may last."""

    def __init__(self, target: str, max_message_bytes: int) -> None:
        self._channel = open_channel(target, max_message_bytes)
        self._stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._ending: set[asyncio.Task[None]] = set()

    async def model_ready(self, model: str, timeout_s: float = 2.0) -> bool:
        """Whether the model is loaded and takes requests; False if the server does not answer."""
        try:
            request = service_pb2.ModelReadyRequest(name=model)
            return bool((await self._stub.ModelReady(request, timeout=timeout_s)).ready)
        except grpc.aio.AioRpcError:
            return False

    async def infer(self, model: str, inputs: Mapping[str, Array], *, timeout_s: float) -> dict[str, Array]:
        """One request, one response: the outputs by name.

        The server drops the request from its queue when ``timeout_s`` has passed. Raises UnavailableError,
        DeadlineError or InternalError.
        """
        context = spans.traceparent()
        request = _request(model, inputs, {"timeout": int(timeout_s * 1e6), **_told(context)})
        try:
            return _outputs(await self._stub.ModelInfer(request, timeout=timeout_s, metadata=_header(context)))
        except grpc.aio.AioRpcError as error:
            raise _translated(error.code(), error.details() or "") from error

    async def stream(
        self, model: str, inputs: Mapping[str, Array], parameters: Mapping[str, Parameter], *, timeout_s: float
    ) -> AsyncGenerator[dict[str, Array]]:
        """One request to a decoupled model, any number of responses, in order.

        The model is traced as a child of the ``traceparent`` among its parameters, if there is one. Triton is not: of
        some streams it never tells its outermost span, and the others would hang in the air. Closing the iterator
        cancels the request: the model sees it at its next poll. Raises as ``infer`` does; ends only after the model's
        final response, else raises UnavailableError.
        """
        ends_s, is_final = time.monotonic() + timeout_s, False
        call = self._stub.ModelStreamInfer(timeout=timeout_s, metadata=_METADATA)
        try:
            context = str(parameters.get(spans.TRACEPARENT, ""))
            told = {**parameters, **_told(context), "triton_enable_empty_final_response": True}
            await call.write(_request(model, inputs, told))
            while (message := await call.read()) is not grpc.aio.EOF:
                if message.error_message:
                    raise _translated(grpc.StatusCode.UNKNOWN, message.error_message)
                if is_final := message.infer_response.parameters["triton_final_response"].bool_param:
                    self._end(call)
                if outputs := _outputs(message.infer_response):
                    yield outputs
                if is_final:
                    return
            raise UnavailableError("The model server ended the stream early. Try again.", retry_after_s=1.0)
        except grpc.aio.AioRpcError as error:
            raise _translated(_status(error, ends_s), error.details() or "") from error
        finally:
            if not is_final:
                call.cancel()

    def _end(self, call: Any) -> None:
        """Leaves it to Triton to end a stream whose last response was read, whatever becomes of the reader.

        Triton 24.10 loses a stream that is cancelled while its last response is being written: it never lets go of the
        request, nor of the model, which then cannot be unloaded.
        """

        async def end() -> None:
            with contextlib.suppress(grpc.aio.InternalError):  # if the server is gone, the stream has ended
                await call.done_writing()
            await call.code()

        ending = asyncio.create_task(end(), name="ending a stream")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Closes the channel and cancels what is in progress."""
        try:
            if self._ending:
                await asyncio.wait(self._ending, timeout=END_TIMEOUT_S)
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await self._channel.close()


def _header(context: str) -> spans.Metadata:
    """The span of a request, for Triton: it traces all that it is told of ("OpenTelemetry Context Propagation" in its
    user guide), so that nothing is told unless the span is recorded.

    Triton 24.10 reads on behind a header's end; what is in memory there makes some requests look as if they had none.
    """
    return ((spans.TRACEPARENT, context),) if context else ()


def _told(context: str) -> dict[str, Parameter]:
    """The same for the model, whose own spans do not rest on Triton's; and when the request was sent."""
    return {spans.TRACEPARENT: context, names.SENT_NS: time.time_ns()} if context else {}


def _request(model: str, inputs: Mapping[str, Array], parameters: Mapping[str, Parameter]) -> Any:
    request = service_pb2.ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=_DATATYPES[array.dtype], shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    for name, value in parameters.items():
        _set_parameter(request.parameters[name], value)
    return request


def _set_parameter(parameter: Any, value: Parameter) -> None:
    match value:
        case bool():
            parameter.bool_param = value
        case int():
            parameter.int64_param = value
        case float():
            parameter.double_param = value
        case str():
            parameter.string_param = value


def _outputs(response: Any) -> dict[str, Array]:
    return {
        output.name: np.frombuffer(raw, dtype=_DTYPES[output.datatype]).reshape(tuple(output.shape))
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def _status(error: grpc.aio.AioRpcError, ends_s: float) -> grpc.StatusCode:
    """How a call that may last until ``ends_s`` (of the monotonic clock) ended."""
    if error.details() != _ENDED_IN_WRITE:
        return error.code()
    return grpc.StatusCode.DEADLINE_EXCEEDED if time.monotonic() >= ends_s else grpc.StatusCode.UNAVAILABLE


def _translated(code: grpc.StatusCode, text: str) -> TrichordError:
    """Triton's codes are not passed on: its queue and its shutdown speak in several (conventions of Triton 24.10).

    What our own models refuse begins with its reason.
    """
    reason, _, message = text.partition(": ")
    if reason in OWN_REASONS:
        own = OWN_REASONS[reason]
        return own(message, retry_after_s=1.0 if own in (OverloadedError, UnavailableError) else None)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED or "timeout expired" in text:
        return DeadlineError("The model did not answer in time. Allow a longer deadline or try again.")
    if "maximum queue size" in text:
        return OverloadedError("The model's queue is full. Try again shortly.", retry_after_s=1.0)
    draining = "no available versions" in text
    if draining or code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return UnavailableError("The model server does not answer. Try again shortly.", retry_after_s=1.0)
    return InternalError("The model failed on this request.")
