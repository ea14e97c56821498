from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llm_decoder.engine_client import EngineClient
from llm_decoder.prompt import PromptTemplate
from llm_decoder.readiness import readiness
from trichord.errors import UnavailableError
from trichord.readiness import Readiness


@pytest.fixture
def probe(triton: Any, template: PromptTemplate) -> Readiness:
    return readiness(EngineClient(triton, template.stop_ids), template)


async def test_not_ready_while_the_model_loads(probe: Readiness, triton: Any) -> None:
    triton.ready = False
    assert not await probe()
    assert triton.calls == []


async def test_ready_once_a_token_was_generated(probe: Readiness, triton: Any) -> None:
    triton.plays([65], finish=3)
    assert await probe()
    assert await probe()
    (call,) = triton.calls
    assert call.parameters["max_tokens"] == 1


async def test_a_model_that_generates_nothing_is_not_ready(probe: Readiness, triton: Any) -> None:
    triton.responses = [{"TOKEN_IDS": np.array([], np.int32)}]
    with pytest.raises(UnavailableError):
        await probe()
    triton.plays([65], finish=3)
    assert await probe()


async def test_a_model_that_fails_is_not_ready(probe: Readiness, triton: Any) -> None:
    triton.error = UnavailableError("away")
    with pytest.raises(UnavailableError):
        await probe()
    triton.error = None
    triton.plays([65], finish=3)
    assert await probe()


async def test_a_model_that_was_away_generates_again_first(probe: Readiness, triton: Any) -> None:
    triton.plays([65], finish=3)
    assert await probe()
    triton.ready = False
    assert not await probe()
    triton.ready = True
    assert await probe()
    assert len(triton.calls) == 2
