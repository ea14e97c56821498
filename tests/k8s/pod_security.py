"""Kubernetes' Pod Security Standards, level "restricted", as the documentation lists its rules (v1.37).

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
IMAGE = "image"
"""A volume type since 1.31; the standard allows every volume that is not on its list of host-like ones."""


def violations(spec: Spec) -> list[str]:
    """What the admission controller would refuse; empty if the pod may run."""
    return [
        *_of_pod(spec),
        *(f"{one['name']}: {what}" for one in _containers(spec) for what in _of_container(spec, one)),
    ]


def _containers(spec: Spec) -> list[Spec]:
    return [*spec.get("initContainers", []), *spec["containers"], *spec.get("ephemeralContainers", [])]


def _of_pod(spec: Spec) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field
    if spec.get("hostUsers") is True and spec.get("hostPID"):
        yield "hostUsers"
    if spec.get("securityContext", {}).get("sysctls"):
        yield "sysctls"
    for volume in spec.get("volumes", []):
        if kinds := set(volume) - {"name"} - VOLUMES - {IMAGE}:
            yield f"volume {volume['name']} is of {kinds.pop()}"


def _of_container(spec: Spec, container: Spec) -> Iterator[str]:
    pod, own = spec.get("securityContext", {}), container.get("securityContext", {})
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities.drop"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities.add"
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot"
    if 0 in (own.get("runAsUser"), pod.get("runAsUser")):
        yield "runAsUser"
    profile = own.get("seccompProfile", pod.get("seccompProfile", {})).get("type")
    if profile not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"
    probes = [container.get(name, {}) for name in ("livenessProbe", "readinessProbe", "startupProbe")]
    if any(probe.get(how, {}).get("host") for probe in probes for how in ("httpGet", "tcpSocket")):
        yield "probe host"
