"""The tower against Hugging Face's Idefics2 vision transformer, float32, random weights."""

from __future__ import annotations

import pytest
import torch
from transformers.models.idefics2.configuration_idefics2 import Idefics2VisionConfig
from transformers.models.idefics2.modeling_idefics2 import Idefics2VisionTransformer

from trichord.checkpoint.presets import PRESETS
from trichord.model_config import VisionConfig
from vision_encoder.positions import position_ids
from vision_encoder.tower import VisionTower

CONFIG = VisionConfig(
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=80,
    patch_size=14,
    image_size=980,
    layer_norm_eps=1e-6,
)
# Up to 48 patches each way that implementation's positions are those of the published weights.
SHAPES = [(1, 1), (1, 48), (48, 1), (37, 27), (46, 22), (25, 41), (32, 32), (48, 3)]


@pytest.fixture(scope="module")
def other() -> Idefics2VisionTransformer:
    torch.manual_seed(3)
    sizes = CONFIG.model_dump()
    module = Idefics2VisionTransformer(Idefics2VisionConfig(**sizes, attn_implementation="eager")).eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False).copy_(0.2 * torch.randn(parameter.shape))
    return module


@pytest.fixture(scope="module")
def tower(other: Idefics2VisionTransformer) -> VisionTower:
    module = VisionTower(CONFIG).eval().requires_grad_(False)
    module.load_state_dict(other.state_dict(), strict=True)
    return module


def pixels(count: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 100 + width)
    return 2 * torch.rand(count, 3, 14 * height, 14 * width, generator=generator) - 1


def flatten(image: torch.Tensor) -> torch.Tensor:
    """[N, 3, 14 h, 14 w] to [N, h * w, 588] by torch's own sliding window."""
    return torch.nn.functional.unfold(image, 14, stride=14).transpose(1, 2)


def run(tower: VisionTower, image: torch.Tensor) -> torch.Tensor:
    count, height, width = len(image), image.shape[2] // 14, image.shape[3] // 14
    positions = torch.tensor(position_ids(height, width, 70)).repeat(count)
    states = tower(flatten(image).flatten(0, 1), positions, [height * width] * count)
    return states.unflatten(0, (count, -1))


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_equals_another_implementation(tower, other, height: int, width: int) -> None:
    image = pixels(2, height, width)
    torch.testing.assert_close(run(tower, image), other(image).last_hidden_state, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(49, 20), (3, 58), (50, 55), (2, 101)])
def test_equals_it_beyond_48_patches_given_our_positions(tower, other, monkeypatch, height: int, width: int) -> None:
    image = pixels(1, height, width)
    positions = torch.tensor(position_ids(height, width, 70))
    monkeypatch.setattr(
        other.embeddings.position_embedding,
        "forward",
        lambda _: other.embeddings.position_embedding.weight[positions][None],
    )
    torch.testing.assert_close(run(tower, image), other(image).last_hidden_state, rtol=1e-4, atol=1e-4)


def test_a_tile_alone_equals_it_in_a_padded_masked_batch(tower, other) -> None:
    tall, wide = pixels(1, 9, 4), pixels(1, 5, 8)
    batch = torch.zeros(2, 3, 14 * 9, 14 * 8)
    batch[0, :, :, : 14 * 4], batch[1, :, : 14 * 5] = tall[0], wide[0]
    mask = torch.zeros(2, 9, 8, dtype=torch.bool)
    mask[0, :, :4] = mask[1, :5] = True
    states = other(batch, patch_attention_mask=mask).last_hidden_state
    for index, image in enumerate((tall, wide)):
        torch.testing.assert_close(run(tower, image)[0], states[index][mask[index].flatten()], rtol=1e-4, atol=1e-4)


def test_flat_strip_of_patches_gives_the_same_embeddings(tower) -> None:
    """The published preprocessing lays patches side by side in [3, 14, 14 * L] and convolves."""
    image = pixels(1, 6, 5)
    strip = flatten(image).view(30, 3, 14, 14).permute(1, 2, 0, 3).reshape(1, 3, 14, 14 * 30)
    positions = torch.tensor(position_ids(6, 5, 70))
    convolved = tower.embeddings.patch_embedding(strip).flatten(2).transpose(1, 2)
    expected = convolved + tower.embeddings.position_embedding.weight[positions]
    torch.testing.assert_close(tower.embeddings(flatten(image), positions), expected, rtol=1e-4, atol=1e-5)


def test_patches_are_told_apart_by_place(tower) -> None:
    image = pixels(1, 2, 2)[:, :, :14, :14].repeat(1, 1, 3, 3)
    states = run(tower, image)[0]
    assert torch.cdist(states, states).fill_diagonal_(1).min() > 1e-2


def test_megrez_has_the_published_parameters() -> None:
    with torch.device("meta"):
        tower = VisionTower(PRESETS["megrez-3b-omni"].vision)
    shapes = {name: tuple(tensor.shape) for name, tensor in tower.state_dict().items()}
    assert sum(parameter.numel() for parameter in tower.parameters()) == 417_792_240
    assert len(shapes) == 437
    assert shapes["embeddings.patch_embedding.weight"] == (1152, 3, 14, 14)
    assert shapes["embeddings.patch_embedding.bias"] == (1152,)
    assert shapes["embeddings.position_embedding.weight"] == (4900, 1152)
    assert shapes["encoder.layers.26.self_attn.out_proj.weight"] == (1152, 1152)
    assert shapes["encoder.layers.26.mlp.fc1.weight"] == (4304, 1152)
    assert shapes["encoder.layers.26.mlp.fc2.bias"] == (1152,)
    assert shapes["post_layernorm.bias"] == (1152,)
