"""A gateway's JobService on loopback, in a thread of its own so that a blocking command can be run beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import grpc
import structlog
from typer.testing import CliRunner, Result

from gateway.identity.interceptor import AuthInterceptor
from gateway.identity.opening import open_guard
from gateway.identity.settings import AuthSettings
from gateway.jobs.service import JobService
from tests.unit.gateway.jobs.jobs_lab import LIMITS, Handles
from tests.unit.gateway.openai_http.jobs_lab import Answering, DirectoryJobs, completed
from trichord import server
from trichord.v1 import gateway_pb2, gateway_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from trichord_cli.main import app


class Serving(gateway_pb2_grpc.OmniServiceServicer):
    """Tells which model there is."""

    async def GetModel(self, request: Any, context: Any) -> gateway_pb2.OmniServiceGetModelResponse:
        return gateway_pb2.OmniServiceGetModelResponse(model="fake")


class JobsCli:
    """The service, and the command pointed at it."""

    def __init__(self, jobs: DirectoryJobs, loop: asyncio.AbstractEventLoop) -> None:
        self.jobs, self._loop = jobs, loop
        self.port = 0

    def run(self, *arguments: str) -> Result:
        """``trichord jobs ARGUMENTS``; they call this gateway."""
        return CliRunner().invoke(app, ["jobs", *arguments, "--target", f"127.0.0.1:{self.port}"])

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Runs it beside the service."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def taken(self) -> list[jobs_pb2.JobRecord]:
        """The jobs without an end."""
        found: list[jobs_pb2.JobRecord] = self.wait(self.jobs.taken())
        return found

    def items(self, record: jobs_pb2.JobRecord) -> list[jobs_pb2.JobItem]:
        found: list[jobs_pb2.JobItem] = self.wait(self.jobs.items(record))
        return found

    def answer(self, answering: Answering = completed) -> None:
        """Ends all jobs."""
        self.wait(self.jobs.answer(answering))

    async def serve(self) -> server.RunningServer:
        """Starts the service."""

        def register(grpc_server: grpc.aio.Server) -> list[str]:
            jobs_pb2_grpc.add_JobServiceServicer_to_server(JobService(self.jobs.desk), grpc_server)
            gateway_pb2_grpc.add_OmniServiceServicer_to_server(Serving(), grpc_server)
            return ["trichord.v1.JobService", "trichord.v1.OmniService"]

        guard = open_guard(AuthSettings(), LIMITS.listen)
        running = await server.start(register, LIMITS, interceptors=[AuthInterceptor(guard)])
        self.port = running.port
        return running


@contextlib.contextmanager
def running_jobs(folder: Path) -> Iterator[JobsCli]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="jobs lab")
    thread.start()
    cli = JobsCli(DirectoryJobs(folder, Handles(), LIMITS), loop)
    try:
        with structlog.testing.capture_logs():  # the service's lines would be the command's output
            running = cli.wait(cli.serve())
            yield cli
            cli.wait(running.server.stop(0))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def sentence(result: Result) -> str:
    """What a refused command says, without the frame around it."""
    return " ".join(result.stderr.replace("│", " ").split())


def line(custom_id: str, text: str = "hi", **body: Any) -> str:
    asked = {"model": "fake", "messages": [{"role": "user", "content": text}], **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": asked}) + "\n"
