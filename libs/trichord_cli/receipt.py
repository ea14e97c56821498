"""A stage receipt as people read it: a waterfall of what happened when, and a line of usage. Knows no request."""

from __future__ import annotations

from typing import NamedTuple

from rich import box
from rich.table import Table

from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2

BAR_CELLS = 30


class Stage(NamedTuple):
    """Something that took time, in milliseconds from the request's arrival."""

    name: str
    start_ms: float
    duration_ms: float
    note: str = ""


def stages(receipt: gateway_pb2.StageReceipt) -> list[Stage]:
    """The stages of one request in order; media side by side, the decoder's own after the merge."""
    encoded_ms = receipt.admit_ms + receipt.encode_ms
    found = [Stage("admit", 0.0, receipt.admit_ms)]
    found += [_item(item, receipt.admit_ms) for item in receipt.items]
    found.append(Stage("merge", encoded_ms, receipt.merge_ms))
    start_ms = encoded_ms + receipt.merge_ms
    timings = receipt.decoder
    for name, duration_ms in (
        ("tokenize", timings.tokenize_ms),
        ("queue", timings.queue_ms),
        ("prefill", timings.prefill_ms),
    ):
        found.append(Stage(name, start_ms, duration_ms))
        start_ms += duration_ms
    return [*found, Stage("decode", receipt.first_token_ms, timings.decode_ms)]


def _item(item: gateway_pb2.ItemReceipt, start_ms: float) -> Stage:
    parts = {
        "fetch": item.fetch_ms,
        "queue": item.queue_ms,
        "decode": item.decode_ms,
        "encode": item.encode_ms,
        "transfer": item.transfer_ms,
    }
    kind = "image" if item.modality == tensor_pb2.MODALITY_IMAGE else "audio"
    units = "tiles" if kind == "image" else "windows"
    took = " ".join(f"{name} {ms:.0f}" for name, ms in parts.items() if ms >= 0.5)
    note = f"{item.tokens} tokens, {item.units} {units}: {took}"
    return Stage(f"{kind} {item.message_index}.{item.part_index}", start_ms, sum(parts.values()), note)


def bar(stage: Stage, total_ms: float, cells: int = BAR_CELLS) -> str:
    """The stage's place in the whole, one cell at least, never past the end."""
    cell_ms = max(total_ms, 1e-9) / cells
    start = min(int(stage.start_ms / cell_ms), cells - 1)
    length = min(max(round(stage.duration_ms / cell_ms), 1), cells - start)
    return " " * start + "█" * length


def waterfall(receipt: gateway_pb2.StageReceipt) -> Table:
    """The receipt as a table."""
    table = Table(
        box=box.SIMPLE_HEAD, title=f"{receipt.total_ms:.0f} ms, first token after {receipt.first_token_ms:.0f} ms"
    )
    table.add_column("stage")
    table.add_column("ms", justify="right")
    table.add_column(f"0 .. {receipt.total_ms:.0f} ms", min_width=BAR_CELLS, no_wrap=True)
    table.add_column("what")
    for stage in stages(receipt):
        table.add_row(stage.name, f"{stage.duration_ms:.1f}", bar(stage, receipt.total_ms), stage.note)
    table.caption = f"trace {receipt.trace_id}" if receipt.trace_id else None
    return table


def usage_line(finished: gateway_pb2.ChatFinished) -> str:
    """What an answer took, in one line: tokens by modality, media, and speed after the first token."""
    usage, timings = finished.usage, finished.receipt.decoder
    prompt = usage.prompt_tokens
    media = [f"{usage.images} images ({usage.image_tiles} tiles)"] if usage.images else []
    media += [f"{usage.audio_seconds:.1f} s of sound"] if usage.audio_seconds else []
    speed = [f"{(usage.completion_tokens - 1) / timings.decode_ms * 1e3:.1f} tokens/s"] if timings.decode_ms else []
    reason = decoder_pb2.FinishReason.Name(finished.reason).removeprefix("FINISH_REASON_").lower().replace("_", " ")
    tokens = f"prompt {prompt.text} text + {prompt.image} image + {prompt.audio} audio tokens"
    return ", ".join([tokens, f"answer {usage.completion_tokens} tokens", *media, *speed, f"ended by {reason}"])
