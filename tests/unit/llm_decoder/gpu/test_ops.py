"""The kernels, interpreted, against plain torch; and attention in torch against the model's own."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_decoder.gpu.ops import RopeTable, best_ops
from llm_decoder.gpu.plan import Plan, Prompt, num_splits, tiles
from llm_decoder.gpu.torch_ops import TorchOps
from llm_decoder.paged_rows import PagedRows, quantised
from tests.fakes import LLM

TOLERANCES = {torch.float32: 1e-5, torch.float16: 3e-3}  # the interpreter cannot multiply matrices of bfloat16


def random(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def cached(*shape, dtype=torch.float32, seed=0, is_int8=False):
    """Random keys or values of a layer; int8 with scales that differ a hundredfold."""
    rows = random(*shape, dtype=dtype, seed=seed)
    spread = 10 ** (2 * torch.rand(shape[:-1], generator=torch.Generator().manual_seed(seed)) - 2)
    return PagedRows(*quantised(rows.float() * spread[..., None])) if is_int8 else PagedRows(rows)


def in_float32(cached):
    """The same, for a reference that rounds nothing."""
    return cached if cached.scales_PKS is not None else PagedRows(cached.rows_PKSd.float())


def plan_over(chunks, block_size, *, tile_tokens, splits=1, seed=0):
    """A plan over (number of new tokens, context length) of each sequence, in scattered blocks; decodes first."""
    widest = max(-(-length // block_size) for _, length in chunks)
    order = torch.randperm(len(chunks) * widest, generator=torch.Generator().manual_seed(seed)).int()
    tables = order.view(len(chunks), widest)
    positions = [range(length - new, length) for new, length in chunks]
    slots = [tables[i, p // block_size] * block_size + p % block_size for i, run in enumerate(positions) for p in run]
    starts = [0, *torch.tensor([new for new, _ in chunks]).cumsum(0).tolist()]
    num_decodes = sum(new == 1 for new, _ in chunks)
    return Plan(
        positions_N=torch.tensor([p for run in positions for p in run], dtype=torch.int32),
        slots_N=torch.stack(slots).int(),
        tables_BM=tables,
        tiles_T3=tiles(starts, tile_tokens),
        logit_rows_R=torch.zeros(0, dtype=torch.int32),
        tile_tokens=tile_tokens,
        num_splits=splits,
        num_decodes=num_decodes,
        prompts=[Prompt(i, starts[i], starts[i + 1], chunks[i][1]) for i in range(num_decodes, len(chunks))],
    )


@pytest.mark.parametrize("is_int8", [False, True], ids=["own", "int8"])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    ("group", "tile_tokens", "splits", "chunks"),
    [
        pytest.param(4, 1, 1, [(1, 1), (1, 9), (1, 150)], id="decode"),
        pytest.param(4, 1, 4, [(1, 1), (1, 9), (1, 150)], id="decode, keys split"),
        pytest.param(3, 1, 16, [(1, 260)], id="one sequence, more splits than spans, group of 3"),
        pytest.param(4, 16, 1, [(20, 20), (33, 90)], id="prompts, new and half done"),
        pytest.param(1, 16, 1, [(1, 70), (1, 3), (17, 17), (2, 131)], id="mixed, one head a group"),
    ],
)
def test_the_kernel_reads_what_torch_reads(triton_ops, dtype, is_int8, group, tile_tokens, splits, chunks):
    plan = plan_over(chunks, 16, tile_tokens=tile_tokens, splits=splits)
    num_tokens, num_blocks = len(plan.positions_N), plan.tables_BM.numel()
    q_NHd = random(num_tokens, 2 * group, 16, dtype=dtype)
    keys, values = (cached(num_blocks, 2, 16, 16, dtype=dtype, seed=seed, is_int8=is_int8) for seed in (1, 2))

    read = triton_ops.attend(q_NHd, keys, values, plan)

    expected = TorchOps().attend(q_NHd.float(), in_float32(keys), in_float32(values), plan)
    torch.testing.assert_close(read.float(), expected, atol=TOLERANCES[dtype], rtol=0)


@settings(max_examples=20)
@given(
    decodes=st.lists(st.integers(1, 80), max_size=4),
    prompts=st.lists(st.tuples(st.integers(2, 40), st.integers(0, 40)), max_size=3),
    block_size=st.sampled_from([1, 4, 7, 16]),
    splits=st.sampled_from([1, 2, 8]),
    is_int8=st.booleans(),
    seed=st.integers(0, 100),
)
def test_any_step_is_read_alike(triton_ops, decodes, prompts, block_size, splits, is_int8, seed):
    chunks = [*((1, length) for length in decodes), *((new, new + before) for new, before in prompts)]
    if not chunks:
        return
    plan = plan_over(chunks, block_size, tile_tokens=8, splits=splits, seed=seed)
    q_NHd = random(len(plan.positions_N), 6, 8, seed=seed)
    shape = (plan.tables_BM.numel(), 3, block_size, 8)
    keys, values = (cached(*shape, seed=seed + i, is_int8=is_int8) for i in (1, 2))
    expected = TorchOps().attend(q_NHd, keys, values, plan)
    torch.testing.assert_close(triton_ops.attend(q_NHd, keys, values, plan), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_keys_are_turned_and_stored_alike(triton_ops, dtype):
    plan = plan_over([(1, 6), (9, 9), (3, 40)], 4, tile_tokens=16)
    table = RopeTable(random(64, 8, seed=1).cos(), random(64, 8, seed=1).sin())
    qkv_NW = random(len(plan.positions_N), (6 + 2 * 2) * 16, dtype=dtype)
    shape = (plan.tables_BM.numel(), 2, 4, 16)
    caches = [[cached(*shape, dtype=dtype, seed=seed) for seed in (3, 4)] for _ in range(2)]

    ours = triton_ops.rotate_and_store(qkv_NW, table, *caches[0], plan)
    expected = TorchOps().rotate_and_store(qkv_NW, table, *caches[1], plan)

    tolerance = {"atol": 2 * TOLERANCES[dtype], "rtol": 0}
    torch.testing.assert_close(ours, expected, **tolerance)
    for stored, wanted in zip(*caches, strict=True):
        torch.testing.assert_close(stored.rows_PKSd, wanted.rows_PKSd, **tolerance)
    untouched = cached(*shape, dtype=dtype, seed=4).rows_PKSd.flatten(1)
    assert (caches[0][1].rows_PKSd.flatten(1) == untouched).all(1).any(), "blocks that nobody writes to stay"


@pytest.mark.parametrize(("dtype", "largest_step"), [(torch.float32, 0), (torch.float16, 1)])
def test_keys_are_quantised_and_stored_alike(triton_ops, dtype, largest_step):
    plan = plan_over([(1, 6), (9, 9), (3, 40)], 4, tile_tokens=16)
    table = RopeTable(random(64, 8, seed=1).cos(), random(64, 8, seed=1).sin())
    qkv_NW = random(len(plan.positions_N), (6 + 2 * 2) * 16, dtype=dtype)
    qkv_NW[3] = 0
    shape = (plan.tables_BM.numel(), 2, 4, 16)
    caches = [[cached(*shape, seed=seed, is_int8=True) for seed in (3, 4)] for _ in range(2)]

    triton_ops.rotate_and_store(qkv_NW, table, *caches[0], plan)
    TorchOps().rotate_and_store(qkv_NW, table, *caches[1], plan)

    for stored, wanted in zip(*caches, strict=True):
        torch.testing.assert_close(stored.rows_PKSd.int(), wanted.rows_PKSd.int(), atol=largest_step, rtol=0)
        torch.testing.assert_close(stored.scales_PKS, wanted.scales_PKS, atol=0, rtol=TOLERANCES[dtype])
    untouched = cached(*shape, seed=4, is_int8=True)
    for stored, before in zip(caches[0][1], untouched, strict=True):
        is_same = (stored == before).flatten(1).all(1)
        assert is_same.any(), "blocks that nobody writes to stay"
        assert not is_same.all()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("width", [16, 40])
def test_sums_are_normalised_alike(triton_ops, dtype, width):
    x, weight = random(5, width, dtype=dtype), random(width, dtype=dtype, seed=1)
    residuals = [random(5, width, dtype=dtype, seed=2) for _ in range(2)]
    ours = triton_ops.add_norm(x, residuals[0], weight, 1e-5)
    expected = TorchOps().add_norm(x, residuals[1], weight, 1e-5)
    torch.testing.assert_close(ours, expected, atol=TOLERANCES[dtype], rtol=2e-3)
    torch.testing.assert_close(residuals[0], residuals[1], atol=TOLERANCES[dtype], rtol=0)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("width", [48, 1024, 1100])
def test_gates_open_alike(triton_ops, dtype, width):
    gate_up = random(3, 2 * width, dtype=dtype)
    expected = TorchOps().gate(gate_up)
    torch.testing.assert_close(triton_ops.gate(gate_up), expected, atol=TOLERANCES[dtype], rtol=2e-3)


def test_torch_takes_over_where_kernels_do_not_run():
    assert isinstance(best_ops(LLM, "cpu"), TorchOps)


def test_head_widths_that_kernels_do_not_take_are_named(triton_ops):
    assert "head_dim" in triton_ops.unsupported(LLM.model_copy(update={"head_dim": 72}))
    assert triton_ops.unsupported(LLM.model_copy(update={"head_dim": 64})) is None


@pytest.mark.parametrize(
    ("sequences", "kv_heads", "cores", "expected"), [(8, 10, 132, 4), (1, 10, 132, 16), (128, 10, 132, 1), (1, 2, 1, 1)]
)
def test_keys_are_split_until_every_core_has_work(sequences, kv_heads, cores, expected):
    assert num_splits(sequences, kv_heads, cores) == expected


@settings(max_examples=200)
@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=8), tile_tokens=st.integers(1, 20))
def test_tiles_cover_every_token_once_and_no_two_sequences(lengths, tile_tokens):
    starts = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    covered = []
    for sequence, first, count in tiles(starts, tile_tokens).tolist():
        assert starts[sequence] <= first < first + count <= starts[sequence + 1]
        assert count <= tile_tokens
        covered += range(first, first + count)
    assert covered == list(range(sum(lengths)))


def test_the_package_loads_where_triton_is_not_installed():
    code = "import sys; sys.modules['triton'] = None; import llm_decoder.loading, llm_decoder.gpu.starting"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
