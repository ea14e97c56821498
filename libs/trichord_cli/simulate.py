"""``trichord simulate``: what would become of a trace of requests under different ways of scaling.

Edge only; the replay is the autoscaler's. Nothing is served and nothing measured: progress goes to stderr, answers to
stdout.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from autoscaler.replay.cluster import Cluster, Modality
    from autoscaler.replay.contest import Entry
    from autoscaler.replay.mix import Mix
    from autoscaler.replay.outcome import Slo
    from autoscaler.replay.trace import Arrival

File = Annotated[
    Path | None,
    typer.Argument(help="CSV of time_s, images, tiles, audio_s, prompt_tokens, output_tokens; or an Azure LLM trace."),
]
Shape = Annotated[str | None, typer.Option("--generate", help="Instead of a file: constant, burst, diurnal, on-off.")]
Peak = Annotated[float, typer.Option("--peak-per-s", min=0.001, max=10_000, help="Of a generated trace: requests.")]
Duration = Annotated[float, typer.Option("--duration-s", min=1, max=864_000, help="Of a generated trace.")]
Copies = Annotated[int, typer.Option(min=1, max=200, help="Of an Azure trace: so many times its load.")]
Day = Annotated[bool, typer.Option("--day", help="Of an Azure trace: its hour 24 times, thinned to a day and a night.")]
Shares = Annotated[
    str, typer.Option("--mix", help="Where media are drawn: shares of requests with images, with audio, with both.")
]
Profile = Annotated[str, typer.Option(help="Latencies: a shipped profile's name, or a YAML file.")]
Startup = Annotated[float | None, typer.Option("--startup-s", min=0, max=3600, help="Of every replica, in seconds.")]
TtftSlo = Annotated[float, typer.Option("--ttft-slo-s", min=0.001, help="First token within so many seconds.")]
E2eSlo = Annotated[float, typer.Option("--e2e-slo-s", min=0.001, help="Last token within so many seconds.")]
Attainment = Annotated[float, typer.Option(min=0.01, max=1.0, help="Share of requests that --size and --sweep aim at.")]
Size = Annotated[bool, typer.Option("--size", help="Tell how many of each would do, if their number never changed.")]
Sweep = Annotated[bool, typer.Option("--sweep", help="Each scaler at several settings, to compare them as equals.")]
Plots = Annotated[Path | None, typer.Option(help="Directory for PNG files; needs matplotlib.")]
Seed = Annotated[int, typer.Option(min=0, help="Of all that is drawn.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


def simulate(
    trace: File = None,
    generate: Shape = None,
    peak_per_s: Peak = 5.0,
    duration_s: Duration = 3600.0,
    copies: Copies = 1,
    day: Day = False,
    mix: Shares = "0.35,0.10,0.05",
    profile: Profile = "megrez-3b-omni-h100",
    startup_s: Startup = None,
    ttft_slo_s: TtftSlo = 2.0,
    e2e_slo_s: E2eSlo = 30.0,
    attainment: Attainment = 0.99,
    size: Size = False,
    sweep: Sweep = False,
    plots: Plots = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Replay a trace of requests through simulated services, under each way of scaling."""
    from autoscaler.replay.outcome import Slo

    if (trace is None) == (generate is None):
        raise typer.BadParameter("give either a trace or --generate.")
    if plots is not None and find_spec("matplotlib") is None:
        raise typer.BadParameter("pictures need matplotlib: pip install 'trichord[plots]'.", param_hint="--plots")
    shares = _mix(mix)
    if generate is not None:
        arrivals = _generated(generate, peak_per_s, duration_s, shares, seed)
    else:
        assert trace is not None, "checked above"
        arrivals = _read(trace, copies, day, shares, seed)
    if not arrivals:
        raise typer.BadParameter("the trace has no arrivals.")
    cluster, slo = _cluster(profile, startup_s), Slo(ttft_slo_s, e2e_slo_s)
    if size:
        _tell_size(arrivals, cluster, slo, attainment, as_json)
    else:
        _tell_contest(arrivals, cluster, slo, sweep, attainment, plots, as_json)


