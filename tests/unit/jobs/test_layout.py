"""Names in the store: unique, safe, and in the order that listings need."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trichord.jobs import layout

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@given(st.text(max_size=200), st.text(max_size=200))
def test_whatever_a_tenant_and_a_request_are_called_names_are_safe(tenant: str, request_id: str) -> None:
    job = layout.job_id(tenant, request_id)
    assert layout.is_job_id(job)
    for key in (layout.spec(tenant, job), layout.result(tenant, job, 7), layout.index_entry(tenant, job, NOON)):
        assert re.fullmatch(r"[a-z]+/[0-9a-f]{32}/[a-zA-Z0-9_./-]+", key)


def test_a_job_is_named_by_tenant_and_request() -> None:
    assert layout.job_id("a", "b") == layout.job_id("a", "b")
    ids = {
        layout.job_id(*names) for names in (("a", "b"), ("b", "a"), ("ab", ""), ("", "ab"), ("a", "bc"), ("ab", "c"))
    }
    assert len(ids) == 6


@pytest.mark.parametrize("text", ["", "job_", "job_" + "g" * 32, "job_" + "a" * 31, "job_" + "a" * 32 + "/../x", "x"])
def test_other_text_is_no_id(text: str) -> None:
    assert not layout.is_job_id(text)


def test_items_share_packs_of_64() -> None:
    packs = [layout.pack("t", "j", "u", index) for index in range(200)]
    assert len(set(packs)) == 4
    assert packs[63] == packs[0] != packs[64]
    assert packs[130].endswith("/items/u/000128")
    assert layout.lone_item("t", "j", "u", 130).endswith("/items/u/000130.lone")


def test_results_know_their_place() -> None:
    assert [layout.result_index(layout.result("t", "j", index)) for index in (0, 7, 49_999)] == [0, 7, 49_999]


@given(st.lists(st.timedeltas(timedelta(0), timedelta(days=30_000)), min_size=2, max_size=5))
def test_the_newest_job_is_first_by_name(ages: list[timedelta]) -> None:
    created = [NOON + age for age in ages]
    by_name = sorted(created, key=lambda moment: layout.index_entry("t", "job", moment))
    in_ms = [int(moment.timestamp() * 1e3) for moment in by_name]
    assert in_ms == sorted(in_ms, reverse=True)
