"""A receipt as people read it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2
from trichord_cli.receipt import BAR_CELLS, Stage, bar, stages, usage_line, waterfall

IMAGE = gateway_pb2.ItemReceipt(
    modality=tensor_pb2.MODALITY_IMAGE,
    part_index=1,
    queue_ms=1,
    decode_ms=9,
    encode_ms=28,
    transfer_ms=2,
    tokens=144,
    units=9,
)
AUDIO = gateway_pb2.ItemReceipt(modality=tensor_pb2.MODALITY_AUDIO, part_index=2, encode_ms=15, tokens=27, units=1)
RECEIPT = gateway_pb2.StageReceipt(
    trace_id="ab" * 16,
    admit_ms=10,
    encode_ms=40,
    merge_ms=5,
    decoder=decoder_pb2.GenerateTimings(tokenize_ms=1, queue_ms=2, prefill_ms=20, first_token_ms=24, decode_ms=100),
    first_token_ms=80,
    total_ms=190,
    items=[IMAGE, AUDIO],
)


def test_stages_follow_one_another_and_media_stand_side_by_side() -> None:
    assert [(stage.name, stage.start_ms, stage.duration_ms) for stage in stages(RECEIPT)] == [
        ("admit", 0, 10),
        ("image 0.1", 10, 40),
        ("audio 0.2", 10, 15),
        ("merge", 50, 5),
        ("tokenize", 55, 1),
        ("queue", 56, 2),
        ("prefill", 58, 20),
        ("decode", 80, 100),
    ]


def test_a_medium_tells_its_own_stages() -> None:
    image, audio = stages(RECEIPT)[1:3]
    assert image.note == "144 tokens, 9 tiles: queue 1 decode 9 encode 28 transfer 2"
    assert audio.note == "27 tokens, 1 windows: encode 15"


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        pytest.param(Stage("x", 0, 100), "█" * 10, id="all of it"),
        pytest.param(Stage("x", 50, 20), "     ██", id="in the middle"),
        pytest.param(Stage("x", 20, 0), "  █", id="too short to see is seen"),
        pytest.param(Stage("x", 100, 5), " " * 9 + "█", id="past the end stays inside"),
    ],
)
def test_a_bar_is_in_its_place(stage: Stage, expected: str) -> None:
    assert bar(stage, 100.0, cells=10) == expected


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_any_bar_fits(start_ms: float, duration_ms: float, total_ms: float) -> None:
    drawn = bar(Stage("x", start_ms, duration_ms), total_ms)
    assert len(drawn) <= BAR_CELLS
    assert drawn.endswith("█")


def test_the_waterfall_shows_every_stage() -> None:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(waterfall(RECEIPT))
    text = capture.get()
    assert "190 ms, first token after 80 ms" in text
    assert "trace abababab" in text
    assert all(stage.name in text for stage in stages(RECEIPT))


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(
            gateway_pb2.Usage(prompt_tokens=decoder_pb2.PromptTokens(text=7), completion_tokens=11),
            "prompt 7 text + 0 image + 0 audio tokens, answer 11 tokens, 100.0 tokens/s, ended by stop string",
            id="text",
        ),
        pytest.param(
            gateway_pb2.Usage(
                prompt_tokens=decoder_pb2.PromptTokens(text=7, image=144, audio=27),
                completion_tokens=11,
                images=1,
                image_tiles=9,
                audio_seconds=1.04,
            ),
            "prompt 7 text + 144 image + 27 audio tokens, answer 11 tokens, 1 images (9 tiles), 1.0 s of sound, "
            "100.0 tokens/s, ended by stop string",
            id="media",
        ),
    ],
)
def test_usage_is_one_line(usage: gateway_pb2.Usage, expected: str) -> None:
    reason = decoder_pb2.FINISH_REASON_STOP_STRING
    assert usage_line(gateway_pb2.ChatFinished(reason=reason, usage=usage, receipt=RECEIPT)) == expected


def test_one_token_has_no_speed() -> None:
    finished = gateway_pb2.ChatFinished(
        reason=decoder_pb2.FINISH_REASON_LENGTH, usage=gateway_pb2.Usage(completion_tokens=1)
    )
    assert "tokens/s" not in usage_line(finished)
