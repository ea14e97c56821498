"""The replay itself: requests of a trace through encoders and decoder, while a scaler changes how many there are.

A request's media are encoded at once, each on its own; when all are done the whole waits for a decoder. What would
have to wait behind too many others is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from autoscaler.replay.clock import Clock
from autoscaler.replay.cluster import MODALITIES, Cluster, Modality
from autoscaler.replay.decoder_pool import DecoderPool
from autoscaler.replay.encoder_pool import EncoderPool
from autoscaler.replay.pool import Pool, Task
from autoscaler.replay.scalers import Scaler
from autoscaler.replay.trace import Arrival


@dataclass(slots=True)
class Request:
    """What becomes of one arrival; times are on the trace's clock."""

    arrival: Arrival
    num_pending: int = 0
    """Media that are not encoded yet."""
    first_token_s: float | None = None
    finished_s: float | None = None
    is_shed: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it was answered or refused."""
        return self.is_shed or self.finished_s is not None


class Replay:
    """One trace, one cluster, one scaler."""

    def __init__(
        self, trace: Sequence[Arrival], cluster: Cluster, scaler: Scaler, initial: Mapping[Modality, int]
    ) -> None:
        self.clock, self.requests = Clock(), [Request(arrival) for arrival in trace]
        self.horizon_s = trace[-1].time_s if trace else 0.0
        self.pools = _pools(self.clock, cluster)
        self._scaler, self._mean_output = scaler, cluster.profile.mean_answer_tokens
        self._arriving, self._num_over = iter(self.requests), 0
        for modality, pool in self.pools.items():
            pool.warm_up(initial[modality])
            pool.on_held = partial(self._decide, modality)
        self._next_arrival()
        if scaler.period_s < float("inf"):
            self.clock.at(scaler.period_s, self._tick)

    def run(self, until_s: float = float("inf"), progress: Callable[[float], None] = lambda _: None) -> None:
        """Goes on until every request is over, or it is ``until_s``; tells ``progress`` the time now and then."""
        told_s = 0.0
        while self._num_over < len(self.requests) and self.clock.next_s <= until_s:
            self.clock.step()
            if self.clock.now_s > told_s + self.horizon_s / 100:
                told_s = self.clock.now_s
                progress(told_s)

    def _next_arrival(self) -> None:
        request = next(self._arriving, None)
        if request is not None:
            self.clock.at(request.arrival.time_s, partial(self._arrive, request))

    def _arrive(self, request: Request) -> None:
        self._next_arrival()
        media = _media(request.arrival)
        request.num_pending = len(media)
        if not media:
            self._decode(request)
        for modality, cost in media:
            task = Task(cost, partial(self._encoded, request))
            if not self.pools[modality].submit(task):
                self._shed(request)

    def _encoded(self, request: Request) -> None:
        request.num_pending -= 1
        if not request.num_pending and not request.is_shed:
            self._decode(request)

    def _decode(self, request: Request) -> None:
        positions, num_output = request.arrival.positions, request.arrival.output_tokens
        task = Task(
            positions + self._mean_output,  # how long the answer will be, nobody knows
            partial(self._finish, request),
            positions,
            num_output,
            partial(self._first_token, request),
        )
        if not self.pools["decoder"].submit(task):
            self._shed(request)

    def _first_token(self, request: Request) -> None:
        request.first_token_s = self.clock.now_s

    def _finish(self, request: Request) -> None:
        request.finished_s = self.clock.now_s
        self._num_over += 1

    def _shed(self, request: Request) -> None:
        self._num_over += not request.is_shed
        request.is_shed = True

    def _tick(self) -> None:
        for modality in MODALITIES:
            self._decide(modality)
        self.clock.at(self.clock.now_s + self._scaler.period_s, self._tick)

    def _decide(self, modality: Modality) -> None:
        pool = self.pools[modality]
        pool.scale_to(self._scaler.decide(modality, pool, self.clock.now_s))


def _pools(clock: Clock, cluster: Cluster) -> dict[Modality, Pool]:
    vision, audio = cluster.profile.vision, cluster.profile.audio
    return {
        "vision": EncoderPool(
            clock,
            cluster.startup_s["vision"],
            cluster.max_waiting,
            lambda tiles: vision.pass_s(int(tiles)),
            cluster.max_batch["vision"],
        ),
        "audio": EncoderPool(
            clock, cluster.startup_s["audio"], cluster.max_waiting, audio.pass_s, cluster.max_batch["audio"]
        ),
        "decoder": DecoderPool(clock, cluster),
    }


def _media(arrival: Arrival) -> list[tuple[Modality, float]]:
    """Each medium's modality and cost; tiles are spread evenly over the images."""
    media: list[tuple[Modality, float]] = []
    for index in range(arrival.images):
        media.append(("vision", (arrival.tiles + index) // arrival.images))
    if arrival.audio_s:
        media.append(("audio", arrival.audio_s))
    return media
