from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from llm_decoder.conversation import Image, Message, Sound
from llm_decoder.intake import Intake
from llm_decoder.prompt import PromptTemplate
from llm_decoder.settings import DecoderSettings
from llm_decoder.vocabulary import Vocabulary
from trichord.checkpoint.presets import PRESETS
from trichord.errors import CheckpointError, ContextLengthError
from trichord.model_config import ModelConfig
from trichord.v1.decoder_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_USER,
    CountTokensRequest,
    DecoderMessage,
    DecoderPart,
)

# The models' chat templates in Hugging Face's terms, written independently of PromptConfig.
MEGREZ_JINJA = (
    "{% if messages[0].role != 'system' %}<|role_start|>system<|role_end|>{{ system }}<|turn_end|>{% endif %}"
    "{% for m in messages %}<|role_start|>{{ m.role }}<|role_end|>{{ m.content }}<|turn_end|>{% endfor %}"
    "<|role_start|>assistant<|role_end|>"
)
SMOL_JINJA = (
    "{% if messages[0].role != 'system' and system %}{{ '<|im_start|>system\n' + system + '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)
JINJA = {"tiny": MEGREZ_JINJA, "megrez-3b-omni": MEGREZ_JINJA, "smol": SMOL_JINJA, "demo": SMOL_JINJA}

# transformers takes the name of a special token for the token, which we never do.
texts = (st.text() | st.text(alphabet="\n helo user你好🙂.", max_size=20)).map(lambda text: text.replace("<", "("))
conversations = st.tuples(st.none() | texts, st.lists(st.tuples(texts, texts), max_size=2), texts)


def reference(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Transformers' own tokenizer over the same vocabulary."""
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(tokenizer.to_str()))


def rendered(tokenizer: PreTrainedTokenizerFast, preset: str, messages: list[Message]) -> list[int]:
    """The prompt as transformers renders and encodes it."""
    return tokenizer.apply_chat_template(
        [{"role": message.role, "content": "".join(map(str, message.parts))} for message in messages],
        chat_template=JINJA[preset],
        system=PRESETS[preset].prompt.default_system,
        return_dict=False,
    )


def chat(system: str | None, turns: list[tuple[str, str]], last: str) -> list[Message]:
    opening = [] if system is None else [Message("system", (system,))]
    said = [Message(role, (text,)) for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True)]
    return [*opening, *said, Message("user", (last,))]


Merged = tuple[str, PreTrainedTokenizerFast, PromptTemplate]
"""A preset's name, transformers' tokenizer with merges for it, and our template over the same vocabulary."""


@pytest.fixture(scope="module", params=["smol", "megrez-3b-omni"])
def merged(request: pytest.FixtureRequest, trained: Callable[[str], Tokenizer]) -> Merged:
    tokenizer = trained(request.param)
    return request.param, reference(tokenizer), PromptTemplate(PRESETS[request.param].prompt, Vocabulary(tokenizer))


@given(conversation=conversations)
def test_text_equals_transformers_chat_template(
    merged: Merged, conversation: tuple[str | None, list[tuple[str, str]], str]
) -> None:
    preset, tokenizer, template = merged
    messages = chat(*conversation)
    assert template.tokens(messages).ids.tolist() == rendered(tokenizer, preset, messages)


def test_text_equals_transformers_on_the_tiny_checkpoint(template: PromptTemplate, tiny_tokenizer: Tokenizer) -> None:
    messages = chat(None, [("hi\n", "\n\nyes")], "\nnaïve 你好 🙂")
    assert template.tokens(messages).ids.tolist() == rendered(reference(tiny_tokenizer), "tiny", messages)


@pytest.fixture(scope="module")
def demo_prompts(demo: Path) -> tuple[PreTrainedTokenizerFast, Intake]:
    """The preset demo as its users have it."""
    config = ModelConfig.read(demo)
    vocabulary = Vocabulary.read(demo, config.llm.vocab_size)
    intake = Intake(config, DecoderSettings(checkpoint=demo, triton=""), vocabulary, [])
    return reference(Tokenizer.from_file(str(demo / "tokenizer.json"))), intake


