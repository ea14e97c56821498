"""``python -m gateway``: the gateway process, a gRPC and an HTTP server on one event loop."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from gateway.cluster import Cluster, ClusterSettings, connect
from gateway.identity.interceptor import AuthInterceptor
from gateway.identity.opening import open_guard
from gateway.identity.settings import AuthSettings
from gateway.jobs.assembly import open_jobs
from gateway.jobs.desk import Jobs
from gateway.jobs.service import JobService
from gateway.openai_http import routes
from gateway.openai_http.answering import ClusterCore
from gateway.openai_http.desk import Desk
from gateway.openai_http.idempotency import MemoryIdempotency
from gateway.openai_http.job_desk import open_job_desk
from gateway.openai_http.serving import serve_http
from gateway.openai_http.settings import HttpSettings
from gateway.openai_http.shared_idempotency import SharedIdempotency
from gateway.playground import pages
from gateway.service import OmniService
from gateway.stores import Stores
from trichord import server
from trichord.jobs.settings import JobsSettings
from trichord.jobs.usage.opening import reporting
from trichord.jobs.usage.reporter import Report
from trichord.jobs.usage.settings import UsageSettings
from trichord.logs import configure
from trichord.telemetry.settings import TelemetrySettings
from trichord.v1 import gateway_pb2, gateway_pb2_grpc, jobs_pb2, jobs_pb2_grpc


async def main() -> None:
    """Serves until told to stop. Ready at once: what is behind degrades, it does not make the gateway unready."""
    async with reporting(JobsSettings.from_environment(), UsageSettings.from_environment()) as report_usage:
        await _serve(report_usage)


async def _serve(report_usage: Report) -> None:
    told, http = ClusterSettings.from_environment(), HttpSettings.from_environment()
    configure("gateway", told.gateway.log_level)
    guard = open_guard(AuthSettings.from_environment(), told.gateway.listen, http.listen)
    jobs_settings = JobsSettings.from_environment()
    cluster = connect(told, report_usage)
    jobs = open_jobs(jobs_settings, cluster.sources, told.gateway) if jobs_settings.are_on else None

    def register(grpc_server: grpc.aio.Server) -> Sequence[str]:
        return register_services(grpc_server, cluster, jobs.jobs if jobs else None)

    async def ready() -> bool:
        return True

    kept = _kept_responses(http, cluster.stores, told.gateway.default_deadline_s)
    trusts_parent = TelemetrySettings.from_environment().trust_parent
    standing = cluster.admission.standing.of
    core = ClusterCore(cluster)
    batches = open_job_desk(jobs.jobs, core, http, cluster) if jobs else None
    desk = Desk(http, core, guard.admit, standing, kept, batches, trusts_parent=trusts_parent)
    try:
        if jobs and batches:
            jobs.start()
            cluster.waking.tell_of(jobs.demand)
            batches.keeper.start()
        async with serve_http(routes.build(desk, pages.routes(has_traces=bool(http.traces_url))), http) as running:
            await server.serve(
                register,
                ready,
                told.gateway,
                interceptors=[AuthInterceptor(guard)],
                tls=told.tls,
                trusts_parent=trusts_parent,
                other_drains=[running.drain, jobs.drain] if jobs else [running.drain],
            )
    finally:
        if jobs and batches:
            await batches.keeper.close()
            await jobs.close()
        await cluster.close()


def register_services(grpc_server: grpc.aio.Server, cluster: Cluster, jobs: Jobs | None) -> Sequence[str]:
    """Adds what clients may call; returns the names of the services. Without ``jobs`` theirs says that it is off."""
    gateway_pb2_grpc.add_OmniServiceServicer_to_server(OmniService(cluster), grpc_server)
    jobs_pb2_grpc.add_JobServiceServicer_to_server(JobService(jobs), grpc_server)
    files = {"OmniService": gateway_pb2.DESCRIPTOR, "JobService": jobs_pb2.DESCRIPTOR}
    return [file.services_by_name[name].full_name for name, file in files.items()]


def _kept_responses(http: HttpSettings, stores: Stores, longest_s: float) -> SharedIdempotency:
    own = MemoryIdempotency(http.idempotency_bytes, http.idempotency_ttl_s)
    return SharedIdempotency(stores.cache, stores.secret, own, ttl_s=http.idempotency_ttl_s, claim_s=longest_s)


if __name__ == "__main__":
    server.run("gateway", main())
