"""A real engine behind the model's own adapter, in the front's process: only Triton and the arithmetic are missing."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace

import torch

from llm_decoder.sampler import Sampled
from llm_decoder.triton_request import TritonRequests
from trichord.errors import InternalError

PB_UTILS = SimpleNamespace(
    Tensor=SimpleNamespace(from_dlpack=lambda name, tensor: (name, tensor.numpy())),
    TritonError=str,
    InferenceResponse=lambda output_tensors, error=None: SimpleNamespace(outputs=dict(output_tensors), error=error),
    TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
)


class Sender:
    """A decoupled request's way back, from the engine's thread to the loop."""

    def __init__(self):
        self.responses, self._loop, self.has_left = asyncio.Queue(), asyncio.get_running_loop(), False

    def send(self, response=None, flags=0):
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.responses.put_nowait, (response, flags))

    def is_cancelled(self):
        return self.has_left


class InProcess:
    """What ``TritonClient`` is to the front, without a Triton between."""

    def __init__(self, engine, grammars):
        self.requests = TritonRequests(PB_UTILS, engine, "torch", max_hold_ms=0, grammars=grammars)
        self.asked, self.controls, self.failures = [], [], []

    async def stream(self, model, inputs, parameters, *, timeout_s):
        if "is_full" in parameters:
            self.controls.append(parameters)
            if self.failures:
                raise self.failures.pop(0)
        else:
            self.asked.append(parameters)
        sender = Sender()
        tensors = [
            SimpleNamespace(name=lambda name=name: name, to_dlpack=lambda array=array: torch.from_numpy(array.copy()))
            for name, array in inputs.items()
        ]
        asked = json.dumps(parameters)
        self.requests.take(
            SimpleNamespace(
                parameters=lambda: asked,
                get_response_sender=lambda: sender,
                inputs=lambda: tensors,
                trace=lambda: SimpleNamespace(get_context=lambda: None),
            )
        )
        try:
            while True:
                response, is_final = await sender.responses.get()
                if response and response.error:
                    raise InternalError(response.error)
                if response:
                    yield response.outputs
                if is_final:
                    return
        finally:
            sender.has_left = True


class Script:
    """A model of few words: sample ``seed`` says a full stop as its fourth token, every other token is a letter."""

    def __init__(self, config, vocabulary, seed):
        self.config, self.seed, self.requests = config, seed, {}
        (self.letter,), (self.stop,) = vocabulary.encode("a"), vocabulary.encode(".")

    def step(self, step):
        time.sleep(0.001)
        return torch.empty(sum(scheduled.yields_token for scheduled in step), 0)

    def sample(self, logits_BV, requests):
        return [Sampled(self._token_of(request), ()) for request in requests]

    def _token_of(self, request):
        self.requests[request.sampling.seed] = request
        return self.stop if request.sampling.seed == self.seed and len(request.output_ids) == 3 else self.letter
