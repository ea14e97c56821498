"""What is trained is what is served: heads, towers, prompts and deltas against references of their own."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture
from torch import nn

from llm_decoder.conversation import Image, Sound
from trichord.errors import TrainingError
from trichord.media.slicing import plan_slices
from trichord.model_config import ModelConfig
from trichord_training import replay
from trichord_training.base import Base
from trichord_training.device import chosen_device, in_bfloat16
from trichord_training.ears import heard, transcription_loss
from trichord_training.embedding_head import EmbeddingHead
from trichord_training.eyes import Eyes, as_patches, picture_grids
from trichord_training.language_model import DeltaLinear, LanguageModel
from trichord_training.omni import Batch, Omni
from trichord_training.replay import drift, replay_texts
from trichord_training.word_errors import word_error_rate, word_errors
from vision_encoder.encoder import VisionEncoder
from vision_encoder.tiles import cut

texts = st.lists(st.sampled_from("abc"), max_size=6)


def test_the_nearest_embedding_scores_highest_by_its_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    table, rows = torch.randn(7, 5, generator=generator), torch.randn(3, 4, 5, generator=generator)
    logits = EmbeddingHead(table, num_learned=1)(rows)
    every = torch.cat([table, table.mean(0, keepdim=True)])
    explicit = -torch.cdist(rows, every.expand(3, -1, -1)).square() / 2
    assert logits.shape == (3, 4, 8)
    assert torch.allclose(logits.log_softmax(-1), explicit.log_softmax(-1), atol=1e-4)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_what_is_heard_is_runs_without_blanks(best: list[int]) -> None:
    logits = nn.functional.one_hot(torch.tensor(best), 4).float()
    assert heard(logits, blank=3) == [token for token, _ in itertools.groupby(best) if token != 3]


def test_the_transcription_loss_sums_over_all_alignments() -> None:
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    spoken = [[0, 1], [1]]
    losses = []
    for clip, tokens in zip(logits.softmax(-1), spoken, strict=True):
        paths = itertools.product(range(3), repeat=4)
        fitting = [path for path in paths if [k for k, _ in itertools.groupby(path) if k != 2] == tokens]
        likelihood = sum(
            float(torch.stack([clip[row, token] for row, token in enumerate(path)]).prod()) for path in fitting
        )
        losses.append(-np.log(likelihood) / len(tokens))
    assert transcription_loss(logits, spoken, blank=2).item() == pytest.approx(np.mean(losses), rel=1e-4)


@given(texts, texts)
def test_word_errors_are_the_edit_distance(said: list[str], written: list[str]) -> None:
    @functools.cache
    def distance(a: int, b: int) -> int:
        if not (a and b):
            return a + b
        same = said[a - 1] == written[b - 1]
        return min(distance(a - 1, b) + 1, distance(a, b - 1) + 1, distance(a - 1, b - 1) + (not same))

    assert word_errors(" ".join(said), " ".join(written)) == distance(len(said), len(written))


def test_a_word_error_rate_is_of_all_words() -> None:
    assert word_error_rate([("a b c", "a b c"), ("a", "b c")]) == 2 / 4
    assert word_error_rate([]) == 0.0


@pytest.mark.parametrize("place", range(4))
def test_the_service_sees_what_training_sees(config: ModelConfig, place: int) -> None:
    torch.manual_seed(3)
    eyes = Eyes(config).eval()
    nn.init.normal_(eyes.resampler.attn.in_proj_bias)
    height, width = picture_grids(config)[place]
    pixels = np.random.default_rng(5).integers(0, 256, (height * 14, width * 14, 3)).astype(np.uint8)
    plan = plan_slices(width * 14, height * 14, config.slicing, 14)
    service = VisionEncoder(config)
    service.load_state_dict({name.removeprefix("vision."): value for name, value in eyes.tensors().items()})
    with torch.inference_mode():
        trained = eyes(as_patches(pixels[None], 14), (height, width))[0]
        (served,) = service(torch.from_numpy(cut(Picture.fromarray(pixels), plan)), plan.tile_shapes)
    assert plan.tile_shapes == [(height, width)]
    assert torch.allclose(trained, served, atol=1e-4)
    assert trained.std() > 0.01


@pytest.fixture(scope="module")
def omni(config: ModelConfig, base: Base) -> Omni:
    """The whole tiny model in float32, its deltas not zero."""
    torch.manual_seed(0)
    omni = Omni(config, base)
    omni.llm.llama.float()
    for delta in omni.llm.deltas.values():
        nn.init.normal_(delta.lora_b, std=0.1)
    return omni.eval()


def batch(config: ModelConfig) -> Batch:
    image, sound = Image(0, 0, config.resampler.num_queries), Sound((7,))
    generator = torch.Generator().manual_seed(2)
    return Batch(
        messages=[("What is it?", image), (sound, image, "Well?"), ("No media.",)],
        answers=["red", "seven", "no"],
        patches=torch.randn(2, 49, 588, generator=generator),
        grid=(7, 7),
        mel=torch.randn(1, 80, 20, generator=generator),
    )


def test_answers_are_scored_as_hugging_face_scores_each_alone(omni: Omni, config: ModelConfig) -> None:
    given_batch = batch(config)
    assert given_batch.patches is not None
    assert given_batch.mel is not None
    with torch.inference_mode():
        logits, targets, whose = omni(given_batch)
        with in_bfloat16(torch.device("cpu")):
            seen, sounded = omni.eyes(given_batch.patches, (7, 7)).float(), omni.ears(given_batch.mel).float()
        rows = [[seen[0]], [sounded[0], seen[1]], []]
        stop = omni.prompt(["x"]).index(omni._template.stop_ids[0])
        for place, (parts, answer) in enumerate(zip(given_batch.messages, given_batch.answers, strict=True)):
            prompt = omni.prompt(parts)
            said = [*answer.encode()]
            expected = _alone(omni, prompt, targets[whose == place].tolist(), rows[place])
            assert torch.allclose(logits[whose == place], expected, atol=1e-3)
            assert len(targets[whose == place]) == len(said) + 1
    assert stop > 0


def _alone(omni: Omni, prompt: Sequence[int], answer: Sequence[int], media: Sequence[torch.Tensor]) -> torch.Tensor:
    """Logits at the places of an answer, by Hugging Face's module, media put where the placeholders are."""
    llama, ids = omni.llm.llama, torch.tensor([*prompt, *answer])
    embeddings = llama.get_input_embeddings()(ids).clone()
    placeholder = omni._template._placeholder
    places = (ids == placeholder).nonzero()[:, 0]
    if media:
        embeddings[places] = torch.cat(list(media))
    assert len(places) == sum(len(rows) for rows in media)
    logits: torch.Tensor = llama(inputs_embeds=embeddings[None]).logits[0]
    return logits[len(prompt) - 1 : -1]


