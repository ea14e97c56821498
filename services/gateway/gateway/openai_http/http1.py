"""HTTP/1.1 connections: uvicorn's on h11, with limits of our own on their number and on a client's dallying."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.openai_http import refusals
from gateway.openai_http.event_stream import to_json
from gateway.openai_http.refusals import HttpError
from gateway.openai_http.settings import HttpSettings


class Connection(H11Protocol):
    """One connection; it closes if its client is owed nothing and keeps it waiting."""

    settings: ClassVar[HttpSettings]
    _client_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Waits for headers; hangs up if there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections:
            transport.abort()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Sees whether the client still keeps us waiting."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Sees whether the client still keeps us waiting."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no longer."""
        super().connection_lost(exc)
        self._stop_watching()

    def _watch(self) -> None:
        if not self._client_owes():
            self._stop_watching()
        elif self._client_due is None:
            self._client_due = self.loop.call_later(self.settings.header_timeout_s, self.transport.abort)

    def _client_owes(self) -> bool:
        """The rest of some headers; or of a body refused unread, taken in so that the refusal can be read."""
        if self.cycle is not None and self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY:
            return True
        return self.conn.their_state is h11.IDLE and (self.cycle is None or bool(self.conn.trailing_data[0]))

    def _stop_watching(self) -> None:
        if self._client_due is not None:
            self._client_due.cancel()
            self._client_due = None

    def send_400_response(self, msg: str) -> None:
        """Refuses what h11 cannot read."""
        for event in _not_http():
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def connections(settings: HttpSettings) -> type[Connection]:
    """The class of a server's connections."""
    return type("ServedConnection", (Connection,), {"settings": settings})


def _not_http() -> Sequence[h11.Event]:
    message = "This is not an HTTP/1.1 request, or its headers are too large."
    content = to_json(refusals.body(HttpError(message, code="invalid_http")))
    length = ("content-length", str(len(content)))
    headers = [("content-type", "application/json"), ("connection", "close"), ("x-should-retry", "false"), length]
    return h11.Response(status_code=400, headers=headers), h11.Data(data=content), h11.EndOfMessage()
