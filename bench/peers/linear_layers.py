"""The floor under a decode step: the model's matrix products alone, by torch and by the native step's kernels.

All layers' weights are read in turn, as in a real step: hot in a cache they would look twice as fast.
Arguments: the checkpoint, threads.
"""

from __future__ import annotations

import ctypes
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.peers.worker import claim_stdout, serve
from llm_decoder.llama import Layer, Llama
from llm_decoder.native import build, packing
from trichord.checkpoint.weights import load_into
from trichord.errors import FeatureOffError
from trichord.model_config import LlmConfig, ModelConfig

SOURCE = Path(__file__).with_suffix(".cpp")
PASSES = 15

Step = Callable[[int], None]
"""All matrix products of a step of so many rows."""


class TorchLayers:
    """bf16 products by torch, queries with keys and values in one, and the two halves of the MLP's first in one."""

    def __init__(self, model: Llama) -> None:
        self._weights = [weight.contiguous() for weight in _matrices(model)]

    def __call__(self, num_rows: int) -> None:
        """See ``Step``."""
        for weight_OI in self._weights:
            F.linear(torch.ones(num_rows, weight_OI.shape[1], dtype=weight_OI.dtype), weight_OI)


class NativeLayers:
    """Products by the native step's kernels. Raises FeatureOffError where the native step does not run."""

    def __init__(self, model: Llama, weights: packing.Format, threads: int, *, fetches: bool) -> None:
        build.library()
        self._library, self._fetches, self._vocab = _compiled(), fetches, packing.padded_vocab(model.config.vocab_size)
        self._packed = packing.pack(model, weights)
        sizes = [size for weight_OI in _matrices(model) for size in weight_OI.shape]
        sizes[-2] = self._vocab
        array = (ctypes.c_int32 * len(sizes))(*sizes)
        create = self._library.linear_layers_create
        create.restype, create.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int] * 3]
        self._layers = ctypes.c_void_p(
            create(self._packed.data_ptr(), array, len(sizes) // 2, weights == "int8", threads)
        )

    def __call__(self, num_rows: int) -> None:
        """See ``Step``."""
        products = torch.empty(num_rows, self._vocab)
        self._library.linear_layers_run(self._layers, num_rows, self._fetches, ctypes.c_void_p(products.data_ptr()))


def _median_s(step: Step, num_rows: int) -> float:
    seconds = []
    for _ in range(PASSES):
        started = time.perf_counter()
        step(num_rows)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _matrices(model: Llama) -> Iterator[Tensor]:
    for layer in model.model.layers:
        assert isinstance(layer, Layer)
        attention, mlp = layer.self_attn, layer.mlp
        yield torch.cat((attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight))
        yield attention.o_proj.weight
        yield torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight))
        yield mlp.down_proj.weight
    yield model.model.embed_tokens.weight if model.config.tie_word_embeddings else model.lm_head.weight


def _compiled() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "linear_layers.so"
        headers = build.SOURCE.parent
        subprocess.run([build.COMPILER, *build.FLAGS, f"-I{headers}", str(SOURCE), "-o", str(library)], check=True)
        return ctypes.CDLL(str(library))


def _load(checkpoint: Path) -> Llama:
    config: LlmConfig = ModelConfig.read(checkpoint).llm
    with torch.device("meta"):
        model = Llama(config)
    load_into(model, checkpoint, "llm.", torch.bfloat16)
    return model.requires_grad_(False)


def _native(model: Llama, weights: packing.Format, threads: int) -> list[Step]:
    try:
        return [NativeLayers(model, weights, threads, fetches=fetches) for fetches in (False, True)]
    except FeatureOffError:
        return []


@torch.inference_mode()
def main(checkpoint: Path, threads: int) -> None:
    """Serves the floors; those of the native step only where it runs."""
    answers = claim_stdout()
    torch.set_num_threads(threads)
    model = _load(checkpoint)
    ways: dict[str, list[Step]] = {
        "torch": [TorchLayers(model)],
        "bf16": _native(model, "bf16", threads),
        "int8": _native(model, "int8", threads),
    }

    def floors(num_rows: int) -> dict[str, float]:
        """Seconds of a step of so many rows, by torch and by the native step's two kinds of weights."""
        return {name: min(_median_s(step, num_rows) for step in steps) for name, steps in ways.items() if steps}

    serve(answers, f"torch {torch.__version__}", floors=floors)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
