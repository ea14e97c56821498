"""The GPU's way to compute a step, on the CPU with nothing recorded: padded and replayed equals ``TorchForward``."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_decoder.gpu.cuda_forward import CudaForward
from llm_decoder.gpu.decode_graph import BUCKETS, bucket_of
from llm_decoder.gpu.fused_llama import FusedLlama
from llm_decoder.kv_cache import KvCache, TorchForward
from tests.fakes import LLM, random_llama
from tests.unit.llm_decoder.gpu.steps import BLOCK, filled_cache, step_of, tensors_of

MODEL = random_llama()
DOUBLE = random_llama().double()
"""For int8 caches: in float32, rounding would now and then decide between two int8."""
FUSED = FusedLlama(MODEL, "cpu")
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
SCRATCH = 1


def pair(num_blocks, model=MODEL, cache_dtype=None, **changes):
    """Both ways over equal caches; the GPU's has a scratch block behind the others."""
    theirs = filled_cache(model, num_blocks, dtype=cache_dtype)
    ours = filled_cache(model, num_blocks + SCRATCH, dtype=cache_dtype)
    for mine, reference in zip(tensors_of(ours), tensors_of(theirs), strict=True):
        mine[:, :num_blocks] = reference
    return CudaForward(FusedLlama(model, "cpu"), ours, **changes), TorchForward(model, theirs), ours, theirs


def chunks_of(sequences, num_new):
    """Sequence i has a past of ``sequences[i]`` positions and ``num_new[i]`` new tokens, in blocks of its own."""
    chunks, at = [], 0
    for past, new in zip(sequences, num_new, strict=True):
        blocks = -(-(past + new) // BLOCK)
        chunks.append(([(past * 7 + j) % LLM.vocab_size for j in range(new)], past, list(range(at, at + blocks))[::-1]))
        at += blocks
    return chunks, at


def check(sequences, num_new, yields=(), cache_dtype=None):
    chunks, num_blocks = chunks_of(sequences, num_new)
    model = DOUBLE if cache_dtype == torch.int8 else MODEL
    forward, reference, ours, theirs = pair(num_blocks, model, cache_dtype)
    step = step_of(model, chunks, yields=yields)
    torch.testing.assert_close(forward(step), reference(step), **TOLERANCE)
    for mine, wanted in zip(tensors_of(ours), tensors_of(theirs), strict=True):
        torch.testing.assert_close(mine[:, :num_blocks], wanted, **TOLERANCE)


CACHES = pytest.mark.parametrize("cache_dtype", [None, torch.int8], ids=["own", "int8"])


@CACHES
@pytest.mark.parametrize("num_sequences", [*range(1, 18), 31, 32, 33, 64, 100, 128, 129, 140])
def test_decode_steps_of_every_size(num_sequences, cache_dtype):
    check([(i * 5) % 23 for i in range(num_sequences)], [1] * num_sequences, cache_dtype=cache_dtype)


@CACHES
@settings(max_examples=60)
@given(
    decodes=st.lists(st.integers(0, 40), max_size=6),
    prompts=st.lists(st.tuples(st.integers(0, 30), st.integers(2, 40)), max_size=4),
    data=st.data(),
)
def test_mixed_steps(cache_dtype, decodes, prompts, data):
    total = len(decodes) + len(prompts)
    if not total:
        return
    yields = data.draw(st.lists(st.integers(0, total - 1), unique=True, min_size=1).map(sorted))
    pasts = [*decodes, *(past for past, _ in prompts)]
    check(pasts, [*(1 for _ in decodes), *(new for _, new in prompts)], yields, cache_dtype)


@CACHES
def test_the_kernels_compute_the_same_model(triton_ops, cache_dtype):
    model = random_llama(LLM.model_copy(update={"head_dim": 16}))
    forward, reference, *_ = pair(12, model, cache_dtype, ops=triton_ops)
    for chunks in ([([1], 9, [3, 5, 7]), ([2], 0, [4])], [([6], 12, [0, 1, 2, 6]), ([1, 2, 3, 4, 5, 6], 2, [8, 9])]):
        step = step_of(model, chunks)
        torch.testing.assert_close(forward(step), reference(step), **TOLERANCE)


@pytest.mark.parametrize("changes", [{"tie_word_embeddings": True}, {"num_key_value_heads": 1}, {"rope_theta": 5e6}])
def test_other_shapes_of_model(changes):
    model = random_llama(LLM.model_copy(update=changes))
    forward, reference, *_ = pair(8, model)
    step = step_of(model, [([1], 9, [3, 5, 7]), ([6, 7, 8], 2, [4, 2])])
    torch.testing.assert_close(forward(step), reference(step), **TOLERANCE)


def test_bfloat16_stays_near():
    model = random_llama().to(torch.bfloat16)
    forward, reference, *_ = pair(8, model)
    step = step_of(model, [([1], 9, [3, 5, 7]), ([6, 7, 8], 2, [4, 2])])
    ours, theirs = forward(step), reference(step)
    assert ours.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=-1).min() > 0.999


