"""What the HTTP face is told."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from trichord.settings import Settings

MIB = 1024 * 1024
TRACE_ID = "{trace_id}"
"""What stands for a trace's id in a template."""


class HttpSettings(Settings):
    """Environment variables TRICHORD_HTTP_*."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_HTTP_")

    listen: str = Field("127.0.0.1:0", description="host:port to serve HTTP/1.1 on; port 0 takes a free one.")
    max_body_bytes: int = Field(
        90 * MIB, gt=0, description="Largest request body in bytes: 64 MiB of media are 86 MiB in base64."
    )
    max_buffered_bytes: int = Field(
        512 * MIB, gt=0, description="Bytes of bodies being read or answered at once, all requests together."
    )
    max_media_bytes: int = Field(25 * MIB, gt=0, description="Largest image or sound in bytes, after base64.")
    body_timeout_s: float = Field(60.0, gt=0, description="Seconds that a client has to send a whole body.")
    header_timeout_s: float = Field(10.0, gt=0, description="Seconds that a client has to send a request's headers.")
    idle_timeout_s: float = Field(65.0, gt=0, description="Seconds that an idle connection stays open.")
    max_header_bytes: int = Field(32 * 1024, ge=1024, description="Largest request line and headers, in bytes.")
    max_connections: int = Field(1024, gt=0, description="Open connections; more are closed as they come.")
    keep_alive_s: float = Field(
        10.0, gt=0, description="Seconds of silence after which a stream gets a comment, so that proxies keep it."
    )
    write_timeout_s: float = Field(
        60.0, gt=0, description="Seconds that a client may leave a stream unread before it is cut off."
    )
    idempotency_bytes: int = Field(
        64 * MIB, ge=0, description="Bytes of responses kept here for repeated idempotency keys while Redis is away."
    )
    idempotency_ttl_s: float = Field(600.0, gt=0, description="Seconds that a finished response is kept.")
    docs: bool = Field(True, description="Serve /docs and /openapi.json, without a key. Turn off to hide the contract.")
    traces_url: str = Field(
        "",
        pattern=r"^(https?://[^\s{}]+\{trace_id\}[^\s{}]*)?$",
        description="Where a trace is looked at, as https://jaeger.example/trace/{trace_id}: /traces/ID leads there, "
        "and the playground's answers do. Whoever reaches this face learns the address: name one that asks who comes. "
        "Unset: there are no such links.",
    )
    drain_notice_s: float = Field(
        0.0, ge=0, description="Seconds between failing /readyz and refusing requests: what balancers need to learn."
    )
    drain_timeout_s: float = Field(5.0, ge=0, description="Seconds that answers in progress have to finish on a drain.")
