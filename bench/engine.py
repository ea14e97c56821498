"""The decode engine against the machine's limit, against itself behind Triton, and against what people run instead.

One command, one run: everybody is started, then asked the same prompts in turn, round after round, so that nobody has
the quiet moment to himself; and shortly before, asked others, since whoever waited for minutes starts more slowly.
Knows who is asked what; what figures mean is in ``streams.py``, ``results.py`` and the README beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from bench import contestants as who
from bench import measurements
from bench.peers.peer import Contestant, Peer, PeerError
from bench.prompts import Prompt, Prompts
from bench.report import section
from bench.results import LongPrompt, Results, between
from bench.scores import Score
from bench.streams import Figures, Times, all_started_s, gaps, percentile
from trichord.checkpoint.locate import directory_of

PRESET = "demo"
CONCURRENCIES = (1, 8, 32)
WARM_UP_TOKENS = 4
LONG_PROMPTED = (who.ENGINE, who.TRITON)
PROMPT_TOKENS, LONG_PROMPT_TOKENS, LONG_PROMPT_STREAMS, SCORED_TOKENS = 128, 2000, 8, 768

console = Console(stderr=True)


class Plan(NamedTuple):
    """How much is asked."""

    rounds: int
    num_tokens: int
    """Of each answer."""


FULL, QUICK = Plan(rounds=3, num_tokens=128), Plan(rounds=1, num_tokens=64)


class Bench:
    """One run over peers that have started."""

    def __init__(self, plan: Plan, prompts: Prompts, peers: dict[str, Peer], floor: Peer, results: Results) -> None:
        self._plan, self._prompts, self._peers, self._floor, self.results = plan, prompts, peers, floor, results
        results.versions |= {name: peer.version for name, peer in peers.items()}

    def run(self) -> None:
        """Warms everybody up, then asks, round after round."""
        with Progress(console=console) as progress:
            self._progress = progress
            turns = (len(CONCURRENCIES) * len(self._peers) + len(LONG_PROMPTED)) * self._plan.rounds
            self._task = progress.add_task("", total=len(self._peers) + 2 * turns)
            for name in list(self._peers):
                self._warm_up(name, CONCURRENCIES[-1])
            for index in range(self._plan.rounds):
                self._round(index)

    def score(self, scorers: Sequence[Contestant]) -> None:
        """Compares weights, and keys and values, with float32's view of a fixed text."""
        ids = self._prompts.passage_ids(SCORED_TOKENS)
        for name in (who.ENGINE, who.ENGINE_INT8, who.LLAMA, who.LLAMA_Q8):
            if name in self._peers:
                self.results.scores[name] = Score(**self._peers[name].ask("score", ids=ids))
        for contestant in scorers:
            with Peer(contestant, _log(contestant)) as peer:
                self.results.scores[contestant.name] = Score(**peer.ask("score", ids=ids))

    def _round(self, index: int) -> None:
        for concurrency in CONCURRENCIES:
            prompts = self._prompts.take(concurrency, PROMPT_TOKENS)
            for name in _rotated(list(self._peers), index):
                if not self._warm_up(name, concurrency):
                    continue
                before = self._floor.ask("floors", num_rows=concurrency)
                times = self._generate(name, prompts, self._plan.num_tokens)
                after = self._floor.ask("floors", num_rows=concurrency)
                if times:
                    self.results.runs[name, concurrency].append(Figures.of(times))
                    self.results.floors[name, concurrency].append(between(before, after))
        for name in LONG_PROMPTED:
            if name in self._peers and self._warm_up(name, LONG_PROMPT_STREAMS):
                self.results.long_prompts[name].append(self._long_prompt(self._peers[name]))

    def _warm_up(self, name: str, concurrency: int) -> bool:
        """Whether the peer, asked for a few tokens of other prompts, is still there."""
        return bool(self._generate(name, self._prompts.take(concurrency, PROMPT_TOKENS), WARM_UP_TOKENS))

    def _generate(self, name: str, prompts: Sequence[Prompt], num_tokens: int) -> Times:
        """The times of each stream's tokens; none, and the peer is out, if it does not answer."""
        self._progress.update(self._task, description=f"{name}, {len(prompts)} at once")
        try:
            answer = self._peers[name].ask("generate", prompts=prompts, num_tokens=num_tokens)
        except PeerError as error:
            del self._peers[name]
            self.results.skip(name, str(error))
            return []
        finally:
            self._progress.advance(self._task)
        return [stream["times_s"] for stream in answer["streams"]]

    def _long_prompt(self, peer: Peer) -> LongPrompt:
        def gap_p99_ms(late_prompt: Prompt | None) -> float:
            prompts = self._prompts.take(LONG_PROMPT_STREAMS, PROMPT_TOKENS)
            answer = peer.ask("generate", prompts=prompts, num_tokens=self._plan.num_tokens, late_prompt=late_prompt)
            times = [stream["times_s"] for stream in answer["streams"]]
            return percentile(gaps(times, all_started_s(times)), 99) * 1e3

        (late_prompt,) = self._prompts.take(1, LONG_PROMPT_TOKENS)
        self._progress.advance(self._task)
        return LongPrompt(gap_p99_ms(None), gap_p99_ms(late_prompt))


def _rotated(names: list[str], by: int) -> list[str]:
    return names[by % len(names) :] + names[: by % len(names)]


def _start(contestant: Contestant, stack: ExitStack, results: Results) -> Peer | None:
    console.print(f"starting {contestant.name}")
    try:
        return stack.enter_context(Peer(contestant, _log(contestant)))
    except PeerError as error:
        console.print(f"{contestant.name} does not take part: {error}")
        results.skip(contestant.name, str(error))
        return None


def _log(contestant: Contestant) -> Path:
    logs = who.places() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    return logs / f"{contestant.name.replace(' ', '-')}.log"


def measure(plan: Plan, checkpoint: Path, only: Sequence[str]) -> Results:
    """Runs the bench. Raises PeerError if even the linear layers do not run."""
    results = Results()
    chosen = [c for c in who.contestants(checkpoint) if not only or c.name in only]
    with ExitStack() as stack:
        floor = stack.enter_context(Peer(linear := who.linear_layers(checkpoint), _log(linear)))
        started = {contestant.name: _start(contestant, stack, results) for contestant in chosen}
        peers = {name: peer for name, peer in started.items() if peer}
        bench = Bench(plan, Prompts(checkpoint), peers, floor, results)
        bench.run()
        bench.score(who.scorers(checkpoint))
    return results


def machine() -> str:
    """The processor, its cores, and how busy it was: more than a little, and figures mean nothing."""
    with open("/proc/cpuinfo") as lines:
        names = [line.partition(": ")[2].strip() for line in lines if line.startswith("model name")]
    load, _, _ = os.getloadavg()
    return f"{names[0]}, {len(names)} cores, Python {platform.python_version()}, load {load:.1f} before the run"


def main() -> None:
    """Measures, writes the page's section if the run was a full one, and ends with a line of ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, and nothing is written")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="one contestant; nothing is written"
    )
    options = parser.parse_args()
    plan, on = QUICK if options.quick else FULL, machine()
    results = measure(plan, directory_of(PRESET), options.only)
    how = f"Preset {PRESET}, {who.THREADS} threads, {PROMPT_TOKENS} prompt tokens, {plan.num_tokens} new ones, greedy;"
    text = section(results, on, f"{how} medians of {plan.rounds} rounds.")
    if not options.quick and not options.only:
        measurements.put("bench-engine", text)
    Console(width=140).print(Markdown(text))
    print("BENCH", json.dumps(results.ratios()))


if __name__ == "__main__":
    main()