class Recorder:
    """Stands for CUDA graphs: the work runs once when it is recorded, and then only as a replay."""

    def __init__(self):
        self.num_recorded, self.num_replays = 0, 0

    def __call__(self, work):
        self.num_recorded += 1
        work()

        def replay():
            self.num_replays += 1
            work()

        return replay


def test_warm_up_records_each_bucket_once_and_harms_no_block():
    recorder = Recorder()
    cache = filled_cache(MODEL, 9)
    before = cache.keys.clone()
    forward = CudaForward(FUSED, cache, capture=recorder)

    forward.warm_up(20)

    assert recorder.num_recorded == len([bucket for bucket in BUCKETS if bucket <= 32])
    assert torch.equal(cache.keys[:, :-1], before[:, :-1])
    assert not torch.equal(cache.keys[:, -1], before[:, -1]), "padded rows write to the last block"
    for num_sequences in (3, 4, 1):
        forward(step_of(MODEL, [([i], 1, [i]) for i in range(num_sequences)]))
    assert (recorder.num_recorded, recorder.num_replays) == (6, 3)


def test_steps_with_prompts_are_not_replayed():
    recorder = Recorder()
    forward = CudaForward(FUSED, filled_cache(MODEL, 9), capture=recorder)
    forward(step_of(MODEL, [([1], 0, [0]), ([2, 3], 0, [1])]))
    assert recorder.num_recorded == 0


def test_static_buffers_forget_the_step_before():
    forward, reference, *_ = pair(40)
    long_then_short = [
        [([5], 30, list(range(8)))] * 1 + [([6], 3, [9]), ([7], 2, [10])],
        [([8], 1, [11]), ([9], 0, [12])],
    ]
    for chunks in long_then_short:
        step = step_of(MODEL, chunks)
        torch.testing.assert_close(forward(step), reference(step), **TOLERANCE)


@settings(max_examples=100)
@given(num_sequences=st.integers(1, 200))
def test_a_bucket_is_the_smallest_that_fits(num_sequences):
    bucket = bucket_of(num_sequences)
    fitting = [candidate for candidate in BUCKETS if candidate >= num_sequences]
    assert bucket == (min(fitting) if fitting else None)


def test_a_fused_model_needs_its_source_no_more():
    model = random_llama(seed=3)
    fused = FusedLlama(model, "cpu")
    cache = KvCache(LLM, 3, BLOCK, torch.float32, "cpu")
    step = step_of(model, [([1, 2, 3], 0, [0])])
    expected = CudaForward(fused, cache)(step)
    for layer in model.model.layers:
        for projection in (layer.self_attn.q_proj, layer.mlp.gate_proj):
            projection.weight.zero_()
    assert torch.equal(CudaForward(fused, cache)(step), expected)
