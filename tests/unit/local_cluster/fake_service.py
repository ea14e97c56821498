"""A small real service that the supervisor's tests run: ``python fake_service.py MODE``.

serve: answers health; slow FILE: is ready once the file is there; deaf: runs and never listens; stubborn: serves and
ignores SIGTERM; broken: ends as ours do when a checkpoint is broken; once FILE: breaks the first time and serves the
second.
"""

import asyncio
import signal
import sys
import time
from pathlib import Path

from pydantic_settings import SettingsConfigDict

from trichord import server
from trichord.errors import CheckpointError
from trichord.settings import ServiceSettings


class FakeSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRICHORD_FAKE_")


async def _always() -> bool:
    return True


async def _if_there() -> bool:
    return await asyncio.to_thread(Path(sys.argv[2]).exists)


async def _broken() -> None:
    raise CheckpointError("Checkpoint tensor llm.model.norm.weight is missing.", tensor="llm.model.norm.weight")


async def _stubborn() -> None:
    running = await server.start(lambda grpc_server: [], FakeSettings.from_environment())
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    await running.watch(_always)


def main(mode: str) -> None:
    print(f"this is {mode}", file=sys.stderr, flush=True)
    match mode:
        case "deaf":
            time.sleep(600)
        case "broken":
            server.run("test", _broken())
        case "stubborn":
            asyncio.run(_stubborn())
        case "once" if not Path(sys.argv[2]).exists():
            Path(sys.argv[2]).touch()
            server.run("test", _broken())
        case "slow":
            server.run("test", server.serve(lambda grpc_server: [], _if_there, FakeSettings.from_environment()))
        case _:
            server.run("test", server.serve(lambda grpc_server: [], _always, FakeSettings.from_environment()))


if __name__ == "__main__":
    main(sys.argv[1])
