"""What becomes of calls to the services behind the gateway: attempts, retries, ejections."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter

ATTEMPTS = Counter(
    "trichord_replica_attempts",
    "Attempts of calls on replicas, by what came of them: ok (a caller who left an answer that had begun included), "
    "else the kind of error.",
    ["service", "outcome"],
)
RETRIES = Counter(
    "trichord_retries",
    "Calls whose attempt failed and could be repeated: retried, or not because the budget of retries was spent.",
    ["service", "outcome"],
)
EJECTIONS = Counter(
    "trichord_ejections", "Times that a replica was left out because it failed more calls than its peers.", ["service"]
)

SERVICES: Mapping[str, str] = {
    "vision encoder": "vision-encoder",
    "audio encoder": "audio-encoder",
    "decoder": "llm-decoder",
}
"""What the services are called in metrics, by what they are called for people."""

for _service in SERVICES.values():  # there from the start: what appears as 1 has not risen, for Prometheus
    EJECTIONS.labels(_service)
    for _outcome in ("retried", "budget_spent"):
        RETRIES.labels(_service, _outcome)
