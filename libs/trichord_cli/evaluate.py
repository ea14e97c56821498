"""``trichord eval``: held-out samples, asked through the cluster and in this process.

Edge only: options in, the work of ``trichord_training.evaluation``, a table and JSON out. Progress goes to stderr.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trichord.errors import TrainingError
from trichord_cli.connecting import DEFAULT_TARGET, ApiKey, Ca, Target
from trichord_cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from trichord.client import OmniClient
    from trichord.model_config import Dtype
    from trichord_training.evaluation.asking import Model
    from trichord_training.evaluation.evaluation import Plan
    from trichord_training.evaluation.report import Report, Way

TEXT = "text"
QUICK_SAMPLES = 20

Connect = Callable[[], "OmniClient"]


def evaluate(
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Name of a set; may be repeated. Default: all.")
    ] = None,
    through: Annotated[
        Literal["cluster", "process", "both"], typer.Option(help="The serving path, this process alone, or both.")
    ] = "both",
    preset: Annotated[str, typer.Option(help="Name of the checkpoint, or a path (with a slash).")] = "demo",
    dtype: Annotated[
        Literal["float32", "bfloat16"] | None, typer.Option(help="In this process; by default the checkpoint's own.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, max=5000, help="Of each set.")] = 200,
    quick: Annotated[bool, typer.Option("--quick", help=f"{QUICK_SAMPLES} samples of each set.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of all samples.")] = 0,
    split: Annotated[
        Literal["test", "validation"], typer.Option(help="Neither shares texts or voices with training.")
    ] = "test",
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Questions in progress at a time.")] = 4,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File to write everything to, answers included.")
    ] = None,
    target: Target = DEFAULT_TARGET,
    api_key: ApiKey = None,
    ca: Ca = None,
) -> None:
    """Ask a model what it can do: held-out pictures, sounds and texts. Ends with status 1 if a bar is missed."""
    if json_file and not json_file.parent.is_dir():
        raise typer.BadParameter("there is no such directory.", param_hint="--json")
    _check_installed()
    from trichord import client
    from trichord.logs import configure
    from trichord_training.evaluation.evaluation import Plan

    configure("eval", "warning")
    names = _names(sets, through)
    plan = Plan(tuple(n for n in names if n != TEXT), QUICK_SAMPLES if quick else samples, seed, split, at_once)
    connect = partial(client.OmniClient, target, api_key=api_key, tls=client.Tls(ca) if ca else None)
    ways: tuple[Way, ...] = ("cluster", "process") if through == "both" else (through,)
    report = asyncio.run(_run(plan, ways, connect, preset, dtype, has_text=TEXT in names))
    _conclude(report, json_file)


def _check_installed() -> None:
    """Raises TrainingError if this installation cannot evaluate."""
    if find_spec("trichord_training") is None or find_spec("matplotlib") is None:
        raise TrainingError("Evaluations need more than is installed: pip install 'trichord[training]'.")


def _names(sets: list[str] | None, through: str) -> list[str]:
    """The sets that are asked, each once, in the report's order. Text is compared in this process only."""
    from trichord_training.evaluation.sets import SETS

    known = [*SETS, *([] if through == "cluster" else [TEXT])]
    if unknown := [name for name in sets or () if name not in known]:
        raise typer.BadParameter(f"there is no set {unknown[0]}; known: {', '.join(known)}.", param_hint="--set")
    return [name for name in known if name in (sets or known)]


async def _run(
    plan: Plan, ways: tuple[Way, ...], connect: Connect, preset: str, dtype: Dtype | None, *, has_text: bool
) -> Report:
    from trichord.checkpoint.locate import directory_of
    from trichord_training.evaluation.evaluation import evaluate as evaluate_sets

    async with _models(ways, connect, directory_of(preset), dtype) as models:
        report = await evaluate_sets(plan, models, partial(progress_bar, unit="items"))
    if not has_text:
        return report
    from trichord_training.evaluation.text import evaluate_text

    text = await evaluate_text(directory_of(preset), plan.samples, _cores(), partial(progress_bar, unit="items"))
    return report.model_copy(update={"text": text})


@asynccontextmanager
async def _models(
    ways: tuple[Way, ...], connect: Connect, checkpoint: Path, dtype: Dtype | None
) -> AsyncIterator[dict[Way, Model]]:
    from trichord_training.evaluation.served import ServedModel

    models: dict[Way, Model] = {}
    async with AsyncExitStack() as stack:
        if "cluster" in ways:
            models["cluster"] = ServedModel(await stack.enter_async_context(connect()))
        if "process" in ways:
            from trichord_training.evaluation.inprocess import InProcessModel

            models["process"] = stack.enter_context(closing(InProcessModel(checkpoint, dtype, _cores())))
        yield models


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _conclude(report: Report, json_file: Path | None) -> None:
    from rich.console import Console

    from trichord_training.evaluation.table import WIDTH, table

    is_terminal = Console().is_terminal
    Console(width=None if is_terminal else WIDTH).print(table(report))
    if json_file:
        json_file.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if not report.passed:
        raise typer.Exit(1)
