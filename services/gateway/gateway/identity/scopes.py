"""Which scope each gRPC method needs. A method that is not here may be called by nobody.

Knows no servicer.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.identity.principal import Scope

OPEN_METHODS = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})
"""What needs no key: load balancers and kubelets have none."""

SCOPE_OF_METHOD: Mapping[str, Scope] = {
    "/trichord.v1.OmniService/Chat": Scope.CHAT,
    "/trichord.v1.OmniService/CountTokens": Scope.CHAT,
    "/trichord.v1.OmniService/GetModel": Scope.CHAT,
    "/trichord.v1.OmniService/PutMedia": Scope.MEDIA,
    "/trichord.v1.OmniService/ListMedia": Scope.MEDIA,
    "/trichord.v1.OmniService/DeleteMedia": Scope.MEDIA,
    "/trichord.v1.OmniService/Encode": Scope.ENCODE,
    "/trichord.v1.JobService/SubmitJob": Scope.JOBS,
    "/trichord.v1.JobService/GetJob": Scope.JOBS,
    "/trichord.v1.JobService/ListJobs": Scope.JOBS,
    "/trichord.v1.JobService/CancelJob": Scope.JOBS,
    "/trichord.v1.JobService/WatchJob": Scope.JOBS,
    "/trichord.v1.JobService/ListJobResults": Scope.JOBS,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Scope.ADMIN,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Scope.ADMIN,
}
