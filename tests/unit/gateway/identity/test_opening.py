"""What settings make of a gateway's door, and what it does not start with."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.identity import private_file
from gateway.identity.guard import Call, OpenGuard
from gateway.identity.opening import open_guard
from gateway.identity.principal import Scope
from gateway.identity.settings import AuthSettings
from tests.unit.gateway.identity.keys import new_key, showing
from trichord.errors import SettingsError, UnauthenticatedError

OIDC = {
    "oidc_issuer": "https://issuer.example",
    "oidc_audience": "trichord",
    "oidc_jwks_url": "https://issuer.example/keys",
}


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:0", "127.8.9.1:1", "localhost:50051", "[::1]:50051", "unix:/run/x", "::1:1"]
)
def test_a_trial_on_loopback_needs_nothing(listen: str) -> None:
    assert isinstance(open_guard(AuthSettings(), listen, "127.0.0.1:1"), OpenGuard)


@pytest.mark.parametrize(
    "listen",
    [
        "0.0.0.0:50051",
        "[::]:50051",
        "10.0.0.1:1",
        "gateway:1",
        "*:1",
        ":1",
        "localhost.evil.example:1",
        "[::ffff:10.0.0.1]:1",
    ],
)
def test_a_trial_elsewhere_must_be_said(listen: str) -> None:
    with pytest.raises(SettingsError, match="TRICHORD_AUTH_OFF_BEYOND_LOOPBACK"):
        open_guard(AuthSettings(), "127.0.0.1:1", listen)
    assert isinstance(open_guard(AuthSettings(off_beyond_loopback=True), listen), OpenGuard)


def test_with_keys_any_address_will_do(file: Path) -> None:
    assert not isinstance(open_guard(AuthSettings(mode="keys", keys=file), "0.0.0.0:1"), OpenGuard)


async def test_keys_of_the_file_are_let_in(file: Path) -> None:
    key = new_key(file)
    for mode in ("keys", "both"):
        guard = open_guard(AuthSettings(mode=mode, keys=file, **OIDC), "0.0.0.0:1")  # type: ignore[arg-type]
        assert (await guard.admit(showing(key), Scope.CHAT)).tenant == "acme"
    guard = open_guard(AuthSettings(mode="oidc", keys=file, **OIDC), "0.0.0.0:1")  # type: ignore[arg-type]
    with pytest.raises(UnauthenticatedError):
        await guard.admit(showing(key), Scope.CHAT)


@pytest.mark.parametrize("missing", OIDC)
@pytest.mark.parametrize("mode", ["oidc", "both"])
def test_tokens_need_all_that_they_are_checked_against(file: Path, mode: str, missing: str) -> None:
    settings = {name: value for name, value in OIDC.items() if name != missing}
    with pytest.raises(SettingsError, match=f"TRICHORD_AUTH_{missing.upper()} is not set"):
        open_guard(AuthSettings(mode=mode, keys=file, **settings))  # type: ignore[arg-type]


def test_keys_need_their_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        open_guard(AuthSettings(mode="keys", keys=tmp_path / "none.json"))


async def test_gateways_of_one_secret_agree_on_cache_scopes(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    private_file.replace(secret, bytes(range(32)))
    shared = AuthSettings(secret=secret)
    scopes = [(await open_guard(s).admit(Call("m"), None or Scope.CHAT)).cache_scope for s in (shared, shared)]
    assert scopes[0] == scopes[1]
    alone = [(await open_guard(AuthSettings()).admit(Call("m"), Scope.CHAT)).cache_scope for _ in range(2)]
    assert len({scopes[0], *alone}) == 3


@pytest.mark.parametrize(
    ("content", "wrong"), [(b"x" * 31, "fewer than 32"), (b"x" * 1025, "more than 1024"), (None, "No such file")]
)
def test_a_secret_that_is_none_is_refused(tmp_path: Path, content: bytes | None, wrong: str) -> None:
    secret = tmp_path / "secret"
    if content:
        private_file.replace(secret, content)
    with pytest.raises(SettingsError, match=wrong) as caught:
        open_guard(AuthSettings(secret=secret))
    assert "xxx" not in caught.value.message


@pytest.mark.parametrize(
    "url", ["https://issuer.example/keys", "http://127.0.0.1:8080/keys", "http://localhost/keys", "http://[::1]/keys"]
)
def test_keys_come_over_https_or_loopback(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TRICHORD_AUTH_OIDC_JWKS_URL", url)
    assert AuthSettings.from_environment().oidc_jwks_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/keys",
        "http://127.0.0.1.evil.example/",
        "http://127.0.0.1@evil.example/",
        "file:///keys",
        "https://",
        "keys",
        "https://user:pw@issuer.example/",
    ],
)
def test_keys_come_no_other_way(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TRICHORD_AUTH_OIDC_JWKS_URL", url)
    with pytest.raises(SettingsError, match="TRICHORD_AUTH_OIDC_JWKS_URL"):
        AuthSettings.from_environment()


def test_keys_are_at_home_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRICHORD_HOME", str(tmp_path))
    assert AuthSettings.from_environment().keys == tmp_path / "keys.json"
