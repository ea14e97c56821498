"""What a worker tells of its items, as numbers. No label has values that clients choose."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ENDED = Counter(
    "trichord_jobs_items_ended",
    "Items whose result this worker kept first, by how they ended: completed or failed.",
    ["state"],
)
ATTEMPTS = Counter(
    "trichord_jobs_attempts",
    "Calls to the gateway for items, by what came of them: answered, CANCELLED, or the reason of the error.",
    ["outcome"],
)
RETRIES = Counter(
    "trichord_jobs_retries", "Items put back to be tried again, by when: retry_soon or retry_later.", ["step"]
)
REPEATED = Counter(
    "trichord_jobs_repeated_deliveries", "Deliveries of items that had ended already: nothing was done but telling so."
)
PUT_ASIDE = Counter(
    "trichord_jobs_messages_put_aside", "Messages that are no items, or of which nothing can be made: dead letters."
)
RUNNING = Gauge("trichord_jobs_items_running", "Items that this worker has the gateway work on.")
DURATION = Histogram(
    "trichord_jobs_item_duration_seconds",
    "Seconds that the gateway took to answer an item.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
QUEUED = Histogram(
    "trichord_jobs_queue_delay_seconds",
    "Seconds that messages were in the queue until an item was taken up; of retries, their delay with it.",
    buckets=(0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 3600, 4 * 3600, 12 * 3600, 24 * 3600),
)

for _step in ("retry_soon", "retry_later"):
    RETRIES.labels(_step)
