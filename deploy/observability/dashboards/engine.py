"""The decode engines: what runs, what waits, how full the cache is, what a token takes."""

from __future__ import annotations

from deploy.observability.dashboards.overview import quantiles
from deploy.observability.dashboards.panel import Dashboard, Panel, Query, Row
from deploy.observability.dashboards.promql import largest, rate, ratio

LOAD = Row(
    "Load",
    (
        Panel(
            "Running and waiting",
            "short",
            "Sequences of each decoder. Waiting beside free slots: the cache is full. Waiting beside full slots: "
            "more decoders.",
            (
                Query(largest("trichord_engine_num_running", "instance"), "running {{instance}}"),
                Query(largest("trichord_engine_num_waiting", "instance"), "waiting {{instance}}"),
            ),
        ),
        Panel(
            "KV cache in use",
            "percentunit",
            "Share of blocks that sequences hold; what is kept only for prefixes counts as free. Near 1 for long: "
            "preemptions follow.",
            (Query(largest("trichord_engine_kv_use", "instance"), "{{instance}}"),),
            most=1,
            steps=((0.95, "red"),),
        ),
        Panel(
            "Preemptions",
            "ops",
            "Answers that gave their blocks up and are computed again. Not nothing: TRICHORD_ENGINE_KV_CACHE_BYTES "
            "up, or MAX_RUNNING down.",
            (Query(rate("trichord_generate_preemptions_total", "instance"), "{{instance}}"),),
        ),
        Panel(
            "Batch size",
            "short",
            "Sequences in a step. Small while many run: prompts fill steps (TRICHORD_ENGINE_PROMPT_SHARE).",
            (Query(largest("trichord_engine_batch_size", "instance"), "{{instance}}"),),
        ),
        Panel(
            "Tokens in a step",
            "short",
            "Of prompts and of decoding sequences together. At TRICHORD_ENGINE_STEP_TOKENS for long: prompts are the "
            "load; see Prefill.",
            (Query(largest("trichord_engine_step_tokens", "instance"), "{{instance}}"),),
        ),
        Panel(
            "Tokens sampled",
            "tokens/s",
            "A running mean over steps, by decoder. Standing still while sequences run: the engine hangs (alert "
            "EngineStalled).",
            (Query(largest("trichord_engine_tokens_per_second", "instance"), "{{instance}}"),),
            is_stacked=True,
        ),
    ),
)

LATENCY = Row(
    "What a request sees",
    (
        Panel(
            "Queue",
            "s",
            "From the front to the first step. Growing: more decoders; or long prompts before short ones, which "
            "ageing evens out.",
            quantiles("trichord_generate_queue_seconds", exemplars=True),
        ),
        Panel(
            "Prefill",
            "s",
            "The prompt's computing. Growing at the same prompts: less is found in the prefix cache, or PROMPT_SHARE "
            "is small for the load.",
            quantiles("trichord_generate_prefill_seconds", exemplars=True),
        ),
        Panel(
            "First token",
            "s",
            "Queue and prefill together, as the front sees them; dots are traces. The gateway's less this is media "
            "and admission.",
            quantiles("trichord_generate_first_token_seconds", exemplars=True),
        ),
        Panel(
            "Between tokens",
            "s",
            "Growing with the batch size is its price. Growing alone: cores or device shared with others; p99 alone: "
            "prompts between steps.",
            quantiles("trichord_generate_inter_token_seconds"),
        ),
        Panel(
            "Answers by reason of their end",
            "ops",
            "length where stop was: clients' max_tokens, or a model that runs on. cancelled: callers gave up.",
            (Query(rate("trichord_generations_total", "finish_reason"), "{{finish_reason}}"),),
            is_stacked=True,
        ),
        Panel(
            "Prefix hits",
            "percentunit",
            "Share of input tokens that were in the cache. Falling: other prompts, eviction under load, or more "
            "decoders than routing can keep apart.",
            (
                Query(
                    ratio(
                        rate("trichord_generate_cached_tokens_total"),
                        rate("trichord_generate_tokens_total", labels='direction="input"'),
                    ),
                    "cached",
                ),
            ),
            most=1,
        ),
        Panel(
            "Tokens by kind",
            "tokens/s",
            "Input by modality, and output. Much input of images: tiles; clients may send smaller ones.",
            (Query(rate("trichord_generate_tokens_total", "direction, modality"), "{{direction}} {{modality}}"),),
            is_stacked=True,
        ),
    ),
)

DASHBOARD = Dashboard(
    "trichord-engine",
    "Trichord / Engine",
    "The decode engines: what runs and waits, how full the cache is, what a token takes.",
    (LOAD, LATENCY),
)
