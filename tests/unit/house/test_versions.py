"""The versions that hang together (docs/decisions/0002): an unpinned resolve silently takes others."""

from importlib.metadata import version

import pytest


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("grpcio", "1.85.1"),
        ("grpcio-status", "1.85.1"),
        ("grpcio-health-checking", "1.81.1"),
        ("grpcio-reflection", "1.81.1"),
        ("grpcio-tools", "1.81.1"),
        ("tritonclient", "2.73.0"),
    ],
)
def test_pinned(package, expected):
    assert version(package) == expected


def test_torch_is_the_cpu_build_of_one_version():
    assert version("torch").split("+")[0] == "2.13.0"


def test_protobuf_is_what_tritonclient_can_read():
    major, minor = (int(part) for part in version("protobuf").split(".")[:2])
    assert (major, minor) >= (6, 33)
    assert major < 7
