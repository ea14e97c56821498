"""A client of the gateway: conversations in, streamed events or whole answers out, errors as this tree's own.

::

    async with OmniClient("127.0.0.1:7400") as client:
        async for event in client.chat([user(image(png), "What does the sign say?")]):
            print(event.token.text, end="", flush=True)

    with SyncOmniClient("127.0.0.1:7400") as client:
        print(client.answer([user("What is the capital of France?")], max_tokens=32).text)
        job = client.jobs.submit([job_item("scan-1", [user(image(png), "What does the sign say?")])])

::

    parts.py       what a conversation is made of
    options.py     what a chat may be told, as keyword arguments
    requests.py    arguments to requests of the contract
    job_requests.py  the same of jobs
    answer.py      events to a whole answer
    retries.py     which failed calls are tried again, when, and how often
    connection.py  channels: limits, keepalive, TLS, the caller's key
    aio_calls.py, sync_calls.py  one service's calls, each in its time and with its retries
    aio_jobs.py, sync_jobs.py    jobs: submit, get, list, cancel, watch, results
    aio.py, sync.py  the two clients; alike but for the channel

Knows nothing of how the gateway answers.
"""

from trichord.client.aio import OmniClient
from trichord.client.answer import Answer, Sample
from trichord.client.connection import Tls
from trichord.client.job_requests import job_item
from trichord.client.options import ChatOptions, Sampling
from trichord.client.parts import assistant, audio, embedding, handle, image, image_url, system, user
from trichord.client.retries import RetryPolicy
from trichord.client.sync import SyncOmniClient

__all__ = [
    "Answer",
    "ChatOptions",
    "OmniClient",
    "RetryPolicy",
    "Sample",
    "Sampling",
    "SyncOmniClient",
    "Tls",
    "assistant",
    "audio",
    "embedding",
    "handle",
    "image",
    "image_url",
    "job_item",
    "system",
    "user",
]
