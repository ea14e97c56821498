"""The examples of docs/api.md, run as they stand, against the cluster under test instead of the reader's."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
READERS_PORT = 7400


def examples(language):
    """The blocks of the page in one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)


async def output_of(cluster, *command):
    """What a command prints; its ports are the cluster's."""
    *program, source = command
    shift = cluster.port - READERS_PORT
    source = re.sub(r"127\.0\.0\.1:(74\d\d)", lambda found: f"127.0.0.1:{int(found[1]) + shift}", source)
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*program, source, cwd=ROOT, env=env, stdout=pipe, stderr=pipe)
    printed, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    return printed.decode(errors="replace")


async def test_the_python_examples_run(tiny_cluster):
    answer, put, encoded, refused = [await output_of(tiny_cluster, sys.executable, "-c", e) for e in examples("python")]
    assert len(answer) > 1
    assert put.endswith("tiles\n")
    assert encoded.endswith("1 medium was encoded before\n")
    assert refused.startswith("INVALID_MEDIA messages[0].parts[0].image_bytes ")


async def test_the_shell_examples_run(tiny_cluster):
    (commands,) = examples("sh")
    printed = await output_of(tiny_cluster, "bash", "-ec", commands)
    assert '"model":"tiny"' in re.sub(r"\s", "", printed)
    assert '"finished"' in printed
