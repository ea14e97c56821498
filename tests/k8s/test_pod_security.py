"""Every pod may run in a namespace that enforces "restricted", and gives itself less than that."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.k8s.charts import Object, containers, pods, rendered
from tests.k8s.pod_security import violations


def test_every_pod_is_restricted(objects: list[Object]) -> None:
    found = {name: violations(spec) for name, _, spec in pods(objects)}
    assert len(found) >= 6
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("securityContext", "runAsNonRoot"), False),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}),
        (("hostNetwork",), True),
        (("volumes", 0, "hostPath"), {"path": "/"}),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True),
        (("containers", 0, "securityContext", "capabilities"), {}),
        (("initContainers", 0, "securityContext"), {}),
        (("containers", 0, "ports", 0, "hostPort"), 80),
    ],
)
def test_the_check_itself_can_fail(path: tuple[Any, ...], value: Any) -> None:
    spec = copy.deepcopy(next(spec for name, _, spec in pods(rendered()) if name.endswith("vision-encoder")))
    assert violations(spec) == []
    node: Any = spec
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    assert violations(spec) != []


def test_pods_take_no_more_than_they_need(objects: list[Object]) -> None:
    """Beyond the standard: a root that cannot be written, users of our own, bounds on all memory and disk."""
    for name, _, spec in pods(objects):
        assert spec["securityContext"]["runAsUser"] >= 1000
        assert spec["enableServiceLinks"] is False, "a Service's variables look like settings, and none is known"
        assert all("sizeLimit" in volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume)
        for one in containers(spec):
            assert one["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"memory", "ephemeral-storage"} <= set(one["resources"]["limits"]), (name, one["name"])
            assert {"cpu", "memory", "ephemeral-storage"} <= set(one["resources"]["requests"])


def test_only_the_scaler_that_scales_by_itself_has_a_token(objects: list[Object]) -> None:
    with_token = {name for name, _, spec in pods(objects) if spec["automountServiceAccountToken"]}
    roles = {one["metadata"]["name"] for one in objects if one["kind"] == "Role"}
    assert with_token == roles


def test_no_container_starts_a_shell(objects: list[Object]) -> None:
    """The images need none: each command is a program by its path, with its arguments."""
    for _, _, spec in pods(objects):
        for one in containers(spec):
            assert one["command"][0].split("/")[-1] in ("python", "trichord", "tritonserver", "valkey-server")
            assert "-c" not in [*one["command"], *one.get("args", [])]