@pytest.mark.demo
@given(conversation=conversations)
def test_text_equals_transformers_on_the_real_vocabulary(
    demo_prompts: tuple[PreTrainedTokenizerFast, Intake], conversation: tuple[str | None, list[tuple[str, str]], str]
) -> None:
    tokenizer, intake = demo_prompts
    messages = chat(*conversation)
    expected = rendered(tokenizer, "demo", messages)
    assert intake.template.tokens(messages).ids.tolist() == expected
    roles = {"system": ROLE_SYSTEM, "user": ROLE_USER, "assistant": ROLE_ASSISTANT}
    asked = [DecoderMessage(role=roles[m.role], parts=[DecoderPart(text=str(m.parts[0]))]) for m in messages]
    assert intake.count(CountTokensRequest(messages=asked)).num_tokens == len(expected)


def test_neighbouring_texts_are_encoded_as_one(merged: Merged) -> None:
    _, _, template = merged
    split = template.tokens([Message("user", ("hel", "lo wor", "ld"))])
    assert split.ids.tolist() == template.tokens([Message("user", ("hello world",))]).ids.tolist()


@pytest.fixture(scope="module")
def megrez(trained: Callable[[str], Tokenizer]) -> PromptTemplate:
    """Megrez's own layout."""
    return PromptTemplate(PRESETS["megrez-3b-omni"].prompt, Vocabulary(trained("megrez-3b-omni")))


def test_the_benchmark_image_takes_465_positions(megrez: PromptTemplate) -> None:
    """720 x 1480 pixels: 2 x 3 slices, 448 rows; 14 markers, 2 newlines between rows and one after (report, 3.2)."""
    with_image = megrez.tokens([Message("user", (Image(2, 3, 64),))])
    assert with_image.num_tokens - megrez.tokens([Message("user", ("",))]).num_tokens == 465
    assert with_image.num_image_tokens == 448
    assert with_image.num_audio_tokens == 0


@pytest.mark.parametrize(("cols", "rows"), [(0, 0), (1, 2), (2, 1), (3, 3), (1, 9), (9, 1)])
def test_positions_of_an_image(megrez: PromptTemplate, cols: int, rows: int) -> None:
    tiles = 1 + cols * rows
    prompt = megrez.tokens([Message("user", (Image(cols, rows, 64),))])
    empty = megrez.tokens([Message("user", ("",))])
    assert prompt.num_tokens - empty.num_tokens == 64 * tiles + 2 * tiles + max(rows - 1, 0) + 1
    assert [span.length for span in prompt.spans] == [64] * tiles


def test_the_layout_of_everything(template: PromptTemplate, tiny_tokenizer: Tokenizer) -> None:
    """Order is preserved, sounds are counted through the conversation, spans name their embedding."""
    messages = [
        Message("system", ("S",)),
        Message("user", ("a", Image(2, 2, 2), "b", Sound((3, 1)), "c")),
        Message("assistant", ("d",)),
        Message("user", (Sound((1,)), Image(0, 0, 2))),
    ]
    tile, slice_ = "<|image_start|>??<|image_end|>", "<|slice_start|>??<|slice_end|>"
    expected = (
        "<|role_start|>system<|role_end|>S<|turn_end|>"
        f"<|role_start|>user<|role_end|>a{tile}{slice_}{slice_}\n{slice_}{slice_}\nb"
        "Audio 1: <|audio_start|>???<|audio_end|><|audio_start|>?<|audio_end|>\nc<|turn_end|>"
        "<|role_start|>assistant<|role_end|>d<|turn_end|>"
        f"<|role_start|>user<|role_end|>Audio 2: <|audio_start|>?<|audio_end|>\n{tile}\n<|turn_end|>"
        "<|role_start|>assistant<|role_end|>"
    )
    prompt = template.tokens(messages)
    ids = prompt.ids.tolist()
    assert ids == tiny_tokenizer.encode(expected.replace("?", "<|unk|>")).ids
    assert [span.length for span in prompt.spans] == [2, 2, 2, 2, 2, 3, 1, 1, 2]
    assert [span.embedding for span in prompt.spans] == [0, 0, 0, 0, 0, 1, 1, 2, 3]
    covered = [span.start + i for span in prompt.spans for i in range(span.length)]
    assert covered == [i for i, token in enumerate(ids) if token == tiny_tokenizer.token_to_id("<|unk|>")]
    assert (prompt.num_image_tokens, prompt.num_audio_tokens) == (12, 5)
    assert prompt.num_text_tokens == len(ids) - 17
    assert prompt.ids.dtype == np.int32


