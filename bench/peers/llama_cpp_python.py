"""llama.cpp, by its Python package's low-level interface: all prompts in one batch, then one token of each a step.

Runs in a virtual environment of its own. Arguments: the GGUF file, threads.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp as llama  # type: ignore[import-not-found]
import numpy as np

from bench.peers.worker import claim_stdout, serve

MAX_SEQUENCES, MAX_POSITIONS, MAX_BATCH = 32, 2304, 4096
Entry = tuple[int, int, int, bool]
"""Sequence, position, token id, and whether its logits are wanted."""


class Model:
    """A model with room for as many sequences as the bench asks for."""

    def __init__(self, path: Path, threads: int) -> None:
        llama.llama_backend_init()
        params = llama.llama_model_default_params()
        self._model = llama.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise SystemExit("llama.cpp does not load the model")
        context = llama.llama_context_default_params()
        context.n_ctx, context.n_seq_max = MAX_SEQUENCES * 256, MAX_SEQUENCES
        context.n_batch = MAX_BATCH
        context.n_threads = context.n_threads_batch = threads
        context.kv_unified = True  # one long sequence may take what many short ones share
        self._context = llama.llama_init_from_model(self._model, context)
        self._batch = llama.llama_batch_init(MAX_BATCH, 0, 1)
        self._vocab_size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model))

    def forget(self) -> None:
        """Empties the cache."""
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)

    def step(self, entries: Sequence[Entry]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """Computes the entries; float32 logits [V] of those that want them, valid until the next step."""
        batch = self._batch
        batch.n_tokens = len(entries)
        for i, (sequence, position, token, wants_logits) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wants_logits
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        if refusal := llama.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode returned {refusal}")
        wanted = [i for i, entry in enumerate(entries) if entry[3]]
        return [self._logits(i) for i in wanted]

    def _logits(self, index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        pointer = llama.llama_get_logits_ith(self._context, index)
        return np.ctypeslib.as_array(pointer, (self._vocab_size,))


def generate(model: Model, prompts: list[dict[str, Any]], num_tokens: int) -> dict[str, Any]:
    """Greedy answers to all prompts at once; seconds from the start until each token."""
    model.forget()
    started = time.monotonic()
    ids = [prompt["ids"] for prompt in prompts]
    entries = [(s, i, token, i == len(row) - 1) for s, row in enumerate(ids) for i, token in enumerate(row)]
    streams: list[dict[str, Any]] = [{"ids": [], "times_s": []} for _ in prompts]
    while len(streams[0]["ids"]) < num_tokens:
        tokens = [int(logits.argmax()) for logits in model.step(entries)]
        now = time.monotonic() - started
        for stream, token in zip(streams, tokens, strict=True):
            stream["ids"].append(token)
            stream["times_s"].append(now)
        past = len(streams[0]["ids"]) - 1
        entries = [(s, len(ids[s]) + past, token, True) for s, token in enumerate(tokens)]
    return {"streams": streams}


def score(model: Model, ids: list[int]) -> dict[str, Any]:
    """How likely each token of a text was after those before it, and which would have been chosen."""
    model.forget()
    logits = np.stack(model.step([(0, i, token, True) for i, token in enumerate(ids[:-1])])).astype(np.float64)
    normalised = logits - logits.max(axis=1, keepdims=True)
    normalised -= np.log(np.exp(normalised).sum(axis=1, keepdims=True))
    chosen = normalised[np.arange(len(ids) - 1), ids[1:]]
    return {"logprobs": chosen.tolist(), "greedy": logits.argmax(axis=1).tolist()}


def quantise(source: Path, target: Path) -> None:
    """Writes a Q8_0 copy of a GGUF file."""
    params = llama.llama_model_quantize_default_params()
    params.ftype = llama.LLAMA_FTYPE_MOSTLY_Q8_0
    if llama.llama_model_quantize(str(source).encode(), str(target).encode(), params):
        raise SystemExit("llama.cpp does not quantise the model")


def main(source: Path, form: str, threads: int) -> None:
    """Serves the GGUF file as it is (bf16) or quantised (q8_0)."""
    answers = claim_stdout()
    path = source
    if form == "q8_0":
        path = source.with_name(f"{source.stem}-q8_0.gguf")
        quantise(source, path)
    model = Model(path, threads)
    serve(
        answers,
        f"llama-cpp-python {llama.__version__}",
        generate=lambda **arguments: generate(model, **arguments),
        score=lambda **arguments: score(model, **arguments),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
