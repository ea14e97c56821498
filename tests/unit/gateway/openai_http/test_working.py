"""What a job-worker may ask over HTTP, and that nobody else may say that it is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.identity import private_file
from gateway.identity.key_file import KeyFile
from gateway.identity.principal import Scope
from tests.unit.gateway.identity.keys import bearer, guard_of, new_key
from tests.unit.gateway.lab import Lab
from tests.unit.gateway.openai_http.http_lab import running_http
from trichord.jobs.on_behalf import OnBehalf
from trichord.v1 import decoder_pb2

ACME = dict(OnBehalf("acme", "job_" + "0a" * 16).metadata())


@pytest.mark.parametrize(("scope", "status"), [(Scope.WORK, 200), (Scope.CHAT, 403)])
async def test_only_a_worker_asks_on_behalf_of_a_tenant(lab: Lab, tmp_path: Path, scope: Scope, status: int) -> None:
    file = tmp_path / "keys.json"
    private_file.replace(file, KeyFile().model_dump_json().encode())
    key = new_key(file, "ops", [scope])
    async with running_http(lab) as http:
        http.desk.admit = guard_of(file, tmp_path / "audit").admit
        response = await http.complete({"authorization": bearer(key), **ACME})
    assert response.status_code == status
    asked = lab.decoder.calls.requests
    assert [request.priority for request in asked] == [decoder_pb2.PRIORITY_BATCH] * (status == 200)
    assert lab.usage == []
