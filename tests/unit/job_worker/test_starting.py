"""A worker that cannot work says why, and does not start."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"TRICHORD_WORKER_GATEWAY": "127.0.0.1:1"}, "TRICHORD_JOBS_STORE and TRICHORD_JOBS_KAFKA are not set"),
        ({"TRICHORD_WORKER_GATEWAY": "127.0.0.1:1", "TRICHORD_WORKER_IMAGE_SHARE": "0"}, "TRICHORD_WORKER_IMAGE_SHARE"),
    ],
)
def test_what_is_missing_or_wrong_is_one_sentence(told: dict[str, str], said: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRICHORD_JOBS_")}
    done = subprocess.run(
        [sys.executable, "-m", "job_worker"], env={**environment, **told}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
