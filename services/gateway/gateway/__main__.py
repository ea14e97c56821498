"""``python -m gateway``: the gateway process, a gRPC and an HTTP server on one event loop."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from gateway.cluster import ClusterSettings, connect
from gateway.identity.interceptor import AuthInterceptor
from gateway.identity.opening import open_guard
from gateway.identity.settings import AuthSettings
from gateway.openai_http import routes
from gateway.openai_http.answering import ClusterCore
from gateway.openai_http.desk import Desk
from gateway.openai_http.idempotency import MemoryIdempotency
from gateway.openai_http.serving import serve_http
from gateway.openai_http.settings import HttpSettings
from gateway.openai_http.shared_idempotency import SharedIdempotency
from gateway.playground import pages
from gateway.service import OmniService
from gateway.stores import Stores
from trichord import server
from trichord.logs import configure
from trichord.telemetry.settings import TelemetrySettings
from trichord.v1 import gateway_pb2, gateway_pb2_grpc


async def main() -> None:
    """Serves until told to stop. Ready at once: what is behind degrades, it does not make the gateway unready."""
    told, http = ClusterSettings.from_environment(), HttpSettings.from_environment()
    configure("gateway", told.gateway.log_level)
    guard = open_guard(AuthSettings.from_environment(), told.gateway.listen, http.listen)
    cluster = connect(told)

    def register(grpc_server: grpc.aio.Server) -> Sequence[str]:
        gateway_pb2_grpc.add_OmniServiceServicer_to_server(OmniService(cluster), grpc_server)
        return [gateway_pb2.DESCRIPTOR.services_by_name["OmniService"].full_name]

    async def ready() -> bool:
        return True

    kept = _kept_responses(http, cluster.stores, told.gateway.default_deadline_s)
    trusts_parent = TelemetrySettings.from_environment().trust_parent
    standing = cluster.admission.standing.of
    desk = Desk(http, ClusterCore(cluster), guard.admit, standing, kept, trusts_parent=trusts_parent)
    try:
        async with serve_http(routes.build(desk, pages.routes(has_traces=bool(http.traces_url))), http) as running:
            await server.serve(
                register,
                ready,
                told.gateway,
                interceptors=[AuthInterceptor(guard)],
                tls=told.tls,
                trusts_parent=trusts_parent,
                other_drains=[running.drain],
            )
    finally:
        await cluster.close()


def _kept_responses(http: HttpSettings, stores: Stores, longest_s: float) -> SharedIdempotency:
    own = MemoryIdempotency(http.idempotency_bytes, http.idempotency_ttl_s)
    return SharedIdempotency(stores.cache, stores.secret, own, ttl_s=http.idempotency_ttl_s, claim_s=longest_s)


if __name__ == "__main__":
    server.run("gateway", main())
