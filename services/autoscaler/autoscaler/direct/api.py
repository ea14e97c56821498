"""Calls of the Kubernetes API: from threads, each bounded in time, their failures turned into our errors.

The official client is synchronous, so that a call goes on for its time even if who waits for it is cancelled. Never
retries by itself: whether a write may be repeated is for who holds the Lease to know.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import urllib3
from kubernetes import client, config

from trichord.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RequestError,
    SettingsError,
    TrichordError,
    UnavailableError,
)

TIMEOUT_S = 5.0
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_ERRORS: dict[int, type[TrichordError]] = {404: NotFoundError, 409: ConflictError, 422: RequestError}


class Api:
    """The API of one cluster, in one namespace."""

    def __init__(self, api_client: Any, namespace: str) -> None:
        self.namespace = namespace
        self.apps = client.AppsV1Api(api_client)
        self.coordination = client.CoordinationV1Api(api_client)
        self.core = client.CoreV1Api(api_client)

    async def call(self, what: str, function: Callable[..., Any], *arguments: Any, timeout_s: float = TIMEOUT_S) -> Any:
        """What ``function(*arguments)`` answers; ``what`` (``list deployments``) is for who reads an error.

        Raises NotFoundError, ConflictError, ForbiddenError (RBAC), RequestError (the API refuses the object) and
        UnavailableError (no answer in time, overloaded, broken).
        """
        try:
            return await asyncio.to_thread(function, *arguments, _request_timeout=timeout_s)
        except client.ApiException as error:
            self._raise(what, error)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnavailableError(f"The Kubernetes API did not answer ({what}).", retry_after_s=1.0) from error

    def _raise(self, what: str, error: Any) -> NoReturn:
        if error.status in (401, 403):
            message = (
                f"The Kubernetes API does not let this service account {what} in {self.namespace}. Check its Role."
            )
            raise ForbiddenError(message) from error
        kind = _ERRORS.get(error.status, UnavailableError)
        raise kind(f"The Kubernetes API refused to {what} (HTTP {error.status}, {_reason(error)}).") from error


def connect(namespace: str | None) -> Api:
    """The cluster of this pod, or of the kubeconfig; its own namespace unless told. Raises SettingsError."""
    configuration = client.Configuration()
    try:
        _load(configuration)
    except config.ConfigException as error:
        message = "Mode kubernetes needs a cluster: this is no pod with a service account, and no kubeconfig is found."
        raise SettingsError(message) from error
    return Api(client_of(configuration), namespace or _own_namespace())


def _load(configuration: Any) -> None:
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        config.load_kube_config(client_configuration=configuration)


def client_of(configuration: Any) -> Any:
    """A client that repeats nothing by itself."""
    configuration.retries = False
    return client.ApiClient(configuration)


def _own_namespace() -> str:
    try:
        return _NAMESPACE_FILE.read_text().strip()
    except OSError as error:
        raise SettingsError("Set TRICHORD_AUTOSCALER_NAMESPACE: this is no pod, which would know its own.") from error


def _reason(error: Any) -> str:
    """The API's word for it (``AlreadyExists``), never its text."""
    try:
        reason = json.loads(error.body)["reason"]
    except (TypeError, ValueError, KeyError):
        return "no reason given"
    return reason if isinstance(reason, str) and reason.isalpha() else "no reason given"