def test_the_prompt_is_the_chat_template(omni: Omni, base: Base, config: ModelConfig) -> None:
    written = base.tokenizer.decode(omni.prompt(["Look: ", Image(0, 0, 2), "what?"]), skip_special_tokens=False)
    assert written == (
        "<|role_start|>system<|role_end|>You are tiny.<|turn_end|>"
        "<|role_start|>user<|role_end|>Look: <|image_start|><|unk|><|unk|><|image_end|>\nwhat?<|turn_end|>"
        "<|role_start|>assistant<|role_end|>"
    )


def test_an_answer_is_right_when_every_token_is(omni: Omni, config: ModelConfig) -> None:
    given_batch = batch(config)
    with torch.inference_mode():
        logits, targets, whose = omni(given_batch)
        loss, right = omni.loss(given_batch)
    best = logits.argmax(-1)
    assert right.tolist() == [bool((best == targets)[whose == place].all()) for place in range(3)]
    assert loss.item() == pytest.approx(-logits.log_softmax(-1).gather(1, targets[:, None]).mean().item(), rel=1e-4)


def test_positions_turn_at_the_configs_own_frequency(omni: Omni, config: ModelConfig) -> None:
    turned = omni.llm.llama.model.rotary_emb.inv_freq
    exponents = np.arange(0, config.llm.head_dim, 2) / config.llm.head_dim
    assert np.allclose(turned.numpy(), config.llm.rope_theta**-exponents, rtol=1e-5)


