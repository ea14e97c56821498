"""The guard before every gRPC method: what is not in the table of scopes may be called by nobody.

A caller is refused by the metadata alone, before any of the message is taken in. Knows no servicer.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from gateway.identity.audit import digest
from gateway.identity.guard import Call, Guard
from gateway.identity.principal import Principal, acting
from gateway.identity.scopes import OPEN_METHODS, SCOPE_OF_METHOD
from trichord import request_id
from trichord.errors import RequestError
from trichord.interceptors import Context, Guarding
from trichord.jobs import on_behalf
from trichord.telemetry import request_line

_NAMES = "x509_subject_alternative_name"
"""Of gRPC's auth context (gRPC core, GRPC_X509_SAN_PROPERTY_NAME)."""


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Runs every method as ``current_principal``, health aside. Must be inside of the ErrorInterceptor."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], handler_call_details: Any) -> Any:
        """See ``grpc.aio.ServerInterceptor``."""
        if handler_call_details.method in OPEN_METHODS:
            return await continuation(handler_call_details)
        try:
            entry = await self._entry(handler_call_details)
        except Exception as error:  # outside of a handler gRPC would answer UNKNOWN with the error's text
            return _refusing(error)
        return await entry.intercept_service(continuation, handler_call_details)

    async def _entry(self, details: Any) -> _Acting:
        """How the method is run. Raises what ``Guard.admit`` does."""
        call, scope = _call(details), SCOPE_OF_METHOD.get(details.method)
        if call.authorization is None and await self._guard.takes_certificates():

            async def by_certificate(context: Context) -> Principal:
                return await self._guard.admit(call._replace(certificate_names=_certificate_names(context)), scope)

            return _Acting(by_certificate)
        principal = await self._guard.admit(call, scope)

        async def admitted(context: Context) -> Principal:
            return principal

        return _Acting(admitted)


class _Acting(Guarding):
    """Runs a handler for whoever ``principal_of`` says calls."""

    def __init__(self, principal_of: Callable[[Context], Awaitable[Principal]]) -> None:
        self._principal_of = principal_of

    @contextlib.asynccontextmanager
    async def _guard(self, context: Context, method: str) -> AsyncIterator[None]:
        principal = await self._principal_of(context)
        request_line.add(tenant=digest(principal.tenant))
        if principal.job_id:
            request_line.add(job=principal.job_id)
        with acting(principal):
            yield


def _refusing(error: Exception) -> Any:
    """A handler that takes in nothing and raises ``error``, whatever kind of method was called."""

    async def refuse(requests: object, context: Context) -> AsyncIterator[bytes]:
        raise error
        yield b""

    return grpc.stream_stream_rpc_method_handler(refuse)


def _call(details: Any) -> Call:
    metadata = [(name, value) for name, value in details.invocation_metadata or ()]
    shown = [value for name, value in metadata if name == "authorization"]
    named = next((value for name, value in metadata if name == "x-request-id"), "")
    authorization = shown[0] if len(shown) == 1 else "" if shown else None  # two headers are none that is right
    return Call(details.method, authorization, (), _printable(named), on_behalf=on_behalf.read(metadata))


def _printable(name: str) -> str:
    try:
        request_id.check(name)
    except RequestError:
        return ""
    return name


def _certificate_names(context: Context) -> tuple[str, ...]:
    return tuple(name.decode("utf-8", "replace") for name in context.auth_context().get(_NAMES, ()))