SPECIALS = ["<|eos|>", "<|unk|>", "<|role_start|>", "<|turn_end|>", "<|image_start|>", "<|audio_end|>", "<|turn_end>"]
hostile = st.lists(st.sampled_from([*SPECIALS, "{role}", "{content}", "{k}", "<|", "|>", "unk", "\n"]) | st.text()).map(
    "".join
)


@given(system=hostile, text=hostile)
def test_no_text_forges_a_special_token(
    template: PromptTemplate, vocabulary: Vocabulary, tiny_tokenizer: Tokenizer, system: str, text: str
) -> None:
    def specials(*texts: str) -> list[int]:
        prompt = template.tokens([Message(role, (t,)) for role, t in zip(("system", "user"), texts, strict=True)])
        assert prompt.spans == ()
        return [token for token in prompt.ids.tolist() if token in vocabulary.special_ids.values()]

    assert specials(system, text) == specials("s", "u")
    ids = template.tokens([Message("system", (system,)), Message("user", (text,))]).ids.tolist()
    assert tiny_tokenizer.decode(ids) == f"system{system}user{text}assistant"


def test_a_template_may_have_text_around_its_slots(
    config: ModelConfig, vocabulary: Vocabulary, tiny_tokenizer: Tokenizer
) -> None:
    changed = config.prompt.model_copy(update={"turn": ["[{role}: {content}]"], "default_system": None})
    ids = PromptTemplate(changed, vocabulary).tokens([Message("user", ("{role}",))]).ids.tolist()
    assert tiny_tokenizer.decode(ids) == "[user: {role}]assistant"


@pytest.mark.parametrize("key", ["placeholder", "image_end", "slice_start", "audio_start", "stop_tokens", "turn"])
def test_a_token_that_the_tokenizer_does_not_have(config: ModelConfig, vocabulary: Vocabulary, key: str) -> None:
    value = ["<|nowhere|>"] if key in ("stop_tokens", "turn") else "<|nowhere|>"
    with pytest.raises(CheckpointError, match=rf"config\.json: prompt\.{key}: '<\|nowhere\|>'"):
        PromptTemplate(config.prompt.model_copy(update={key: value}), vocabulary)


def test_an_ordinary_token_is_no_special_token(config: ModelConfig, vocabulary: Vocabulary) -> None:
    with pytest.raises(CheckpointError, match=r"prompt\.placeholder: 'a'"):
        PromptTemplate(config.prompt.model_copy(update={"placeholder": "a"}), vocabulary)


@pytest.mark.parametrize("turn", [["{role}"], ["{content}{content}"]])
def test_a_template_without_one_place_for_the_content(
    config: ModelConfig, vocabulary: Vocabulary, turn: list[str]
) -> None:
    with pytest.raises(CheckpointError, match=r"prompt\.turn has \{content\} once"):
        PromptTemplate(config.prompt.model_copy(update={"turn": turn}), vocabulary)


def test_what_the_context_leaves(template: PromptTemplate) -> None:
    prompt = template.tokens([Message("user", ("hello",))])
    assert prompt.context_left(prompt.num_tokens + 1) == 1
    with pytest.raises(
        ContextLengthError, match=rf"has {prompt.num_tokens} tokens; the model fits {prompt.num_tokens}"
    ):
        prompt.context_left(prompt.num_tokens)
