"""The loop: look at the demands and the replicas, decide for all modalities, make it so; again each second.

What cannot be seen changes nothing, what cannot be done is tried again at the next turn. Knows neither how decisions
are made (fleet.py) nor who makes replicas (actuator.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from autoscaler import metrics
from autoscaler.actuator import Actuator, Replicas
from autoscaler.decisions import Decisions, Record
from autoscaler.fleet import Fleet
from autoscaler.observation import Observation
from autoscaler.state import State
from trichord.demand import Demand, Modality, merge, read_all
from trichord.errors import TrichordError
from trichord.redis_link import RedisLink

log = structlog.get_logger(__name__)

MIN_PAUSE_S = 0.02
"""Between two turns, however many notices come."""


class Autoscaler:
    """See the module. ``clock`` shows seconds and never jumps."""

    def __init__(
        self,
        fleet: Fleet,
        link: RedisLink,
        actuator: Actuator,
        decisions: Decisions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet, self._link, self._actuator, self._clock = fleet, link, actuator, clock
        self.decisions = decisions
        self._states: dict[Modality, State] = {}
        self._demands: Mapping[Modality, Demand] = {}
        self._complaints: dict[str, str] = {}
        self._wanted: set[Modality] = set()
        self._woken = asyncio.Event()

    def wake(self, modality: Modality) -> None:
        """A request wants this modality: if it sleeps, it shall wake at once, whatever gateways' reports say yet."""
        self._wanted.add(modality)
        self._woken.set()

    async def run(self, interval_s: float) -> None:
        """Takes turns until cancelled."""
        while True:
            self._woken.clear()
            await self.turn()
            await asyncio.sleep(MIN_PAUSE_S)
            try:
                await asyncio.wait_for(self._woken.wait(), interval_s)
            except TimeoutError:
                continue

    async def turn(self) -> None:
        """Decides once; what goes wrong is logged, and nothing is decided by it."""
        await self._look()
        try:
            replicas = await self._actuator.replicas(self._demands)
        except TrichordError as error:
            self._complain("replicas are not known, nothing is decided", error)
            return
        records = self._decide(replicas)
        # Noted first: who is asked for the newest decision (KEDA) must not wait for another to be carried out.
        self.decisions.note(records)
        metrics.decided(records.values())
        changes = [record for record in records.values() if record.decision.replicas != record.seen.desired]
        await asyncio.gather(*(self._scale(record) for record in changes))

    async def _look(self) -> None:
        """Demands that cannot be read stay as they were, and grow old."""
        try:
            self._demands = merge(await read_all(self._link, self._clock()))
        except TrichordError as error:
            self._complain("demands cannot be read", error)
            return
        self._complaints.pop("demands cannot be read", None)

    def _decide(self, replicas: Mapping[Modality, Replicas]) -> dict[Modality, Record]:
        wanted, self._wanted = self._wanted, set()
        observations = {
            modality: Observation(self._demand(modality, modality in wanted and not seen.desired), *seen)
            for modality, seen in replicas.items()
        }
        decided = self._fleet.decide(observations, self._states, self._clock())
        self._states = {modality: decision.state for modality, decision in decided.items()}
        now_s = time.time()
        return {
            modality: Record(modality, now_s, replicas[modality], decision) for modality, decision in decided.items()
        }

    def _demand(self, modality: Modality, is_waking: bool) -> Demand | None:
        """What gateways tell; to a sleeper, a notice is as good as their next report."""
        told = self._demands.get(modality)
        if not is_waking:
            return told
        told = told or Demand(modality=modality)
        return told.model_copy(update={"num_held": max(1, told.num_held), "at_s": self._clock()})

    async def _scale(self, record: Record) -> None:
        decision = record.decision
        try:
            done = await self._actuator.scale(record.modality, record.seen, decision.replicas, decision.reason)
        except TrichordError as error:
            self._complain(f"{record.modality} is not scaled", error)
            return
        if done:
            log.info("scaled", modality=record.modality, replicas=decision.replicas, reason=decision.reason)

    def _complain(self, what: str, error: TrichordError) -> None:
        """Once for each failure, not once for each second that it lasts."""
        if self._complaints.get(what) != error.message:
            log.warning(what, error=error.message)
        self._complaints[what] = error.message
