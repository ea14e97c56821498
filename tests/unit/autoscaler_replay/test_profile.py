"""The profile that the figures in docs/scaling.md rest on: an H100's, scaled by two data sheets."""

import pytest

from trichord.simulation.profile import LatencyProfile, locate

BYTES = 3.35 / 0.3  # TB/s of an H100 SXM over those of an L4
ARITHMETIC = 989 / 121  # TFLOP/s, dense, bfloat16

SCALES = {
    "vision": {"pass_ms": 1.0, "weights_ms": BYTES, "tile_ms": ARITHMETIC},
    "audio": {"pass_ms": 1.0, "weights_ms": BYTES, "second_ms": ARITHMETIC},
    "decoder": {
        "step_ms": 1.0,
        "weights_ms": BYTES,
        "prompt_token_ms": ARITHMETIC,
        "prompt_pair_ns": ARITHMETIC,
        "sequence_ms": ARITHMETIC,
        "context_token_us": BYTES,
    },
}


@pytest.mark.parametrize("modality", SCALES)
def test_an_l4_is_an_h100_scaled(modality):
    l4, h100 = (LatencyProfile.read(locate(f"megrez-3b-omni-{name}")) for name in ("l4", "h100"))
    assert l4.provenance == "estimated"
    figures, of_h100 = getattr(l4, modality).model_dump(), getattr(h100, modality).model_dump()
    assert figures == pytest.approx({key: of_h100[key] * scale for key, scale in SCALES[modality].items()}, rel=0.01)
