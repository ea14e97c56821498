"""The preset smol, really pulled: it speaks, it hears, its tokenizer is SmolLM2's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from tests.unit.checkpoint.whisper_names import CONNECTOR, hugging_face_config, hugging_face_name
from trichord.checkpoint.layout import PREFIXES
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.safetensors_file import DTYPES
from trichord.checkpoint.smol import EMBEDDING_STD
from trichord.checkpoint.stored import stored_tensors
from trichord.checkpoint.tokenizer import TOKENIZER_FILE, special_tokens
from trichord.checkpoint.verify import verify
from trichord.checkpoint.weights import load_into

pytestmark = pytest.mark.smol

SMOL = PRESETS["smol"]
SAMPLE_RATE = 16_000
# Bytes that SmolLM2's vocabulary lacks; the published tokenizer drops them too.
DROPPED_CONTROLS = "\x04\x06\x13\x14\x16\x1d"
MAX_KEPT_CODE_POINT = 0x3FFFF


@pytest.fixture(scope="module")
def tokenizer(smol: Path) -> Tokenizer:
    return Tokenizer.from_file(str(smol / TOKENIZER_FILE))


def array(checkpoint: Path, name: str) -> np.ndarray:
    tensor = stored_tensors(checkpoint)[name]
    return np.frombuffer(b"".join(tensor.chunks()), DTYPES[tensor.dtype]).reshape(tensor.shape).astype(np.float32)


def chat(question: str) -> str:
    prompt = SMOL.prompt
    turns = [("system", prompt.default_system or ""), ("user", question)]
    filled = [piece.format(role=role, content=text) for role, text in turns for piece in prompt.turn]
    return "".join(filled + prompt.answer_opening)


def test_the_pulled_checkpoint_is_whole(smol: Path) -> None:
    verify(smol)
    assert (smol / "manifest.json").exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_independent_llama_knows_the_capital_of_france(smol: Path, tokenizer: Tokenizer, dtype: torch.dtype) -> None:
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**SMOL.llm.model_dump())).eval()
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    load_into(model, smol, "llm.", dtype)
    ids = tokenizer.encode(chat("What is the capital of France?")).ids
    stop = tokenizer.token_to_id(SMOL.prompt.stop_tokens[0])
    answer = model.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False, eos_token_id=stop, pad_token_id=0)
    assert answer[0, -1] == stop
    assert tokenizer.decode(answer[0, len(ids) :].tolist()) == "The capital of France is Paris."


def test_the_template_is_the_published_one() -> None:
    assert chat("Hi") == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    text=st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters=DROPPED_CONTROLS, max_codepoint=MAX_KEPT_CODE_POINT)
    )
)
def test_any_text_survives_the_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_known_encodings(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == SMOL.llm.vocab_size
    assert tokenizer.encode("Hello world 2024\n").tokens == ["Hello", "Ġworld", "Ġ", "2", "0", "2", "4", "Ċ"]


def test_special_tokens_in_text_can_be_literals(smol: Path) -> None:
    literal = Tokenizer.from_file(str(smol / TOKENIZER_FILE))
    specials = special_tokens(SMOL.prompt)
    assert [len(literal.encode(token).ids) for token in specials] == [1] * len(specials)
    literal.encode_special_tokens = True
    ids = literal.encode("".join(specials)).ids
    assert not {literal.token_to_id(token) for token in specials} & {*ids}
    assert literal.decode(ids, skip_special_tokens=False) == "".join(specials)


def test_the_real_encoder_hears(smol: Path) -> None:
    """Two voices-like sounds of different pitch: rows are finite, and say which is which."""
    rows = [encode(smol, buzz(pitch_hz)) for pitch_hz in (110.0, 220.0)]
    assert all(torch.isfinite(row).all() for row in rows)
    assert all(0.1 < row.std() < 10 for row in rows)
    sounding, silent = rows[0][:50], rows[0][-50:]
    assert torch.nn.functional.cosine_similarity(rows[0][:50].mean(0), rows[1][:50].mean(0), dim=0) < 0.999
    assert torch.nn.functional.cosine_similarity(sounding.mean(0), silent.mean(0), dim=0) < 0.9


def buzz(pitch_hz: float) -> np.ndarray:
    """One second of harmonics with a formant at 700 Hz, like a vowel."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    harmonics = np.arange(1, 30) * pitch_hz
    gains = np.exp(-(((harmonics - 700) / 400) ** 2))
    return (0.1 * (gains[:, None] * np.sin(2 * np.pi * harmonics[:, None] * time)).sum(0)).astype(np.float32)


def encode(checkpoint: Path, sound: np.ndarray) -> torch.Tensor:
    """[1500, 384], by the independent encoder with our weights under its names."""
    encoder = WhisperEncoder(hugging_face_config(SMOL.audio)).eval()
    prefix = PREFIXES["audio"]
    names = {name.removeprefix(prefix) for name in stored_tensors(checkpoint, prefix)} - CONNECTOR
    encoder.load_state_dict({hugging_face_name(n): torch.from_numpy(array(checkpoint, prefix + n)) for n in names})
    extractor = WhisperFeatureExtractor(feature_size=SMOL.audio.n_mels)
    mel = extractor(sound, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
    with torch.no_grad():
        return torch.as_tensor(encoder(mel).last_hidden_state[0])


def test_positions_are_whispers_sinusoids(smol: Path) -> None:
    """arXiv 2212.04356, section 2.2: sinusoidal positions, wavelengths up to 10 000."""
    scale = np.exp(-np.log(10_000) / (384 / 2 - 1) * np.arange(384 / 2))
    angles = np.arange(1500)[:, None] * scale
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    np.testing.assert_allclose(array(smol, "audio.audio.positional_embedding"), expected, atol=0.005)


def test_rows_of_media_have_the_spread_of_token_embeddings(smol: Path) -> None:
    assert array(smol, "llm.model.embed_tokens.weight").std() == pytest.approx(EMBEDDING_STD, rel=0.01)
    rows = np.random.default_rng(0).standard_normal((100, 576)).astype(np.float32)
    assert (rows @ array(smol, "vision.resampler.proj")).std() == pytest.approx(EMBEDDING_STD, rel=0.05)
    assert (rows[:, :384] @ array(smol, "audio.audio.proj.weight").T).std() == pytest.approx(EMBEDDING_STD, rel=0.05)
