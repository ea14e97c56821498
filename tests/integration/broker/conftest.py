"""One real broker for the tests here; each uses topics of its own."""

from __future__ import annotations

import gc
import itertools
import warnings
from collections.abc import Callable, Iterator

import pytest

from tests.broker_lab import Broker, running_broker
from trichord.jobs.settings import JobsSettings

SESSION_TIMEOUT_S = 4.0
"""The broker lets a first member in after half of it."""

_names = itertools.count()


@pytest.fixture(autouse=True)
def _unclosed_sockets() -> Iterator[None]:
    """kafka-python leaves a socket to the garbage collector for each connection that is refused: not here, then."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    with running_broker() as running:
        yield running


def settings_for(broker: Broker, **others: object) -> JobsSettings:
    """Topics that no other test has."""
    values: dict[str, object] = {
        "kafka": broker.address,
        "topic_prefix": f"test{next(_names)}.",
        "partitions": 3,
        "session_timeout_s": SESSION_TIMEOUT_S,
        "send_timeout_s": 20,
    }
    return JobsSettings.model_validate(values | others)


@pytest.fixture
def make_settings(broker: Broker) -> Callable[..., JobsSettings]:
    return lambda **others: settings_for(broker, **others)
