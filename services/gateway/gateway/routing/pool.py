"""The replicas of one service as a whole: who takes a call, and what is learnt from it.

Knows no retries: those are ``call``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Generic

import grpc
import structlog

from gateway.metrics.routing import ATTEMPTS, EJECTIONS, SERVICES
from gateway.routing import outlier, verdict
from gateway.routing.membership import Membership
from gateway.routing.policy import Choose
from gateway.routing.replica import Replica, ReplicaSnapshot, Stub
from gateway.routing.settings import RoutingSettings
from gateway.routing.target import Resolve
from gateway.routing.target import resolve as resolve_by_system
from gateway.routing.verdict import Verdict
from trichord.errors import OverloadedError, TrichordError, UnavailableError
from trichord.retry_budget import RetryBudget
from trichord.server import open_channel
from trichord.telemetry.spans import error_type
from trichord.tls import TlsSettings

log = structlog.get_logger(__name__)

MAX_SAVED_RETRIES = 50.0
"""Retries that may be saved up: about the calls that wait at a replica, and all fail at once when it dies."""

MIN_RETRY_AFTER_S = 0.5
"""What a caller is told at least, when nobody takes its call."""


class Lease(Generic[Stub]):
    """A call that a replica has."""

    def __init__(self, replica: Replica[Stub], patience_s: float | None) -> None:
        self._replica = replica
        self.patience_s = patience_s
        """Seconds in which it must begin to answer; None: the call's own deadline holds."""
        self.has_answered = False
        """Whether ``answered`` was called."""

    @property
    def address(self) -> str:
        """Whose it is: ``host:port``."""
        return self._replica.address

    @property
    def stub(self) -> Stub:
        """What to call."""
        return self._replica.stub

    def answered(self) -> None:
        """It answers: well, whatever comes of the rest of a stream. Later calls change nothing."""
        if not self.has_answered:
            self.has_answered = True
            self._replica.learn("well")

    def failed(self, judged: Verdict) -> None:
        """It failed."""
        self._replica.learn(judged.conclusion, judged.pushback_s)

    def abandoned(self) -> None:
        """The caller left, or failed by itself."""
        if not self.has_answered:
            self._replica.learn("nothing")


class ReplicaPool(Generic[Stub]):
    """All replicas of a service."""

    def __init__(self, peer: str, members: Membership[Stub], settings: RoutingSettings) -> None:
        """``peer`` is the service's name for people."""
        self.settings = settings
        self.service = SERVICES[peer]
        """What it is called in metrics."""
        self.budget = RetryBudget(settings.retry_ratio, settings.retry_min_per_s, MAX_SAVED_RETRIES)
        self._peer, self._members = peer, members

    async def known(self) -> None:
        """Waits until it is known who is there."""
        await self._members.known()

    @property
    def is_deserted(self) -> bool:
        """Whether the service has no replica at all, as when it was scaled to none."""
        return self._members.is_deserted

    @property
    def is_heard(self) -> bool:
        """Whether it has one of whose health something is known."""
        return not self.is_deserted and any(replica.health != "unknown" for replica in self._members.members)

    def doubt(self) -> None:
        """Looks soon who is there."""
        self._members.doubt()

    def num_usable(self, tried: Collection[str] = ()) -> int:
        """Replicas that would take a call now, ``tried`` aside."""
        return sum(replica.is_usable for replica in self._members.members if replica.address not in tried)

    @contextmanager
    def lease(
        self, choose: Choose, cost: float, tried: set[str], patience_s: float | None = None
    ) -> Iterator[Lease[Stub]]:
        """A replica for one call inside; one that is not in ``tried`` if it can be, and then is.

        What the call raises is judged, and comes out as an error of ours. Raises UnavailableError or OverloadedError
        if nobody takes calls.
        """
        replica = self._pick(choose, tried)
        tried.add(replica.address)
        replica.begin(cost)
        lease = Lease(replica, patience_s)
        outcome = "ok"
        try:
            yield lease
            lease.answered()
        except grpc.aio.AioRpcError as error:
            judged = verdict.judge(error, self._peer)
            outcome = judged.error.reason
            self._failed(lease, replica, judged)
            raise judged.error from error
        except TimeoutError as error:
            is_telling = patience_s is not None and patience_s >= self.settings.attempt_timeout_s
            judged = verdict.silence(self._peer, is_telling=is_telling)
            outcome = judged.error.reason
            self._failed(lease, replica, judged)
            raise judged.error from error
        except BaseException as error:
            outcome = "ok" if lease.has_answered else error_type(error)
            lease.abandoned()
            raise
        finally:
            replica.end(cost)
            ATTEMPTS.labels(self.service, outcome).inc()

    def snapshot(self) -> list[ReplicaSnapshot]:
        """Every replica as it stands, those that leave last."""
        return [replica.snapshot() for replica in (*self._members.members, *self._members.leaving)]

    async def close(self) -> None:
        """Closes all connections."""
        await self._members.close()

    def _pick(self, choose: Choose, tried: Collection[str]) -> Replica[Stub]:
        usable = [replica for replica in self._members.members if replica.is_usable]
        candidates = [replica for replica in usable if replica.address not in tried] or usable
        if not candidates:
            raise self._nobody()
        best = min(replica.tier for replica in candidates)
        by_load = {replica.load: replica for replica in candidates if replica.tier == best}
        return by_load[choose(list(by_load))]

    def _nobody(self) -> TrichordError:
        members = self._members.members
        if not members:
            self._members.doubt()
        retry_after_s = max(MIN_RETRY_AFTER_S, min((replica.usable_in_s() for replica in members), default=0.0))
        if members and all(replica.is_overloaded for replica in members):
            message = f"Every replica of the {self._peer} is overloaded. Try again later."
            return OverloadedError(message, retry_after_s=retry_after_s)
        message = f"No replica of the {self._peer} takes calls. Try again shortly."
        return UnavailableError(message, retry_after_s=retry_after_s)

    def _failed(self, lease: Lease[Stub], replica: Replica[Stub], judged: Verdict) -> None:
        lease.failed(judged)
        if judged.conclusion == "failed":
            self._members.doubt()
        conducts = [member.conduct for member in self._members.members]
        if outlier.is_outlier(replica.conduct, conducts, self.settings.max_ejected_share):
            replica.conduct.eject()
            EJECTIONS.labels(self.service).inc()
            log.warning("replica ejected", peer=self._peer, address=replica.address)


def open_pool(
    peer: str,
    target: str,
    make_stub: Callable[[grpc.aio.Channel], Stub],
    settings: RoutingSettings,
    max_message_bytes: int,
    *,
    is_slow_reader: bool = False,
    tls: TlsSettings | None = None,
    resolve: Resolve = resolve_by_system,
) -> ReplicaPool[Stub]:
    """The pool of the service at ``target``. Raises SettingsError if that is no target.

    ``is_slow_reader`` and ``tls``: see ``trichord.server.open_channel``.
    """

    def connect(address: str) -> tuple[grpc.aio.Channel, Stub]:
        channel = open_channel(address, max_message_bytes, is_slow_reader=is_slow_reader, tls=tls)
        return channel, make_stub(channel)

    return ReplicaPool(peer, Membership(target, connect, settings, resolve), settings)
