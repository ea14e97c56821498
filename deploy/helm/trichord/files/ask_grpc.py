"""One answer by gRPC: `ask_grpc.py HOST:PORT`. TRICHORD_API_KEY is shown if it is set; TLS as TRICHORD_TLS_* says."""

import asyncio
import os
import sys
from pathlib import Path

from trichord.client import OmniClient, Tls, user
from trichord.v1 import decoder_pb2


def tls() -> Tls | None:
    """As the pod's settings say."""
    if "TRICHORD_TLS_CA" not in os.environ:
        return None
    ca, certificate, key = (Path(os.environ[f"TRICHORD_TLS_{name}"]) for name in ("CA", "CERTIFICATE", "KEY"))
    return Tls(ca=ca, certificate=certificate, key=key, server_name=os.environ["TRICHORD_TLS_SERVER_NAME"])


async def main(target: str) -> None:
    """Prints the answer as it comes."""
    sampling = decoder_pb2.SamplingParams(max_tokens=8)
    finished = False
    async with OmniClient(target, api_key=os.environ.get("TRICHORD_API_KEY"), tls=tls()) as client:
        async for event in client.chat([user("Say hello.")], sampling):
            print(event.token.text, end="", flush=True)
            finished = event.HasField("finished")
    print()
    sys.exit(None if finished else "The stream ended without a last event.")


asyncio.run(main(sys.argv[1]))
