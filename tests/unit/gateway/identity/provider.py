"""An identity provider on loopback: a real HTTP server of keys, and what signs with them."""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jwt
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER = "https://issuer.example"
AUDIENCE = "trichord"

RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def public(key: Any, key_id: str, algorithm: str, **more: Any) -> dict[str, Any]:
    """The JWK of a private key's public half."""
    algorithms = jwt.algorithms.get_default_algorithms()
    return algorithms[algorithm].to_jwk(key.public_key(), as_dict=True) | {"kid": key_id, "alg": algorithm, **more}


def pem(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


KEYS = key_set(public(RSA_KEY, "rsa", "RS256"), public(EC_KEY, "ec", "ES256"), public(ED_KEY, "ed", "EdDSA"))


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token says; a change of None takes a claim away."""
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "someone",
        "exp": int(time.time()) + 3600,
        "tenant": "acme",
        "scope": "openid trichord:chat trichord:media chat:trichord",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def token(key: Any = RSA_KEY, algorithm: str = "RS256", key_id: str | None = "rsa", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm, headers={"kid": key_id} if key_id is not None else {})


def segment(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


class Provider:
    """Serves ``content``; counts what it is asked."""

    def __init__(self) -> None:
        self.content, self.status = KEYS, 200
        self.headers: dict[str, str] = {}
        self.num_requests = 0
        self.write: Callable[[Any], None] = lambda stream: None
        """Goes on writing after the content."""
        self.url = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        self.provider.num_requests += 1
        self.send_response(self.provider.status)
        for name, value in self.provider.headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(self.provider.content)
            self.provider.write(self.wfile)
        except OSError:  # the client has left, as it should
            pass

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def running_provider(certificate: trustme.LeafCert | None = None) -> Iterator[Provider]:
    """Over HTTPS with a certificate."""
    provider = Provider()
    handler = type("Handler", (_Handler,), {"provider": provider})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        provider.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}/keys"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield provider
        server.shutdown()
        thread.join()
