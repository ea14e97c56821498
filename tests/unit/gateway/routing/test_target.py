"""How a target is written, and what the system's resolver makes of a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.target import Target, parse, resolve
from trichord.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1:7401", Target(("127.0.0.1:7401",))),
        ("vision:50051", Target(("vision:50051",))),
        ("a:1, b:2,a:1", Target(("a:1", "b:2"))),
        ("[::1]:50051,127.0.0.1:1", Target(("[::1]:50051", "127.0.0.1:1"))),
        ("dns:///vision.models.svc:50051", Target(name="vision.models.svc", port=50051)),
    ],
)
def test_a_target_is_read(text: str, target: Target) -> None:
    assert parse(text) == target


@pytest.mark.parametrize(
    "text",
    ["", "vision", ":1", "a:0", "a:65536", "a:1,", "a:1,,b:1", "dns:///a", "dns:///a:1,b:1", "http://a:1", "a b:1"],
)
def test_anything_else_is_refused_by_what_was_written(text: str) -> None:
    with pytest.raises(SettingsError, match="is no target"):
        parse(text)


@given(st.text(max_size=40))
def test_nothing_else_comes_of_any_text(text: str) -> None:
    try:
        target = parse(text)
    except SettingsError:
        return
    assert bool(target.addresses) != bool(target.name)


async def test_the_systems_resolver_answers_with_addresses_of_the_port() -> None:
    assert set(await resolve("localhost", 50051)) <= {"127.0.0.1:50051", "[::1]:50051"}
    assert await resolve("127.0.0.1", 7) == ["127.0.0.1:7"]
    assert await resolve("::1", 7) == ["[::1]:7"]


async def test_a_name_that_does_not_exist_is_an_oserror() -> None:
    with pytest.raises(OSError):
        await resolve("nobody.invalid", 1)
