"""A team does every task once and each phase after the one before, however late its threads are."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from llm_decoder.native import build

SOURCE = Path(__file__).with_name("team_check.cpp")
NUM_PHASES = 200
NEVER, SELDOM, OFTEN = 0, 50, 5
"""One task in so many is late."""

Check = Callable[..., ctypes.c_void_p]


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    path = tmp_path_factory.mktemp("team") / "team_check.so"
    headers = build.SOURCE.parent
    subprocess.run([build.COMPILER, *build.FLAGS, f"-I{headers}", str(SOURCE), "-o", str(path)], check=True)
    library = ctypes.CDLL(str(path))
    library.team_check_create.restype = ctypes.c_void_p
    library.team_check_run.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    library.team_check_run_without_one.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.team_check_num_lost.argtypes = library.team_check_destroy.argtypes = [ctypes.c_void_p]
    return library


@pytest.fixture
def team(checks: ctypes.CDLL) -> Iterator[Check]:
    """Makes teams of so many threads, whose phases have up to so many items."""
    with ExitStack() as stack:

        def made(size: int, max_items: int) -> ctypes.c_void_p:
            check = ctypes.c_void_p(checks.team_check_create(size, max_items, 7))
            stack.callback(checks.team_check_destroy, check)
            return check

        yield made


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize(
    ("max_items", "lateness", "num_runs"),
    [(3, NEVER, 2000), (20, NEVER, 1000), (300, NEVER, 100), (3, SELDOM, 200), (20, SELDOM, 50), (20, OFTEN, 10)],
)
def test_every_item_is_done_once_and_in_its_phase(checks, team, size, max_items, lateness, num_runs):
    check = team(size, max_items)
    assert [checks.team_check_run(check, NUM_PHASES, lateness) for _ in range(num_runs)] == [0] * num_runs


@pytest.mark.parametrize("size", [2, 8])
def test_what_a_late_thread_was_at_is_taken_over(checks, team, size):
    check = team(size, 20)
    assert sum(checks.team_check_run(check, NUM_PHASES, OFTEN) for _ in range(20)) == 0
    assert checks.team_check_num_lost(check) > 100


@pytest.mark.parametrize("size", [2, 8])
def test_the_others_come_to_the_end_while_one_stands_still(checks, team, size):
    check = team(size, 20)
    runs = (checks.team_check_run_without_one(check, 2000) for _ in range(1000))
    assert next((outcome for outcome in runs if outcome >= 0), None) == 1


def test_more_items_than_a_team_has_tasks_are_done_in_larger_ones(checks, team):
    assert checks.team_check_run(team(2, 40_000), 20, NEVER) == 0


def test_a_thread_alone_is_never_robbed(checks, team):
    check = team(1, 20)
    assert checks.team_check_run(check, NUM_PHASES, OFTEN) == 0
    assert checks.team_check_num_lost(check) == 0
