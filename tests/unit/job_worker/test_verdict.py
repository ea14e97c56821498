"""Which failures come again, when, and which count against an item."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job_worker.outage import Outage
from job_worker.verdict import LATER_S, SOON_S, Verdict, judge
from trichord import errors
from trichord.errors import (
    ContextLengthError,
    DeadlineError,
    FeatureOffError,
    FingerprintError,
    ForbiddenError,
    InternalError,
    MediaError,
    NotFoundError,
    OverloadedError,
    QuotaError,
    RequestError,
    TrichordError,
    UnauthenticatedError,
    UnavailableError,
)

CLASSES = [cls for name in errors.__all__ if not issubclass(cls := getattr(errors, name), errors.StartupError)]

some_error = st.builds(
    lambda cls, retry_after_s: cls("It failed.", retry_after_s=retry_after_s),
    st.sampled_from(CLASSES),
    st.none() | st.floats(0.0, 1000.0),
)


@pytest.mark.parametrize(
    "cls", [RequestError, MediaError, ContextLengthError, NotFoundError, FingerprintError, FeatureOffError]
)
def test_what_fails_the_same_way_each_time_is_given_up_at_once(cls: type[TrichordError]) -> None:
    assert judge(cls("Wrong."), 0, 5, is_outage=False) == Verdict("give_up", 1)
    assert judge(cls("Wrong."), 0, 5, is_outage=True) == Verdict("give_up", 1)


def test_what_may_be_an_accident_comes_again_soon_then_later_then_never() -> None:
    steps = [judge(InternalError("Oh."), attempts, 5, is_outage=False).step for attempts in range(5)]
    assert steps == ["retry_soon", "retry_soon", "retry_later", "retry_later", "give_up"]


@pytest.mark.parametrize("error", [DeadlineError("Late."), UnavailableError("Away."), OverloadedError("Too large.")])
def test_what_counts(error: TrichordError) -> None:
    assert judge(error, 1, 5, is_outage=False) == Verdict("retry_soon", 2)
    assert judge(error, 4, 5, is_outage=False) == Verdict("give_up", 5)


@pytest.mark.parametrize("cls", [OverloadedError, QuotaError])
def test_want_of_room_counts_for_nothing_and_slows_the_worker_down(cls: type[TrichordError]) -> None:
    assert judge(cls("Full.", retry_after_s=0.5), 4, 5, is_outage=False) == Verdict("retry_soon", 4, 0.5)
    assert judge(cls("Full.", retry_after_s=0.0), 4, 5, is_outage=False).hold_s == 0.0
    assert judge(cls("Full.", retry_after_s=30.0), 4, 5, is_outage=False) == Verdict("retry_later", 4, SOON_S)


@pytest.mark.parametrize("cls", [UnauthenticatedError, ForbiddenError])
def test_a_key_that_is_refused_is_no_items_fault(cls: type[TrichordError]) -> None:
    assert judge(cls("Who?"), 4, 5, is_outage=False) == Verdict("retry_later", 4, SOON_S)


def test_an_outage_is_no_items_fault() -> None:
    assert judge(UnavailableError("Away.", retry_after_s=1.0), 4, 5, is_outage=True) == Verdict("retry_soon", 4, 1.0)
    assert judge(InternalError("Oh."), 4, 5, is_outage=True).step == "give_up"


def test_who_says_when_is_believed() -> None:
    assert judge(UnavailableError("Away.", retry_after_s=SOON_S + 1), 0, 5, is_outage=False).step == "retry_later"


@given(some_error, st.integers(0, 10), st.integers(1, 10), st.booleans())
def test_an_item_is_given_up_only_when_its_attempts_are_used_up_or_useless(
    error: TrichordError, attempts: int, max_attempts: int, is_outage: bool
) -> None:
    verdict = judge(error, attempts, max_attempts, is_outage=is_outage)
    assert verdict.attempts - attempts in (0, 1)
    assert 0 <= verdict.hold_s <= SOON_S < LATER_S
    if verdict.step == "give_up":
        assert verdict.attempts == attempts + 1
        assert verdict.attempts >= max_attempts or isinstance(
            error, RequestError | NotFoundError | FingerprintError | FeatureOffError | errors.AlreadyExistsError
        )
    else:
        assert verdict.attempts < max_attempts or verdict.attempts == attempts


def test_one_item_that_breaks_decoders_is_no_outage() -> None:
    outage, away = Outage(num_beside=4), UnavailableError("Away.")
    for _ in range(10):
        for _ in range(8):  # it and those beside it, each twice
            outage.failed(away)
            assert not outage.is_on
        outage.succeeded()


def test_an_outage_begins_with_many_in_a_row_and_ends_with_an_answer() -> None:
    outage = Outage(num_beside=4)
    for _ in range(20):
        outage.failed(RequestError("Wrong."))
    assert not outage.is_on
    for _ in range(9):
        outage.failed(UnavailableError("Away."))
    assert outage.is_on
    outage.succeeded()
    assert not outage.is_on
