"""A report as people read it. Knows no model."""

from __future__ import annotations

from rich import box
from rich.table import Table

from trichord_training.evaluation.report import Measure, Report, SetReport, TextReport
from trichord_training.evaluation.scoring import Score

WIDTH = 110
"""Characters that a row takes."""

_NUMBERS = ("cluster", "process", "95 %", "majority", "blind", "bar", "", "equal", "seconds")
_VERDICTS = {True: "[green]pass[/green]", False: "[red]fail[/red]", None: ""}
_CAPTION = (
    "Shares in %. 95 %: interval of the first score. Majority: what is most common in training. "
    "Blind: the model without the media. Equal: samples with the same answer both ways."
)


def table(report: Report) -> Table:
    """A row for each metric of each set."""
    shown = Table(box=box.SIMPLE_HEAD, title=_title(report), caption=_CAPTION, collapse_padding=True, pad_edge=False)
    for name in ("set", "metric"):
        shown.add_column(name, no_wrap=True)
    for name in _NUMBERS:
        shown.add_column(name, justify="right", no_wrap=True)
    for set_report in report.sets:
        for measure in set_report.measures:
            shown.add_row(*_row(report, set_report, measure))
    if report.text:
        shown.add_row(*_text_row(report.text))
    return shown


def _title(report: Report) -> str:
    counts = sorted({set_report.samples for set_report in report.sets})
    samples = f", {'/'.join(map(str, counts))} samples a set" if counts else ""
    return f"{report.model}: split {report.split}, seed {report.seed}{samples}"


def _row(report: Report, set_report: SetReport, measure: Measure) -> tuple[str, ...]:
    is_first = measure is set_report.measures[0]
    judged = measure.scores[report.ways[0]]
    equal = "-" if set_report.equal is None else f"{set_report.equal}/{set_report.samples}"
    return (
        set_report.name if is_first else "",
        measure.metric,
        _share(measure.scores.get("cluster")),
        _share(measure.scores.get("process")),
        f"{100 * judged.low:.0f}-{100 * judged.high:.0f}",
        _share(measure.majority),
        _share(measure.text_only),
        "-" if measure.bar is None else f"{100 * measure.bar:.0f}",
        _VERDICTS[measure.passed],
        equal if is_first else "",
        " + ".join(f"{seconds:.0f}" for seconds in set_report.seconds.values()) if is_first else "",
    )


def _text_row(text: TextReport) -> tuple[str, ...]:
    change, bar = f"{100 * text.change:+.2f}", f"{100 * text.bar:.0f}"
    verdict, seconds = _VERDICTS[text.passed], f"{text.seconds:.0f}"
    return "text", "perplexity", "-", change, "-", "-", "-", bar, verdict, "-", seconds


def _share(score: Score | None) -> str:
    return "-" if score is None else f"{100 * score.value:.1f}"