def _generated(name: str, peak_per_s: float, duration_s: float, mix: Mix, seed: int) -> list[Arrival]:
    from autoscaler.replay.trace import MAX_ARRIVALS
    from autoscaler.replay.traces import SHAPES, generate

    if name not in SHAPES:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(SHAPES)}.", param_hint="--generate")
    if peak_per_s * duration_s > MAX_ARRIVALS:
        raise typer.BadParameter(f"that would be more than {MAX_ARRIVALS} arrivals.", param_hint="--peak-per-s")
    return generate(SHAPES[name], peak_per_s, duration_s, seed, mix)


def _read(path: Path, copies: int, day: bool, mix: Mix, seed: int) -> list[Arrival]:
    from autoscaler.replay import azure, trace

    if not azure.is_azure(path):
        if copies > 1 or day:
            raise typer.BadParameter("--copies and --day are for Azure traces.")
        return trace.read(path)
    hour = azure.read(path)
    if len(hour) * copies * (24 if day else 1) > trace.MAX_ARRIVALS:
        raise typer.BadParameter(f"that would be more than {trace.MAX_ARRIVALS} arrivals.", param_hint="--copies")
    hour = azure.multiplied(hour, copies, seed)
    return mix.onto(azure.a_day_of(hour, seed) if day else hour, seed)


def _mix(text: str) -> Mix:
    from autoscaler.replay.mix import Mix

    try:
        images, audio, both = (float(share) for share in text.split(","))
    except ValueError:
        images = audio = both = -1.0
    if not (min(images, audio, both) >= 0 and images + audio + both <= 1):
        raise typer.BadParameter(
            "three shares that are not more than 1 together, such as 0.35,0.1,0.05.", param_hint="--mix"
        )
    return Mix(images, audio, both)


def _cluster(profile: str, startup_s: float | None) -> Cluster:
    from autoscaler.replay.cluster import MODALITIES, STARTUP_S, Cluster
    from trichord.simulation.profile import LatencyProfile, locate

    startups = STARTUP_S if startup_s is None else dict.fromkeys(MODALITIES, startup_s)
    return Cluster(LatencyProfile.read(locate(profile)), startups)


def _tell_size(arrivals: list[Arrival], cluster: Cluster, slo: Slo, attainment: float, as_json: bool) -> None:
    from autoscaler.replay.sizing import smallest
    from trichord_cli.simulate_view import sizes_line

    def told(sizes: dict[Modality, int], attained: float) -> None:
        typer.echo(f"{sizes_line(sizes)}: {100 * attained:.2f} %", err=True)

    sizes = smallest(arrivals, cluster, slo, attainment, told)
    if as_json:
        typer.echo(json.dumps({"attainment": attainment, "replicas": dict(sizes)}, indent=2))
    else:
        typer.echo(f"{sizes_line(sizes)} keep the SLO for {100 * attainment:g} % of this trace (simulated).")


def _tell_contest(
    arrivals: list[Arrival],
    cluster: Cluster,
    slo: Slo,
    sweep: bool,
    attainment: float,
    plots: Path | None,
    as_json: bool,
) -> None:
    from rich.console import Console

    from autoscaler.replay.contest import Contest, entries, summary
    from autoscaler.replay.outcome import as_dict
    from trichord_cli.simulate_view import Progress, summary_lines, table

    contest, done = Contest(arrivals, cluster, slo), []
    with Progress(arrivals[-1].time_s) as progress:
        for scaler, knob in entries(sweep):
            done.append(contest.run(scaler, knob, progress.of(f"{scaler} at {knob:g}")))
    result = summary(done, attainment) if sweep else None
    if as_json:
        runs = [{"scaler": entry.scaler, "use": entry.knob, **as_dict(entry.rows)} for entry in done]
        typer.echo(json.dumps({"simulated": True, "runs": runs, "summary": result}, indent=2))
    else:
        Console().print(table(done))
        if result is not None:
            typer.echo(summary_lines(result))
    if plots is not None:
        _draw(contest, done, sweep, plots)


def _draw(contest: Any, done: list[Entry], sweep: bool, directory: Path) -> None:
    from autoscaler.replay import plots
    from autoscaler.replay.contest import KNOBS

    directory.mkdir(parents=True, exist_ok=True)
    usual = [entry for entry in done if not sweep or entry.knob == KNOBS[entry.scaler][0]]
    plots.replicas(usual, contest.loads, "Replicas over time (simulated)", directory / "replicas.png")
    if sweep:
        plots.curves(done, "What GPU-hours buy (simulated)", directory / "curves.png")
