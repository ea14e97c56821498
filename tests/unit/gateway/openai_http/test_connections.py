"""Connections of the HTTP server, as the kernel sees them."""

from __future__ import annotations

import socket

from tests.unit.gateway.openai_http.http_lab import HttpLab


async def test_small_writes_leave_at_once(http: HttpLab) -> None:
    """With Nagle's algorithm on, each token after the first waits for a delayed acknowledgement."""
    await http.client.get("/healthz")
    (connection,) = http.running.server.server_state.connections
    kernel: socket.socket = connection.transport.get_extra_info("socket")
    assert kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
