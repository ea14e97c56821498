"""What is in the images, as far as it can be told without building them: Dockerfiles, and what modules import."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import packages_distributions as find_distributions
from pathlib import Path

from packaging.requirements import Requirement

from tests.k8s.charts import ROOT

OURS = {
    "trichord",
    "trichord_cli",
    "gateway",
    "vision_encoder",
    "audio_encoder",
    "llm_decoder",
    "autoscaler",
    "job_worker",
    "local_cluster",
}
ELSEWHERE = {
    "triton_python_backend_utils": "in Triton",
    "pydantic_core": "the other half of pydantic, which pins it",
    "triton": "torch for CUDA brings it, and only that is asked for it",
}
"""Modules that no extra needs to bring."""


@dataclass(frozen=True)
class Dockerfile:
    """As instructions by stage."""

    service: str
    stages: Mapping[str, list[str]]
    """Instructions (``RUN pip install ...``, continuation lines joined) of each stage; the last has the name ""."""

    @classmethod
    def read(cls, path: Path) -> Dockerfile:
        lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
        text = "\n".join(lines).replace("\\\n", " ")
        stages: dict[str, list[str]] = {"arguments": []}
        name = "arguments"
        for instruction in filter(None, map(str.strip, text.splitlines())):
            if instruction.startswith("FROM "):
                name = instruction.partition(" AS ")[2] or "final"
                stages[name] = []
            stages[name].append(instruction)
        return cls(path.parent.name, stages)

    def extras(self, stage: str) -> list[str]:
        """That ``pip install '.[...]'`` of a stage names."""
        (told,) = [match[1] for one in self.stages[stage] if (match := re.search(r"'\.\[([a-z,]+)\]'", one))]
        return told.split(",")


DOCKERFILES = [Dockerfile.read(path) for path in sorted(ROOT.glob("services/*/Dockerfile"))]


def requirements(extras: Iterable[str]) -> set[str]:
    """Names that pyproject.toml asks for with these extras: base and direct, not what those ask for in turn."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return {canonical(Requirement(text).name) for texts in lists for text in texts}


def third_party(files: Iterable[Path]) -> dict[str, str]:
    """Top-level names that the files and all of ours below them import, and a file that does: lazy imports, too."""
    waiting, seen = list(files), set[Path]()
    found: dict[str, str] = {}
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imports(path):
            if name.partition(".")[0] in OURS:
                waiting += modules(name)
            else:
                found.setdefault(name, str(path.relative_to(ROOT)))
    return {name: path for name, path in found.items() if name.partition(".")[0] not in ELSEWHERE}


@functools.cache
def imports(path: Path) -> tuple[str, ...]:
    """Absolute names that a file imports while it runs; those of type checkers are left out."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in running(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names if _is_ours(node.module or ""))


def running(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node
            yield from running(node)


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in OURS


@functools.cache
def modules(name: str) -> list[Path]:
    """Files of one of our modules and of the packages above it; none if it is no module."""
    parts = name.split(".")
    names = [".".join(parts[: length + 1]) for length in range(len(parts))]
    specs = []
    for one in names:
        try:
            specs.append(importlib.util.find_spec(one))
        except ModuleNotFoundError:  # below something that is no package
            specs.append(None)
    return [Path(spec.origin) for spec in specs if spec and spec.origin]


def distributions_of(name: str) -> set[str]:
    """Of the top-level module of a dotted name; none if it is Python's own. A namespace has several."""
    top, *below = name.split(".")
    if top == "google":  # a namespace of many
        return {{"protobuf": "protobuf", "rpc": "googleapis-common-protos"}[below[0]]}
    return {canonical(one) for one in packages_distributions().get(top, [])}


@functools.cache
def packages_distributions() -> Mapping[str, list[str]]:
    """As importlib.metadata finds them, which takes a second."""
    return find_distributions()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
