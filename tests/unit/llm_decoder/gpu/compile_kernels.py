"""Compiles every kernel as it is launched for Megrez-3B-Omni, for the compute capability that is named; needs no GPU.

A process of its own: where kernels are interpreted they cannot be compiled. Prints, for each, bytes of its stack (what
did not fit the registers) and which instructions it has, as JSON.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from llm_decoder.gpu import attention_kernels, row_kernels

BF16, FP32, INT32, INT8 = "*bf16", "*fp32", "*i32", "*i8"
OWN, QUANTISED = [BF16, None], [INT8, FP32]
"""Keys or values and their scales."""


def attend(cached: list[str | None]) -> list[str | None]:
    """Types of the attention kernel's arguments."""
    return [BF16, FP32, FP32, BF16, *cached, *cached, INT32, INT32, INT32, "i32", "fp32"]


def rotate_and_store(cached: list[str | None]) -> list[str | None]:
    """Types of that kernel's arguments."""
    return [BF16, *cached, *cached, BF16, FP32, FP32, INT32, INT32]


HEADS = {"K": 10, "G": 4, "S": 16, "D": 64, "SPAN": 64}
DECODE, PROMPT = {**HEADS, "ROWS": 16, "SPLITS": 4}, {**HEADS, "ROWS": 64, "SPLITS": 1}
STORE = {"H": 40, "K": 10, "S": 16, "HALF": 32, "HEADS": 64}
KERNELS: dict[str, tuple[Any, list[str | None], dict[str, int]]] = {
    "decode": (attention_kernels.attend, attend(OWN), DECODE),
    "prompt": (attention_kernels.attend, attend(OWN), PROMPT),
    "decode int8": (attention_kernels.attend, attend(QUANTISED), DECODE),
    "prompt int8": (attention_kernels.attend, attend(QUANTISED), PROMPT),
    "join": (attention_kernels.join, [BF16, FP32, FP32], {"D": 64, "SPLITS": 4}),
    "add_norm": (row_kernels.add_norm, [BF16, BF16, BF16, BF16, "i32", "fp32"], {"WIDTH": 4096}),
    "rotate_and_store": (row_kernels.rotate_and_store, rotate_and_store(OWN), STORE),
    "rotate_and_store int8": (row_kernels.rotate_and_store, rotate_and_store(QUANTISED), STORE),
    "gate": (row_kernels.gate, [BF16, BF16, "i32"], {"BLOCK": 1024}),
}


def compiled(kernel: Any, types: list[str | None], constants: dict[str, int], capability: int) -> Any:
    """The kernel for a GPU of that capability; pointers are aligned as torch's are, sizes multiples of 16.

    A type of None is an argument that is not given.
    """
    names = kernel.arg_names
    given = dict(zip((name for name in names if name not in constants), types, strict=True))
    absent = {name: None for name, kind in given.items() if kind is None}
    signature = {name: given.get(name) or "constexpr" for name in names}
    aligned = [i for i, name in enumerate(names) if signature[name].startswith(("*", "i32"))]
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(names.index(name),): value for name, value in {**constants, **absent}.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    return triton.compile(source, target=GPUTarget("cuda", capability, 32))


def stack_bytes(cubin: bytes) -> int:
    """Bytes of a thread's stack, which lies in slow memory."""
    [tool] = Path(triton.__file__).parent.glob("backends/nvidia/bin/cuobjdump")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    return max(int(found) for found in re.findall(r"STACK:(\d+)", done.stdout))


def report(capability: int) -> Iterator[tuple[str, dict[str, int]]]:
    """Of each kernel."""
    for name, (kernel, types, constants) in KERNELS.items():
        binary = compiled(kernel, types, constants, capability)
        ptx = binary.asm["ptx"]
        counts = {kind: len(re.findall(kind, ptx)) for kind in ("cp.async", "mma", "global.v4")}
        yield name, {"stack_bytes": stack_bytes(binary.asm["cubin"]), **counts}


if __name__ == "__main__":
    print(json.dumps(dict(report(int(sys.argv[1])))))
