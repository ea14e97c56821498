"""An identity provider's keys: bounded, kept, rotated, and never asked for in a flood."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from typing import Any

import pytest
import structlog
import trustme
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import jwks
from gateway.identity.jwks import FRESH_S, MAX_BYTES, RETRY_S, STALE_S, Jwks, parse
from tests.unit.gateway.identity.provider import EC_KEY, KEYS, RSA_KEY, Provider, key_set, public, running_provider
from trichord.errors import UnavailableError


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


async def unavailable(keys: Jwks) -> str:
    """What is logged when there are no keys."""
    with structlog.testing.capture_logs() as logs, pytest.raises(UnavailableError) as caught:
        await keys.key("rsa")
    assert caught.value.retry_after_s
    return " ".join(line["error"] for line in logs)


async def test_keys_are_fetched_once_for_all_who_wait(provider: Provider) -> None:
    keys = Jwks(provider.url)
    found = await asyncio.gather(*(keys.key(name) for name in ["rsa", "ec", "ed"] * 5))
    assert [key.algorithm_name for key in found[:3] if key] == ["RS256", "ES256", "EdDSA"]
    assert None not in found
    assert provider.num_requests == 1


async def test_nothing_is_fetched_before_it_is_needed(provider: Provider) -> None:
    Jwks(provider.url)
    await asyncio.sleep(0)
    assert provider.num_requests == 0


async def test_a_new_key_is_found_and_made_up_ones_are_no_flood(provider: Provider) -> None:
    clock = Clock()
    provider.content = key_set(public(RSA_KEY, "rsa", "RS256"))
    keys = Jwks(provider.url, clock)
    assert await keys.key("ec") is None
    provider.content = KEYS
    for number in range(50):
        assert await keys.key(f"made-up-{number}") is None
    assert provider.num_requests == 1
    clock.s += RETRY_S + 1
    assert await keys.key("ec") is not None
    assert provider.num_requests == 2


async def test_a_withdrawn_key_goes_after_a_while(provider: Provider) -> None:
    clock = Clock()
    keys = Jwks(provider.url, clock)
    assert await keys.key("rsa") is not None
    provider.content = key_set(public(EC_KEY, "ec", "ES256"))
    clock.s += FRESH_S - 1
    assert await keys.key("rsa") is not None
    clock.s += 2
    assert await keys.key("rsa") is None


async def test_while_the_provider_is_away_keys_are_kept_for_an_hour(provider: Provider) -> None:
    clock = Clock()
    keys = Jwks(provider.url, clock)
    await keys.key("rsa")
    provider.status = 503
    clock.s += STALE_S - 1
    assert await keys.key("rsa") is not None
    clock.s += RETRY_S + 1
    assert "status 503" in await unavailable(keys)
    provider.status = 200
    clock.s += RETRY_S + 1
    assert await keys.key("rsa") is not None


async def test_a_set_without_bound_is_cut(provider: Provider) -> None:
    written = []

    def write_on(stream: Any) -> None:
        for _ in range(100_000):
            stream.write(b" " * 1024)
            written.append(1024)

    provider.write = write_on
    assert f"more than {MAX_BYTES} bytes" in await unavailable(Jwks(provider.url))
    assert sum(written) < 50 * 1024 * 1024


async def test_a_set_of_the_largest_size_is_taken_and_one_byte_more_is_not(provider: Provider) -> None:
    provider.content = KEYS.ljust(MAX_BYTES)
    assert await Jwks(provider.url).key("rsa") is not None
    provider.content += b" "
    assert "more than" in await unavailable(Jwks(provider.url))


async def test_a_slow_set_is_given_up(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "TIMEOUT_S", 0.3)

    def drip(stream: Any) -> None:
        for _ in range(200):
            stream.write(b" ")
            stream.flush()
            time.sleep(0.05)

    provider.write = drip
    assert "Timeout" in await unavailable(Jwks(provider.url))


async def test_redirects_and_compression_are_not_followed(provider: Provider) -> None:
    provider.status, provider.headers = 302, {"location": provider.url}
    assert "status 302" in await unavailable(Jwks(provider.url))
    assert provider.num_requests == 1
    provider.status, provider.headers = 200, {"content-encoding": "gzip"}
    provider.content = gzip.compress(KEYS)
    assert await unavailable(Jwks(provider.url))


async def test_a_provider_whose_certificate_nobody_issued_is_not_believed() -> None:
    with running_provider(trustme.CA().issue_cert("127.0.0.1")) as impostor:
        assert "certificate verify failed" in await unavailable(Jwks(impostor.url))
    assert impostor.num_requests == 0


async def test_a_provider_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch, provider: Provider) -> None:
    assert "ConnectError" in await unavailable(Jwks("http://127.0.0.1:1/keys"))
    monkeypatch.setenv("HTTP_PROXY", provider.url)  # nor does the environment lead elsewhere
    monkeypatch.setenv("ALL_PROXY", provider.url)
    assert "ConnectError" in await unavailable(Jwks("http://127.0.0.1:1/keys"))


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"keys": {}}', b'{"keys": [', b"[" * 60_000, b"\xff", b'{"keys": null}']
)
def test_what_is_no_key_set_is_said(content: bytes) -> None:
    with pytest.raises(ValueError):
        parse(content)


def test_a_set_of_many_keys_is_refused() -> None:
    with pytest.raises(ValueError):
        parse(key_set(*({} for _ in range(jwks.MAX_KEYS + 1))))


def test_keys_of_no_use_are_skipped() -> None:
    good = public(RSA_KEY, "good", "RS256")
    useless: list[Any] = [
        None,
        7,
        {},
        good | {"kid": 7},
        good | {"kid": "a", "kty": "XX"},
        good | {"kid": "b", "alg": "RS512"},
        good | {"kid": "c", "alg": "none"},
        good | {"kid": "d", "n": "!"},
        good | {"kid": "e", "n": ["x"]},
        good | {"kid": "f", "use": "enc"},
        {"kid": "g", "kty": "oct", "k": "AAAA"},
        {"kid": "h", "kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        {"kid": "i", "kty": "EC", "crv": "secp256k1", "x": "AAAA", "y": "AAAA"},
    ]
    assert list(parse(key_set(*useless, good))) == ["good"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)
FIELDS = st.sampled_from(["kid", "kty", "alg", "use", "n", "e", "crv", "x", "y", "d", "k", "oth", "key_ops"])
VALUES = st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "RS256", "AQAB", "sig"])


@given(st.lists(st.dictionaries(FIELDS, VALUES | JSON, max_size=8) | JSON, max_size=4))
def test_no_set_makes_parsing_fail_otherwise(entries: list[Any]) -> None:
    assert set(parse(json.dumps({"keys": entries}).encode())) <= {
        entry["kid"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("kid"), str)
    }
