"""What only a GPU can show: kernels as compiled, graphs as recorded, the loop as it overlaps. Skipped without one.

``TRITON_INTERPRET=0 pytest -m gpu``: the other tests interpret the kernels, and a process can do but one.
"""

import dataclasses
import os

import pytest
import torch

from llm_decoder.block_manager import BlockManager
from llm_decoder.gpu.cuda_forward import CudaForward
from llm_decoder.gpu.fused_llama import FusedLlama
from llm_decoder.gpu.plan import Plan, Prompt, tiles
from llm_decoder.gpu.starting import start_engine
from llm_decoder.gpu.torch_ops import TorchOps
from llm_decoder.kv_cache import TorchForward
from llm_decoder.paged_rows import PagedRows, quantised
from llm_decoder.scheduler import Limits, Scheduler
from tests.fakes import LLM, CollectingSink, random_llama, request
from tests.unit.llm_decoder.gpu.steps import BLOCK, filled_cache, step_of, tensors_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "0", reason="kernels are interpreted"),
]

CONFIG = LLM.model_copy(update={"head_dim": 16})


@pytest.mark.parametrize("is_int8", [False, True], ids=["own", "int8"])
@pytest.mark.parametrize("splits", [1, 4])
def test_kernels_at_the_size_of_the_published_model(splits, is_int8):
    from llm_decoder.gpu.triton_ops import TritonOps

    lengths, chunk = [1, 17, 700, 4000], 500
    tables = torch.randperm(5 * 256, device="cuda").int().view(5, 256)
    starts = [0, 1, 2, 3, 4, 4 + chunk]
    plan = Plan(
        positions_N=torch.tensor([n - 1 for n in lengths] + list(range(100, 100 + chunk))).int().cuda(),
        slots_N=torch.zeros(4 + chunk, dtype=torch.int32, device="cuda"),
        tables_BM=tables,
        tiles_T3=tiles(starts, 16).cuda(),
        logit_rows_R=torch.zeros(0, dtype=torch.int32, device="cuda"),
        tile_tokens=16,
        num_splits=splits,
        num_decodes=4,
        prompts=[Prompt(4, 4, 4 + chunk, 100 + chunk)],
    )
    q = torch.randn(4 + chunk, 40, 64, device="cuda").bfloat16()
    rows = [torch.randn(5 * 256, 10, 16, 64, device="cuda").bfloat16() for _ in range(2)]
    keys, values = (PagedRows(*quantised(x)) if is_int8 else PagedRows(x) for x in rows)
    exact = [PagedRows(cached.rows_PKSd.float(), cached.scales_PKS) for cached in (keys, values)]
    expected = TorchOps().attend(q.float(), *exact, plan)
    torch.testing.assert_close(TritonOps().attend(q, keys, values, plan).float(), expected, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(("cache_dtype", "tolerance"), [(None, 1e-3), (torch.int8, 5e-2)], ids=["own", "int8"])
def test_recorded_steps_equal_the_model(cache_dtype, tolerance):
    model = random_llama(CONFIG).cuda()
    theirs, ours = (filled_cache(model, num_blocks, dtype=cache_dtype) for num_blocks in (12, 13))
    for cache in (theirs, ours):
        cache.keys, cache.values = cache.keys.cuda(), cache.values.cuda()
        if cache_dtype == torch.int8:
            cache.key_scales, cache.value_scales = cache.key_scales.cuda(), cache.value_scales.cuda()
    for mine, reference in zip(tensors_of(ours), tensors_of(theirs), strict=True):
        mine[:, :12] = reference
    forward, reference = CudaForward(FusedLlama(model, "cuda"), ours), TorchForward(model, theirs)
    forward.warm_up(4)
    cpu = random_llama(CONFIG)
    for chunks in (
        [([1], 9, [3, 5, 7]), ([2], 0, [4]), ([3], 2, [8])],
        [([4], 10, [3, 5, 7])],
        [([6], 12, [0, 1, 2, 6]), ([1, 2, 3, 4, 5, 6], 2, [8, 9])],
    ):
        step = step_of(cpu, chunks)
        step = dataclasses.replace(step, x_ND=step.x_ND.cuda())
        # Rounding may decide between two int8: then a value is off by one step.
        torch.testing.assert_close(forward(step), reference(step), rtol=tolerance, atol=tolerance)


def test_streams_are_those_of_the_cpu():
    answers = []
    for device in ("cpu", "cuda"):
        scheduler = Scheduler(BlockManager(60, BLOCK), Limits(max_running=5, max_waiting=64, step_tokens=20))
        engine = start_engine(random_llama(CONFIG), scheduler, device)
        sinks = [CollectingSink() for _ in range(12)]
        for i, sink in enumerate(sinks):
            changes = {"temperature": 1.0, "seed": i, "repetition_penalty": 1.2} if i % 3 == 0 else {}
            engine.submit(request([i, 2, 3] * (i + 1), sink, max_tokens=20, stop_token_ids=[5], **changes))
        assert all(sink.done.wait(120) for sink in sinks)
        engine.close()
        answers.append([sink.token_ids for sink in sinks])
    assert answers[0] == answers[1]
