"""A whole evaluation of scripted models: scores, bars, baselines, agreement, and the report as JSON."""

from __future__ import annotations

import io
import json

import jsonschema
import pytest
from rich.console import Console

from tests.unit.training.evaluation.conftest import ScriptedModel
from trichord.checkpoint.progress import silent
from trichord.errors import TrainingError
from trichord_training import speech
from trichord_training.evaluation.evaluation import Plan, evaluate
from trichord_training.evaluation.report import Report, TextReport
from trichord_training.evaluation.sample import Sample
from trichord_training.evaluation.table import WIDTH, table

PLAN = Plan(("shape", "speech"), samples=8, seed=0, split="test", at_once=2)
TEXT = TextReport(
    base="smol", prompts=50, base_perplexity=2.0, perplexity=2.02, change=0.01, bar=0.02, passed=True, seconds=1.0
)


def right(sample: Sample) -> str:
    """What a model says that sees and hears everything."""
    return sample.expected if sample.images or sample.sound else "no idea"


def circles(sample: Sample) -> str:
    return "A circle." if sample.images and sample.index else right(sample)


async def test_a_perfect_model_passes() -> None:
    report = await evaluate(PLAN, {"process": ScriptedModel(right)}, silent)
    shape, sentences = report.sets
    assert [measure.metric for measure in sentences.measures] == ["word errors", "exact"]
    assert [measure.passed for measure in (*shape.measures, *sentences.measures)] == [True, True, None]
    assert shape.measures[0].scores["process"].value == sentences.measures[1].scores["process"].value == 1
    assert sentences.measures[0].scores["process"].value == 0
    assert shape.measures[0].text_only.value == 0
    assert sentences.measures[0].text_only.value >= 0.5
    assert shape.measures[0].majority.of == 8
    assert shape.equal is None
    assert report.passed


async def test_the_cluster_is_judged_and_agreement_counted() -> None:
    models = {"cluster": ScriptedModel(circles), "process": ScriptedModel(right)}
    report = await evaluate(PLAN, models, silent)
    shape, sentences = report.sets
    assert shape.measures[0].scores["process"].value == 1
    assert shape.measures[0].scores["cluster"].value == 1 / 8
    assert (shape.measures[0].passed, shape.equal, sentences.equal) == (False, 1, 8)
    assert not report.passed
    assert shape.answered[1].answers == {"cluster": "A circle.", "process": "square"}
    assert shape.answered[1].expected == "square"


async def test_both_are_asked_the_same() -> None:
    cluster, process = ScriptedModel(right), ScriptedModel(right)
    await evaluate(PLAN, {"cluster": cluster, "process": process}, silent)
    assert sorted(s.index for s in process.asked) == sorted([*range(8), *range(8)])
    assert [sample for sample in process.asked if sample not in cluster.asked] == []
    assert [sample for sample in cluster.asked if sample not in process.asked and (sample.images or sample.sound)] == []


async def test_two_checkpoints_are_not_compared() -> None:
    models = {"cluster": ScriptedModel(right), "process": ScriptedModel(right, fingerprint="other")}
    with pytest.raises(TrainingError, match="--preset and --dtype"):
        await evaluate(PLAN, models, silent)
    assert not models["cluster"].asked


async def test_a_missing_voice_is_told_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech.shutil, "which", lambda name: None)
    model = ScriptedModel(right)
    with pytest.raises(TrainingError, match="espeak-ng"):
        await evaluate(PLAN, {"process": model}, silent)
    assert not model.asked


async def test_progress_counts_samples_made_and_asked() -> None:
    stages = []

    class Stage:
        def __init__(self, title: str, total: int) -> None:
            self.title, self.total, self.done = title, total, 0
            stages.append(self)

        def __enter__(self):
            return self.advance

        def __exit__(self, *error: object) -> None:
            """Nothing to end."""

        def advance(self, count: int) -> None:
            self.done += count

    await evaluate(PLAN, {"cluster": ScriptedModel(right), "process": ScriptedModel(right)}, Stage)
    assert [(stage.title, stage.total, stage.done) for stage in stages] == [("shape", 24, 24), ("speech", 24, 24)]


async def test_the_report_is_json_by_its_schema() -> None:
    report = await evaluate(PLAN, {"process": ScriptedModel(right)}, silent)
    report = report.model_copy(update={"text": TEXT})
    written = report.model_dump_json()
    jsonschema.validate(json.loads(written), Report.model_json_schema())
    assert Report.model_validate_json(written) == report
    told = json.loads(written)
    assert (told["model"], told["seed"], told["split"], told["ways"]) == ("scripted", 0, "test", ["process"])
    assert told["fingerprints"] == {"vision": "f", "audio": "a"}
    assert {"python", "torch", "trichord", "espeak-ng"} <= told["versions"].keys()
    assert told["sets"][0]["measures"][0]["scores"]["process"] == {
        "value": 1.0, "low": pytest.approx(0.6756, abs=1e-4), "high": 1.0, "count": 8, "of": 8,
    }  # fmt: skip


async def test_a_failed_text_fails_the_whole() -> None:
    report = await evaluate(PLAN, {"process": ScriptedModel(right)}, silent)
    assert report.model_copy(update={"text": TEXT}).passed
    assert not report.model_copy(update={"text": TEXT.model_copy(update={"passed": False})}).passed


async def test_the_table_has_everything_in_its_width() -> None:
    report = await evaluate(PLAN, {"cluster": ScriptedModel(circles), "process": ScriptedModel(right)}, silent)
    console = Console(width=WIDTH, record=True, file=io.StringIO())
    console.print(table(report.model_copy(update={"text": TEXT})))
    shown = console.export_text()
    assert "…" not in shown
    lines = {words[0]: words for line in shown.splitlines() if (words := line.split())}
    assert lines["shape"][:4] == ["shape", "exact", "12.5", "100.0"]
    assert {"90", "fail", "1/8"} <= set(lines["shape"])
    assert {"10", "pass", "8/8"} <= set(lines["speech"])
    assert {"+1.00", "2", "pass"} <= set(lines["text"])
    assert "scripted: split test, seed 0, 8 samples a set" in shown
