"""``trichord chat``: one question, streamed to the terminal as it is answered.

The answer goes to stdout, everything about it to stderr. Edge only: the work is ``trichord.client``'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trichord_cli.connecting import DEFAULT_TARGET, ApiKey, Ca, Target

if TYPE_CHECKING:
    from trichord.client import OmniClient
    from trichord.v1 import decoder_pb2, gateway_pb2

Files = list[Path] | None


def chat(
    text: Annotated[str, typer.Argument(help="What to ask.")],
    images: Annotated[Files, typer.Option("--image", help="PNG, JPEG or WebP file; may be repeated.")] = None,
    sounds: Annotated[
        Files, typer.Option("--audio", help="WAV, FLAC, MP3, Ogg, M4A or WebM file; may be repeated.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="Instructions that come first.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens to generate.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy, the default.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes a sampled answer repeatable.")] = None,
    show_receipt: Annotated[bool, typer.Option("--receipt", help="Show where the time went.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every event as one line of JSON instead.")] = False,
    target: Target = DEFAULT_TARGET,
    api_key: ApiKey = None,
    ca: Ca = None,
) -> None:
    """Ask one question, with images and sounds before its text, and stream the answer."""
    from trichord import client
    from trichord.v1 import decoder_pb2
    from trichord_cli import trace

    media = [client.image(path.read_bytes()) for path in images or ()]
    media += [client.audio(path.read_bytes()) for path in sounds or ()]
    messages = [client.system(system)] if system is not None else []
    messages.append(client.user(*media, text))
    sampling = decoder_pb2.SamplingParams(max_tokens=max_tokens, temperature=temperature, seed=seed)
    print_event = _print_json if as_json else _print_text
    connect = partial(client.OmniClient, target, api_key=api_key, tls=client.Tls(ca) if ca else None)
    finished = asyncio.run(_stream(connect, messages, sampling, print_event))
    if not as_json:
        _conclude(finished, show_receipt)
        if show_receipt and (command := trace.command(target, finished.receipt.trace_id)):
            typer.echo(f"Through every process: {command}", err=True)


async def _stream(
    connect: Callable[[], OmniClient],
    messages: list[gateway_pb2.Message],
    sampling: decoder_pb2.SamplingParams,
    print_event: Callable[[gateway_pb2.ChatResponse], None],
) -> gateway_pb2.ChatFinished:
    from trichord.v1 import gateway_pb2

    finished = gateway_pb2.ChatFinished()
    async with connect() as omni:
        async for event in omni.chat(messages, sampling):
            print_event(event)
            finished = event.finished
    return finished


def _print_text(event: gateway_pb2.ChatResponse) -> None:
    if event.HasField("waiting"):
        typer.echo(f"{event.waiting.reason} About {event.waiting.estimated_seconds:.0f} s more.", err=True)
    typer.echo(event.token.text, nl=event.HasField("finished"))


def _print_json(event: gateway_pb2.ChatResponse) -> None:
    from google.protobuf.json_format import MessageToJson

    typer.echo(MessageToJson(event, preserving_proto_field_name=True, indent=None))


def _conclude(finished: gateway_pb2.ChatFinished, show_receipt: bool) -> None:
    from rich.console import Console

    from trichord_cli.receipt import usage_line, waterfall

    console = Console(stderr=True, highlight=False)
    console.print(usage_line(finished), style="dim", soft_wrap=True)
    if show_receipt:
        console.print(waterfall(finished.receipt))
