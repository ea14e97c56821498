"""Jobs: what is left of them, what the queue has, what workers do, and what usage events become of it all."""

from __future__ import annotations

from deploy.observability.dashboards.panel import Dashboard, Panel, Query, Row
from deploy.observability.dashboards.promql import largest, quantile, rate, ratio, total

JOBS = Row(
    "Jobs",
    (
        Panel(
            "Items left",
            "short",
            "Items of open jobs that have not ended, queued or not. Standing while nothing ends: see the alert Jobs "
            "stand still. Growing for days: more comes than the cluster does beside its live requests.",
            (Query(total("trichord_jobs_pending_items", "priority"), "{{priority}}"),),
            is_stacked=True,
        ),
        Panel(
            "Age of the oldest job",
            "s",
            "Of those with items left. Near the deadlines that callers set (a day, if they set none): more workers, "
            "if live requests leave room, or jobs expire.",
            (Query(largest("trichord_jobs_oldest_pending_seconds"), "oldest"),),
            steps=((72_000, "red"),),
        ),
        Panel(
            "Jobs open",
            "short",
            "Jobs that have no end yet. Many with few items left: one slow item holds each of them up; look at "
            "retries.",
            (Query(total("trichord_jobs_open", "priority"), "{{priority}}"),),
            is_stacked=True,
        ),
        Panel(
            "Jobs ended",
            "ops",
            "How jobs end. Any expired: their deadlines passed before their items were done.",
            (Query(rate("trichord_jobs_ended_total", "state"), "{{state}}"),),
            is_stacked=True,
        ),
        Panel(
            "Items taken",
            "ops",
            "Items of the jobs that clients submit, a second. Over what workers do for long: items left grow.",
            (Query(rate("trichord_jobs_submitted_items_total", "priority"), "{{priority}}"),),
            is_stacked=True,
        ),
        Panel(
            "Queued again",
            "ops",
            "Items that the queue lost, or that nothing came of for a while. Now and then after a restart of Kafka "
            "is as it should be; steadily: workers die in the middle of items, or items take longer than "
            "redelivery_s.",
            (Query(rate("trichord_jobs_requeued_items_total"), "items"),),
        ),
    ),
)

QUEUE = Row(
    "Queue",
    (
        Panel(
            "Messages that wait",
            "short",
            "Consumer lag by topic, messages in progress included. In retry topics: see Attempts for why. None "
            "while items are left: gateways cannot reach Kafka.",
            (Query(largest("trichord_jobs_queued_messages", "topic"), "{{topic}}"),),
            is_stacked=True,
        ),
        Panel(
            "Workers",
            "short",
            "Members of the workers' group, as Kafka knows them. None while messages wait: see Scaling, or their pods.",
            (Query(largest("trichord_jobs_workers"), "workers"),),
        ),
        Panel(
            "Time in the queue",
            "s",
            "Until a worker takes an item up: the median and the 95th percentile. It is of batches: hours may be "
            "right.",
            (
                Query(quantile(0.5, "trichord_jobs_queue_delay_seconds"), "p50"),
                Query(quantile(0.95, "trichord_jobs_queue_delay_seconds"), "p95"),
            ),
        ),
        Panel(
            "Messages sent",
            "ops",
            "By what became of them. away: Kafka does not answer in time. refused: a process has more to send than "
            "it holds, or a message is too large.",
            (Query(rate("trichord_jobs_messages_sent_total", "outcome"), "{{outcome}}"),),
            is_stacked=True,
        ),
        Panel(
            "Store",
            "s",
            "The 95th percentile of what the object store takes, by operation. Slow: jobs are taken and kept "
            "slowly, and results are late.",
            (Query(quantile(0.95, "trichord_jobs_store_duration_seconds", "operation"), "{{operation}}"),),
        ),
        Panel(
            "Store away",
            "ops",
            "Operations without a sensible answer. Not nothing: jobs stand, and whoever submits is refused.",
            (
                Query(
                    rate("trichord_jobs_store_duration_seconds_count", "operation", 'outcome="away"'), "{{operation}}"
                ),
            ),
        ),
    ),
)

WORK = Row(
    "Work",
    (
        Panel(
            "Items ended",
            "ops",
            "Items whose result is kept, a second. failed: their dead letters say why, `trichord jobs dlq list`.",
            (Query(rate("trichord_jobs_items_ended_total", "state"), "{{state}}"),),
            is_stacked=True,
        ),
        Panel(
            "Attempts",
            "ops",
            "Calls to the gateway by what came of them. OVERLOADED is batch giving way to live requests; others are "
            "faults of the items or of the cluster.",
            (Query(rate("trichord_jobs_attempts_total", "outcome"), "{{outcome}}"),),
            is_stacked=True,
        ),
        Panel(
            "Time for an item",
            "s",
            "What the gateway takes to answer one: the median and the 95th percentile. Growing with live load: it "
            "comes first.",
            (
                Query(quantile(0.5, "trichord_jobs_item_duration_seconds"), "p50"),
                Query(quantile(0.95, "trichord_jobs_item_duration_seconds"), "p95"),
            ),
        ),
        Panel(
            "Items in work",
            "short",
            "By worker. Below its concurrency while messages wait: shares of a modality are taken, or the gateway "
            "holds them back.",
            (Query(total("trichord_jobs_items_running", "instance"), "{{instance}}"),),
            is_stacked=True,
        ),
        Panel(
            "Tried again",
            "ops",
            "Items put back, by when they come again. As many as attempts: nothing works; see Attempts for the reason.",
            (Query(rate("trichord_jobs_retries_total", "step"), "{{step}}"),),
            is_stacked=True,
        ),
        Panel(
            "Delivered again",
            "percentunit",
            "Deliveries of items that had ended already: nothing was done. More than a few in a hundred: workers "
            "are killed before they commit, or the group rebalances all the time.",
            (
                Query(
                    ratio(rate("trichord_jobs_repeated_deliveries_total"), rate("trichord_jobs_messages_taken_total")),
                    "of deliveries",
                ),
            ),
        ),
    ),
)

USAGE = Row(
    "Usage events",
    (
        Panel(
            "Events told",
            "ops",
            "By what became of them, of live requests and items. Anything but sent is lost to whoever invoices.",
            (Query(rate("trichord_usage_events_total", "result"), "{{result}}"),),
            width=12,
            is_stacked=True,
        ),
        Panel(
            "Waiting on disk",
            "bytes",
            "By gateway: events that Kafka has not taken, and up to 4 MiB of those sent lately. Beyond that and "
            "growing: Kafka is away; full, new ones are dropped.",
            (Query(total("trichord_usage_spool_bytes", "instance"), "{{instance}}"),),
            width=12,
        ),
    ),
)

DASHBOARD = Dashboard(
    "trichord-jobs",
    "Trichord / Jobs",
    "What is left of jobs, what the queue has, what workers do, and usage events.",
    (JOBS, QUEUE, WORK, USAGE),
)
