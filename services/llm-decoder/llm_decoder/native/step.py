"""A whole step of the LLaMA on the CPU in one native call, over a paged cache.

Knows the library's C interface; knows nothing of scheduling or sampling.
"""

from __future__ import annotations

import ctypes
import weakref
from functools import cache

import torch
from torch import Tensor

from llm_decoder.llama import Llama, Rope
from llm_decoder.native import build, packing
from llm_decoder.step_input import StepInput
from trichord.errors import FeatureOffError
from trichord.model_config import LlmConfig

SPAN = 16
"""Positions that lie together in the cache: block sizes are multiples of it."""
MAX_QUERIES_PER_KEY = 12
"""Query heads of a key/value head: their sums must fit the registers."""
MAX_HEAD_DIM = 256


class _Shape(ctypes.Structure):
    """``Shape`` of native/batch.h."""

    _fields_ = [
        *((size, ctypes.c_int32) for size in ("hidden", "layers", "heads", "kv_heads", "head_dim", "intermediate")),
        *((size, ctypes.c_int32) for size in ("vocab", "padded_vocab", "block_size", "num_blocks", "num_positions")),
        ("int8", ctypes.c_int32),
        ("eps", ctypes.c_float),
    ]


class _Tensors(ctypes.Structure):
    """``Tensors`` of native/step.cpp."""

    _fields_ = [(tensor, ctypes.c_void_p) for tensor in ("weights", "norms", "cosines", "sines", "keys", "values")]


class _Batch(ctypes.Structure):
    """``Batch`` of native/batch.h."""

    _fields_ = [
        *((tensor, ctypes.c_void_p) for tensor in ("x", "positions", "slots", "query_starts", "context_lens")),
        *((tensor, ctypes.c_void_p) for tensor in ("block_tables", "logit_rows")),
        *((count, ctypes.c_int32) for count in ("num_tokens", "num_sequences", "max_blocks", "num_logits")),
    ]


class NativeStep:
    """Runs steps of one model over one cache, one call at a time.

    ``keys`` and ``values``: bf16 [layers, blocks, kv_heads, block_size, head_dim], contiguous, zeroed, the caller's,
    who may copy whole blocks; the order inside a block and head is the library's own (native/attention.h). Of the model
    only the embedding table is needed afterwards. ``threads`` include the caller's.

    A token's logits do not depend, to the bit, on what else is in the step, nor on how its sequence was cut into steps,
    nor on ``threads``: every sum runs in one fixed order.

    Raises FeatureOffError where ``is_supported`` tells why, ValueError if the cache is not as above.
    """

    def __init__(self, model: Llama, keys: Tensor, values: Tensor, *, weights: packing.Format, threads: int) -> None:
        assert threads >= 1, "the caller's own thread is one"
        if reason := self.is_supported(model, block_size=keys.shape[3]):
            raise FeatureOffError(reason)
        config = model.config
        _check_cache(config, keys, values)
        num_positions = min(config.max_position_embeddings, keys.shape[1] * keys.shape[3])
        tensors = [packing.pack(model, weights), packing.pack_norms(model), *_rope_table(config, num_positions)]
        # The library reads these for as long as the object lives.
        self._kept = [*tensors, keys, values]
        shape = _shape(config, keys, num_positions, is_int8=weights == "int8")
        self._step = _library().trichord_step_create(shape, _Tensors(*map(Tensor.data_ptr, self._kept)), threads)
        if not self._step:
            raise MemoryError("There is no memory or no thread left for the native step.")
        # Not at exit: another thread may be in the middle of a step then, and the process frees all anyway.
        weakref.finalize(self, _library().trichord_step_destroy, self._step).atexit = False
        self._hidden_size, self._vocab_size = config.hidden_size, config.vocab_size
        self._logits_RV = torch.empty(0, packing.padded_vocab(config.vocab_size))
        self._likeliest_R = torch.empty(0, dtype=torch.int32)
        self._num_logits = 0

    @staticmethod
    def is_supported(model: Llama, block_size: int) -> str | None:
        """None if the model can run so on this machine with such a cache, else a sentence that says why not."""
        if model.dtype != torch.bfloat16:
            return f"The native step runs in bfloat16, not in {model.dtype}."
        if block_size % SPAN:
            return f"The native step needs a block size that is a multiple of {SPAN}; it is {block_size}."
        if reason := _unsupported(model.config):
            return reason
        try:
            _library()
        except FeatureOffError as error:
            return error.message
        return None

    def __call__(self, step: StepInput) -> Tensor:
        """See ``step_input.Forward``; ``step.x_ND`` is bf16. The next call overwrites the logits.

        Raises ValueError, before memory is touched, if an index is out of its bounds or a tensor not as it must be.
        """
        num_tokens, num_sequences, num_logits = len(step.x_ND), len(step.context_lens_B), len(step.logit_rows_R)
        max_blocks = step.block_tables_BM.shape[-1]
        arguments = (
            (step.x_ND, torch.bfloat16, (num_tokens, self._hidden_size)),
            (step.positions_N, torch.int32, (num_tokens,)),
            (step.slots_N, torch.int32, (num_tokens,)),
            (step.query_starts, torch.int32, (num_sequences + 1,)),
            (step.context_lens_B, torch.int32, (num_sequences,)),
            (step.block_tables_BM, torch.int32, (num_sequences, max_blocks)),
            (step.logit_rows_R, torch.int32, (num_logits,)),
        )
        inputs = [_pointer(*argument) for argument in arguments]
        batch = _Batch(*inputs, num_tokens, num_sequences, max_blocks, num_logits)
        self._reserve(num_logits)
        outputs = self._logits_RV.data_ptr(), self._likeliest_R.data_ptr()
        if refusal := _library().trichord_step_run(self._step, batch, *outputs):
            raise ValueError(f"The step is refused: {refusal.decode()}.")
        self._num_logits = num_logits
        return self._logits_RV[:num_logits, : self._vocab_size]

    def likeliest(self, logits_RV: Tensor) -> list[int]:
        """The likeliest token of each row, the first of equals; ``logits_RV`` is the last call's, as it came."""
        assert len(logits_RV) == self._num_logits, "these logits are of another step"
        token_ids: list[int] = self._likeliest_R[: self._num_logits].tolist()
        return token_ids

    def _reserve(self, num_logits: int) -> None:
        self._num_logits = 0
        if len(self._logits_RV) < num_logits:
            self._logits_RV = torch.empty(num_logits, self._logits_RV.shape[1])
            self._likeliest_R = torch.empty(num_logits, dtype=torch.int32)


