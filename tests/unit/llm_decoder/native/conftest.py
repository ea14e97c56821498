"""The native library, compiled once for all tests into a directory that goes away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from llm_decoder.native import build
from trichord import home


@pytest.fixture(scope="session", autouse=True)
def library(tmp_path_factory: pytest.TempPathFactory) -> None:
    if missing := [flag for flag in build.CPU_FLAGS if flag not in build.cpu_flags()]:
        pytest.skip(f"this CPU has no {', '.join(missing)}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(home.VARIABLE, str(tmp_path_factory.mktemp("home")))
        build.library()


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(before)
