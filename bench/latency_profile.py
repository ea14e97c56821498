"""Measures how long the models of a checkpoint take on this machine, as a latency profile for the simulated backend.

::

    python -m bench.latency_profile --preset demo > my.yaml && trichord up --simulated --simulation ./my.yaml

Encoders are timed over passes of several sizes; the decoder is a live engine whose steps are recorded under a varied
load. Coefficients are non-negative least squares of relative errors, which the last line on stderr sums up.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

import audio_encoder.encoder
import vision_encoder.encoder
from llm_decoder.engine import Chooser, Runner
from llm_decoder.loading import EngineSettings, load_engine
from llm_decoder.request import Finish, Request, Sink
from llm_decoder.sampler import Sampled
from llm_decoder.sampling_limits import check
from llm_decoder.scheduler import Scheduled
from llm_decoder.simulated import load_of
from llm_decoder.timings import Timings
from trichord.checkpoint.locate import directory_of
from trichord.errors import TrichordError
from trichord.logs import configure
from trichord.media.slicing import TileShape
from trichord.media.windows import SAMPLE_RATE, window_samples
from trichord.model_config import ModelConfig
from trichord.settings import ModelSettings
from trichord.simulation.profile import LatencyProfile
from trichord.v1 import decoder_pb2

RUNS = 7
TILES = (1, 2, 4, 8)
SECONDS = (1, 5, 15, 30)
BURSTS = ((1, 64), (1, 1500), (4, 256), (8, 1000), (16, 64), (32, 200), (32, 900))
"""(sequences, tokens of each prompt) that arrive at once."""
NEW_TOKENS = 24

Sample = tuple[Sequence[float], float]
"""Amounts of work, and the seconds it took."""


def fit(samples: Sequence[Sample]) -> list[float]:
    """Seconds for each unit of each kind of work, none negative, that best explain the samples, relatively."""
    work = np.array([amounts for amounts, _ in samples], float)
    seconds = np.array([taken for _, taken in samples])
    work = work / seconds[:, None]
    kinds = list(range(work.shape[1]))
    while True:
        found = np.linalg.lstsq(work[:, kinds], np.ones(len(seconds)), rcond=None)[0]
        if found.min() >= 0:
            break
        kinds.pop(int(found.argmin()))
    costs = np.zeros(work.shape[1])
    costs[kinds] = found
    error = np.median(np.abs(work @ costs - 1))
    print(f"{len(samples)} samples, median error {error:.0%}", file=sys.stderr)
    return [float(cost) for cost in costs]


def median_s(run: Callable[[], object]) -> float:
    """Median seconds of one thread's work, after one time that is not counted; other processes do not count."""
    run()
    times = []
    for _ in range(RUNS):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return statistics.median(times)


def vision(settings: ModelSettings, config: ModelConfig) -> dict[str, float]:
    """Passes over tiles of the usual shape."""
    encoder = vision_encoder.encoder.load(settings, "cpu")
    side = config.slicing.scale_resolution // config.vision.patch_size
    samples = []
    for num_tiles in TILES:
        patches = torch.randint(0, 256, (num_tiles * side**2, encoder.patch_values), dtype=torch.uint8)
        with torch.inference_mode():
            taken = median_s(lambda p=patches, n=num_tiles: encoder(p, [TileShape(side, side)] * n))  # type: ignore[misc]
        samples.append(((1, num_tiles), taken))
    pass_s, tile_s = fit(samples)
    return {"pass_ms": pass_s * 1e3, "weights_ms": 0, "tile_ms": tile_s * 1e3}


def audio(settings: ModelSettings, config: ModelConfig) -> dict[str, float]:
    """Passes over windows of several lengths, one and two at a time."""
    encoder = audio_encoder.encoder.load(settings)
    samples = []
    for seconds in SECONDS:
        window = torch.randn(min(seconds * SAMPLE_RATE, window_samples(config.audio))) * 0.1
        for windows in ([window], [window] * 2):
            taken = median_s(lambda w=windows: encoder.encode(w))  # type: ignore[misc]
            samples.append(((1, sum(map(len, windows)) / SAMPLE_RATE), taken))
    pass_s, second_s = fit(samples)
    return {"pass_ms": pass_s * 1e3, "weights_ms": 0, "second_ms": second_s * 1e3}


