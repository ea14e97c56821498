"""One answer by HTTP, streamed: `ask_http.py URL`. TRICHORD_API_KEY is shown if it is set."""

import json
import os
import sys
import urllib.request
from http.client import HTTPResponse

TIMEOUT_S = 120.0


def call(url: str, body: object = None) -> HTTPResponse:
    """GET, or POST if there is a body."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("TRICHORD_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    data = json.dumps(body).encode() if body else None
    return urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=TIMEOUT_S)  # noqa: S310 - ours


def events(base: str) -> list[str]:
    """The events of one answer of the model that is served."""
    with call(f"{base}/v1/models") as answer:
        model = json.load(answer)["data"][0]["id"]
    question = {"role": "user", "content": "Say hello."}
    body = {"model": model, "messages": [question], "max_tokens": 8, "stream": True}
    with call(f"{base}/v1/chat/completions", body) as answer:
        return [line.decode().strip() for line in answer if line.startswith(b"data:")]


told = events(sys.argv[1])
print("\n".join(told))
sys.exit(None if told and told[-1] == "data: [DONE]" else "The stream ended without [DONE].")
