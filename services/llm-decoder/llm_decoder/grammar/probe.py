"""``python -m llm_decoder.grammar.probe``: compiles the schema on its input, and may die of it.

Exits with 0 if the schema can be enforced and with ``REFUSED`` if not; the kernel ends it where it takes too much.
"""

from __future__ import annotations

import resource
import sys
import time

from llguidance import LLTokenizer, TokenizerWrapper

from llm_decoder.grammar.compiling import compile_schema

REFUSED = 3
MAX_MEMORY_BYTES = 512 * 1024 * 1024
"""Address space, of which about half is the interpreter's and the compiler's own."""
MAX_CPU_S = 2
MAX_COMPILE_S = 0.5
"""CPU time of the compiler: the engine, which compiles once more, keeps other requests waiting as long."""


class _Bytes:
    """A vocabulary of one token for each byte and an end: what a grammar accepts does not depend on the vocabulary."""

    eos_token_id, bos_token_id = 256, None
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids = (256,)

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


def main() -> int:
    """Reads, compiles, tells."""
    _limit()
    schema = sys.stdin.read()
    started_s = time.process_time()
    try:
        matcher = compile_schema(schema, LLTokenizer(TokenizerWrapper(_Bytes())))
    except MemoryError:
        return REFUSED
    return 0 if matcher and time.process_time() - started_s <= MAX_COMPILE_S else REFUSED


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main())
