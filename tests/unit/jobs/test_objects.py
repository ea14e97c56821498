"""The object store: a real directory, and S3's API, alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.jobs.s3_lab import running_s3, s3_environment
from trichord.errors import OverloadedError, SettingsError, UnavailableError
from trichord.jobs.objects import ObjectStore, open_store


@pytest.fixture(params=["directory", "s3"])
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], ObjectStore]]:
    """Opens one and the same store, of either kind."""
    if request.param == "directory":
        yield lambda: open_store(f"file://{tmp_path}/a%20store")
        return
    with running_s3() as server:
        for name, value in s3_environment(server).items():
            monkeypatch.setenv(name, value)
        yield lambda: open_store("s3://bucket/some/prefix")


@pytest.fixture
def store(opened: Callable[[], ObjectStore]) -> ObjectStore:
    return opened()


async def _keys(store: ObjectStore, prefix: str, after: str = "") -> set[str]:
    return {found.key async for found in store.list(prefix, after)}


async def _bytes(store: ObjectStore, key: str) -> bytes:
    pieces = await store.open_read(key)
    assert pieces is not None
    return b"".join([piece async for piece in pieces])


async def _stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_what_was_created_stays(store: ObjectStore) -> None:
    assert await store.create("a/b", b"first")
    assert not await store.create("a/b", b"second")
    assert await store.get("a/b", 100) == b"first"


async def test_of_many_who_create_at_once_one_has_done_it(opened: Callable[[], ObjectStore]) -> None:
    others = [opened() for _ in range(4)]
    written = [str(n).encode() * 1000 for n in range(32)]
    made = await asyncio.gather(*(others[n % 4].create("race", data) for n, data in enumerate(written)))
    assert sum(made) == 1
    assert await others[0].get("race", 10_000) == written[made.index(True)]


async def test_put_replaces(store: ObjectStore) -> None:
    await store.put("a", b"first")
    await store.put("a", b"second")
    assert await store.get("a", 100) == b"second"


async def test_nothing_is_there_at_first(store: ObjectStore) -> None:
    assert await store.get("a/b", 100) is None
    assert await store.open_read("a/b") is None
    assert not await store.exists("a/b")
    assert await _keys(store, "a/") == set()
    assert await store.folders("a/") == []
    await store.delete("a/b")


async def test_no_more_is_read_than_allowed(store: ObjectStore) -> None:
    await store.put("a", bytes(101))
    with pytest.raises(OverloadedError, match="101 bytes, more than the 100"):
        await store.get("a", 100)


async def test_a_stream_comes_back_in_pieces(store: ObjectStore) -> None:
    data = bytes(range(256)) * 12_000  # 3 MB
    assert await store.put_stream("big", _stream(*(data[i : i + 70_000] for i in range(0, len(data), 70_000)))) == len(
        data
    )
    pieces = await store.open_read("big")
    assert pieces is not None
    sizes = [len(piece) async for piece in pieces]
    assert sum(sizes) == len(data)
    assert max(sizes) <= 2 << 20
    assert await _bytes(store, "big") == data


async def test_a_stream_may_be_empty(store: ObjectStore) -> None:
    assert await store.put_stream("empty", _stream()) == 0
    assert await _bytes(store, "empty") == b""


@pytest.mark.parametrize("error", [KeyError("mine"), OSError("mine"), OverloadedError("mine")])
async def test_a_stream_that_breaks_leaves_nothing_and_raises_what_broke_it(
    store: ObjectStore, error: Exception
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(10_000_000)
        raise error

    with pytest.raises(type(error), match="mine") as raised:
        await store.put_stream("broken", broken())
    assert raised.value is error
    assert not await store.exists("broken")


async def test_listing_tells_what_is_under_a_prefix(store: ObjectStore) -> None:
    for key in ("a/1", "a/2/x", "a/3/x", "ab/1", "b"):
        await store.put(key, key.encode())
    assert await _keys(store, "a/") == {"a/1", "a/2/x", "a/3/x"}
    assert await _keys(store, "a/", after="a/2/x") == {"a/3/x"}
    assert await store.folders("a/") == ["2", "3"]
    sizes = {found.key: (found.size, found.modified.tzinfo is not None) async for found in store.list("a/")}
    assert sizes == {"a/1": (3, True), "a/2/x": (5, True), "a/3/x": (5, True)}


async def test_deleting_takes_what_is_there(store: ObjectStore) -> None:
    for key in ("a/1", "a/2", "a/3", "b/1"):
        await store.put(key, b"")
    await store.delete("a/0", "a/1", "a/9", "a/2")
    assert await _keys(store, "a/") == {"a/3"}
    await store.delete_all("a/")
    assert await _keys(store, "a/") == set()
    assert await store.exists("b/1")


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/..", "a/./b", "a b", "a\0", "ä", "a#1", "a\n"])
async def test_a_key_that_is_none_is_a_bug(store: ObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        await store.put(key, b"")


async def test_a_directory_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    (tmp_path / "store" / "a").write_bytes(b"a file where a folder is needed")
    with pytest.raises(UnavailableError) as raised:
        await store.put("a/b", b"")
    assert str(tmp_path) not in raised.value.message


async def test_an_s3_that_fails_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_s3() as server:
        for name, value in s3_environment(server).items():
            monkeypatch.setenv(name, value)
        store = open_store("s3://bucket")
        server.is_failing = True
        with pytest.raises(UnavailableError) as raised:
            await store.get("a", 1)
        assert "127.0.0.1" not in raised.value.message
        server.is_failing = False
        assert await store.get("a", 1) is None


@pytest.mark.parametrize("url", ["", "http://here/x", "s3://", "file://host/x", "/dev/null/x"])
def test_other_stores_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="store of jobs"):
        open_store(url)
