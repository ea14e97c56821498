"""Our decoder as its clients meet it: its front's gRPC service, in front of Triton, in a local cluster of its own.

Arguments: the cluster's name, its port, the checkpoint.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import trichord
from bench.peers.worker import claim_stdout, serve
from trichord.server import open_channel
from trichord.settings import MAX_MESSAGE_BYTES
from trichord.v1 import decoder_pb2, decoder_pb2_grpc

DECODER_PORT = 3
"""Offset to the cluster's (local_cluster.topology)."""
TIMEOUT_S = 600.0


class Stream:
    """One answer as it comes."""

    def __init__(self) -> None:
        self.started_s = time.monotonic()
        self.ids: list[int] = []
        self.times_s: list[float] = []
        self.quarter = asyncio.Event()
        """Set once a quarter of the tokens is there."""

    async def read(self, stub: Any, prompt: dict[str, Any], num_tokens: int) -> None:
        """Asks, and reads to the end. Raises AssertionError if the front lays the prompt out otherwise than we do."""
        async for event in stub.Generate(_request(prompt, num_tokens), timeout=TIMEOUT_S):
            if event.HasField("started"):
                assert event.started.prompt_tokens.text == len(prompt["ids"]), "prompts must be equally long for all"
            self.ids += event.chunk.token_ids
            self.times_s += [time.monotonic() - self.started_s] * len(event.chunk.token_ids)
            if len(self.ids) >= num_tokens // 4:
                self.quarter.set()


class Bench:
    """Asks one decoder front."""

    def __init__(self, target: str, runner: asyncio.Runner) -> None:
        self._target, self._runner = target, runner

    def generate(self, **arguments: Any) -> dict[str, Any]:
        """See ``trichord_engine.Bench.generate``."""
        streams = self._runner.run(self._generate(**arguments))
        return {"streams": [{"ids": stream.ids, "times_s": stream.times_s} for stream in streams]}

    async def _generate(
        self, prompts: list[dict[str, Any]], num_tokens: int, late_prompt: dict[str, Any] | None = None
    ) -> list[Stream]:
        async with open_channel(self._target, MAX_MESSAGE_BYTES) as channel:
            await channel.channel_ready()
            stub = decoder_pb2_grpc.DecoderServiceStub(channel)
            streams = [Stream() for _ in prompts]
            async with asyncio.TaskGroup() as answers:
                for stream, prompt in zip(streams, prompts, strict=True):
                    answers.create_task(stream.read(stub, prompt, num_tokens))
                if late_prompt:
                    await streams[0].quarter.wait()
                    await Stream().read(stub, late_prompt, 1)
        return streams


def _request(prompt: dict[str, Any], num_tokens: int) -> decoder_pb2.GenerateRequest:
    parts = ((decoder_pb2.ROLE_SYSTEM, prompt["system"]), (decoder_pb2.ROLE_USER, prompt["user"]))
    messages = [
        decoder_pb2.DecoderMessage(role=role, parts=[decoder_pb2.DecoderPart(text=text)]) for role, text in parts
    ]
    sampling = decoder_pb2.SamplingParams(max_tokens=num_tokens, ignore_eos=True)
    return decoder_pb2.GenerateRequest(messages=messages, sampling=sampling)


def _trichord(*arguments: str) -> None:
    subprocess.run([Path(sys.executable).parent / "trichord", *arguments], check=True, stdout=sys.stderr)


def main(name: str, port: int, checkpoint: str) -> None:
    """Serves a cluster, and stops it."""
    answers = claim_stdout()
    try:
        _trichord("up", "--name", name, "--port", str(port), "--preset", checkpoint)
        with asyncio.Runner() as runner:
            bench = Bench(f"127.0.0.1:{port + DECODER_PORT}", runner)
            serve(answers, f"trichord {trichord.__version__}", generate=bench.generate)
    finally:
        _trichord("down", "--name", name)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
