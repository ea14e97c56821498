from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.identity import private_file
from gateway.identity.key_file import KeyFile
from tests.unit.gateway.identity.provider import Provider, running_provider


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A key file without keys."""
    path = tmp_path / "keys.json"
    private_file.replace(path, KeyFile().model_dump_json().encode())
    return path


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    """Where the audit log goes."""
    return tmp_path / "audit.jsonl"


@pytest.fixture
def provider() -> Iterator[Provider]:
    """An identity provider's keys over HTTP."""
    with running_provider() as running:
        yield running