def _unsupported(config: LlmConfig) -> str | None:
    for name in ("hidden_size", "head_dim", "intermediate_size"):
        if (size := getattr(config, name)) % packing.PANEL:
            return f"The native step needs a {name} that is a multiple of {packing.PANEL}; it is {size}."
    if config.head_dim > MAX_HEAD_DIM:
        return f"The native step needs a head_dim of at most {MAX_HEAD_DIM}; it is {config.head_dim}."
    if config.num_attention_heads > MAX_QUERIES_PER_KEY * config.num_key_value_heads:
        return f"The native step needs at most {MAX_QUERIES_PER_KEY} query heads for each key/value head."
    return None


def _check_cache(config: LlmConfig, keys: Tensor, values: Tensor) -> None:
    for cached in (keys, values):
        shape = (config.num_hidden_layers, keys.shape[1], config.num_key_value_heads, keys.shape[3], config.head_dim)
        if _pointer(cached, torch.bfloat16, shape) % 64:
            raise ValueError("Keys and values must start on a cache line.")


def _pointer(tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    if tensor.dtype != dtype or tensor.shape != shape or not tensor.is_contiguous() or tensor.device.type != "cpu":
        given = f"{tensor.dtype} of {tuple(tensor.shape)} on {tensor.device}"
        raise ValueError(f"A contiguous {dtype} of {shape} on the CPU is needed, not a {given}.")
    return tensor.data_ptr()


def _shape(config: LlmConfig, keys: Tensor, num_positions: int, *, is_int8: bool) -> _Shape:
    return _Shape(
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        intermediate=config.intermediate_size,
        vocab=config.vocab_size,
        padded_vocab=packing.padded_vocab(config.vocab_size),
        block_size=keys.shape[3],
        num_blocks=keys.shape[1],
        num_positions=num_positions,
        int8=is_int8,
        eps=config.rms_norm_eps,
    )


def _rope_table(config: LlmConfig, num_positions: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, float32 [positions, head_dim / 2] each: the halves of a head turn alike."""
    rope = Rope(config, torch.arange(num_positions), torch.float32)
    half = config.head_dim // 2
    return rope.cos_N1d[:, 0, :half].contiguous(), rope.sin_N1d[:, 0, :half].contiguous()


@cache
def _library() -> ctypes.CDLL:
    library = build.library()
    library.trichord_step_create.restype = ctypes.c_void_p
    library.trichord_step_create.argtypes = [ctypes.POINTER(_Shape), ctypes.POINTER(_Tensors), ctypes.c_int]
    library.trichord_step_run.restype = ctypes.c_char_p
    library.trichord_step_run.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Batch), ctypes.c_void_p, ctypes.c_void_p]
    library.trichord_step_destroy.restype = None
    library.trichord_step_destroy.argtypes = [ctypes.c_void_p]
    return library
