"""How a target is written, and what the system's resolver makes of a name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.target import Target, parse, read, resolve
from trichord.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1:7401", Target(("127.0.0.1:7401",))),
        ("vision:50051", Target(("vision:50051",))),
        ("a:1, b:2,a:1", Target(("a:1", "b:2"))),
        ("[::1]:50051,127.0.0.1:1", Target(("[::1]:50051", "127.0.0.1:1"))),
        ("dns:///vision.models.svc:50051", Target(name="vision.models.svc", port=50051)),
        ("file:///run/vision.targets", Target(name="/run/vision.targets", is_file=True)),
    ],
)
def test_a_target_is_read(text: str, target: Target) -> None:
    assert parse(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vision",
        ":1",
        "a:0",
        "a:65536",
        "a:1,",
        "a:1,,b:1",
        "dns:///a",
        "dns:///a:1,b:1",
        "http://a:1",
        "a b:1",
        "file:///",
    ],
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


@pytest.mark.parametrize(("text", "addresses"), [("", []), ("b:2\na:1\n", ["a:1", "b:2"]), ("a:1\na:1", ["a:1"])])
async def test_a_file_lists_addresses_and_an_empty_one_says_that_there_are_none(
    tmp_path: Path, text: str, addresses: list[str]
) -> None:
    file = tmp_path / "targets"
    file.write_text(text)
    assert await read(str(file), 0) == addresses


@pytest.mark.parametrize("content", [None, b"a:1\nnonsense\n", b"\xff\xfe"])
async def test_a_file_that_is_not_there_or_lists_something_else_is_an_oserror(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "targets"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OSError):
        await read(str(file), 0)