class Recorder:
    """Stands before an engine's runner and sampler, and notes the work and the time of each step."""

    def __init__(self, runner: Runner, sampler: Chooser) -> None:
        self._runner, self._sampler, self.config = runner, sampler, runner.config
        self.samples: list[Sample] = []
        self._work: Sequence[float] = ()
        self._started = 0.0

    def step(self, step: Sequence[Scheduled]) -> Tensor:  # noqa: D102
        self._work, self._started = (1, *load_of(step)), time.perf_counter()
        return self._runner.step(step)

    def sample(self, logits_BV: Tensor, requests: Sequence[Request]) -> list[Sampled]:  # noqa: D102
        sampled = self._sampler.sample(logits_BV, requests)
        self.samples.append((self._work, time.perf_counter() - self._started))
        return sampled


class Done(Sink):
    """Only waits for the end."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def start(self, timings: Timings) -> None:
        """Not told."""

    def emit(self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]]) -> None:
        """Not told."""

    def finish(
        self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]], reason: Finish, timings: Timings
    ) -> None:
        """Over."""
        self.over.set()

    def fail(self, error: TrichordError) -> None:
        """Never, with requests that fit."""
        raise SystemExit(str(error))

    def is_cancelled(self) -> bool:
        """Never."""
        return False

    def is_full(self) -> bool:
        """Never."""
        return False


def decoder(told: ModelSettings, config: ModelConfig) -> dict[str, float]:
    """Every step of bursts of several sizes; prompts share no prefix."""
    engine = load_engine(told, EngineSettings.model_validate({}))
    recorder = Recorder(engine.runner, engine.sampler)
    engine.runner = engine.sampler = recorder
    params = decoder_pb2.SamplingParams(max_tokens=NEW_TOKENS, ignore_eos=True)
    sampling = check(params, context_left=NEW_TOKENS, vocab_size=config.llm.vocab_size)
    generator = np.random.default_rng(0)
    for num_sequences, prompt_length in BURSTS:
        sinks = [Done() for _ in range(num_sequences)]
        for sink in sinks:
            prompt = generator.integers(0, config.llm.vocab_size, prompt_length).tolist()
            engine.submit(Request(prompt, sampling, frozenset(), sink, time.monotonic()))
        for sink in sinks:
            sink.over.wait()
    engine.close()
    step_s, token_s, pair_s, sequence_s, context_s = fit(recorder.samples[2:])
    return {
        "step_ms": step_s * 1e3,
        "weights_ms": 0,
        "prompt_token_ms": token_s * 1e3,
        "prompt_pair_ns": pair_s * 1e9,
        "sequence_ms": sequence_s * 1e3,
        "context_token_us": context_s * 1e6,
    }


def measured(checkpoint: Path, threads: int) -> dict[str, object]:
    """The whole profile."""
    config = ModelConfig.read(checkpoint)
    settings = ModelSettings.model_validate({"checkpoint": checkpoint, "threads": threads})
    torch.set_num_threads(1)  # as in the local cluster: encoders have one core, the decoder has all
    figures = {"vision": vision(settings, config), "audio": audio(settings, config)}
    torch.set_num_threads(threads)
    figures["decoder"] = decoder(settings, config)
    cores = f"encoders on one core, decoder on {threads} ({platform.machine()})"
    return {
        "provenance": "measured",
        "note": f"{config.model} in {config.dtype}, {cores}, {datetime.datetime.now(datetime.UTC).date()}",
        "mean_answer_tokens": 128,
        **{name: {key: float(f"{value:.3g}") for key, value in section.items()} for name, section in figures.items()},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="demo", help="name of a checkpoint, or a path with a slash")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    configure("latency-profile", "warning")
    profile = measured(directory_of(options.preset), options.threads)
    LatencyProfile.model_validate(profile)
    print(yaml.safe_dump(profile, sort_keys=False), end="")