def test_a_delta_is_added_to_the_frozen_map() -> None:
    torch.manual_seed(0)
    frozen, states = nn.Linear(6, 5, bias=False), torch.randn(2, 3, 6)
    delta = DeltaLinear(frozen, rank=2)
    assert torch.equal(delta(states), frozen(states))
    nn.init.normal_(delta.lora_b)
    merged = frozen.weight + delta.lora_b @ delta.lora_a
    assert torch.allclose(delta(states), states @ merged.T, atol=1e-5)
    assert not torch.allclose(delta(states), frozen(states), atol=1e-2)


@pytest.fixture
def model(config: ModelConfig, base: Base) -> LanguageModel:
    """The language model alone."""
    torch.manual_seed(0)
    return LanguageModel(config.llm, base).eval()


def test_untouched_is_as_before_any_training_and_ends(model: LanguageModel) -> None:
    ids, lengths = torch.tensor([[5, 6, 7]]), torch.tensor([3])
    before = model.states(model.embed(ids), lengths)
    for delta in model.deltas.values():
        nn.init.normal_(delta.lora_b)
    changed = model.states(model.embed(ids), lengths)
    with pytest.raises(KeyError):
        _states_untouched(model, ids, lengths, before)
    assert torch.equal(model.states(model.embed(ids), lengths), changed)
    assert not torch.equal(changed, before)


def _states_untouched(model: LanguageModel, ids: torch.Tensor, lengths: torch.Tensor, before: torch.Tensor) -> None:
    with model.untouched():
        assert torch.equal(model.states(model.embed(ids), lengths), before)
        raise KeyError


def test_drift_is_nothing_at_first_and_grows(model: LanguageModel) -> None:
    told = [[5, 6, 7, 8], [9, 10]]
    drifts = [drift(model, told).item()]
    for size in (0.05, 0.2, 0.8):
        for delta in model.deltas.values():
            nn.init.constant_(delta.lora_b, size)
        drifts.append(drift(model, told).item())
    assert drifts[0] == pytest.approx(0, abs=1e-6)
    assert drifts == sorted(drifts)
    assert drifts[-1] > 1e-3


def test_drift_reaches_the_deltas_alone(model: LanguageModel) -> None:
    for delta in model.deltas.values():
        nn.init.constant_(delta.lora_b, 0.3)
    drift(model, [[5, 6, 7]]).backward()
    trained = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}
    assert trained
    assert all(".lora_" in name for name in trained)


def test_texts_are_answered_once_and_kept(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "ANSWER_TOKENS", 3)
    path, prompts = tmp_path / "replay.json", [[5, 6], [7, 8, 9]]
    told = replay_texts(model, prompts, path)
    assert [text[: len(prompt)] for text, prompt in zip(told, prompts, strict=True)] == prompts
    assert all(len(prompt) < len(text) <= len(prompt) + 3 for text, prompt in zip(told, prompts, strict=True))
    monkeypatch.setattr(model, "llama", None)
    assert replay_texts(model, prompts, path) == told
    with pytest.raises(TrainingError, match=r"replay\.json has no answers to these prompts"):
        replay_texts(model, [[1], [2]], path)
    path.write_text("[[1, 2")
    with pytest.raises(TrainingError, match=r"replay\.json"):
        replay_texts(model, prompts, path)


def test_the_gpu_is_taken_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen_device(None).type == "cuda"
    assert chosen_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device(None).type == "cpu"
    with pytest.raises(TrainingError, match="no GPU"):
        chosen_device("cuda")
