"""Plans and settings: what is taken, what is refused, and that the words of the contract are turned right."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.admission import charges
from gateway.admission.cost import QUOTAS, Cost
from gateway.admission.plan import MAX_RATE, Plan, Plans
from gateway.admission.priority_queue import Priority
from gateway.admission.settings import AdmissionSettings
from gateway.admission.verdict import Budget, Verdict
from gateway.conversation import Item
from tests.unit.gateway.lab import audio, image, message, text
from trichord.errors import SettingsError
from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2

MODEL = decoder_pb2.DecoderServiceGetModelResponse(context_tokens=4096, tokens_per_tile=64)
DEFAULT = Plan(tokens_per_min=5000, weight=2)


def written(folder: Path, content: str) -> Path:
    path = folder / "plans.yaml"
    path.write_text(content)
    return path


def test_a_tenants_plan_is_the_default_but_for_what_it_says(tmp_path: Path):
    plans = Plans.read(written(tmp_path, "tenants:\n  acme: {tiles_per_min: 0, weight: 7}\n  plain: {}\n"), DEFAULT)
    assert plans.of("acme") == DEFAULT.model_copy(update={"tiles_per_min": 0, "weight": 7})
    assert plans.of("plain") == plans.of("somebody else") == DEFAULT


REFUSED = {
    "misspelt budget": ("tenants: {acme: {token_per_min: 5}}", "tenants.acme.token_per_min: Extra inputs"),
    "negative": ("tenants: {acme: {tokens_per_min: -5}}", "tenants.acme.tokens_per_min: Input should be greater"),
    "beyond what is exact": (f"tenants: {{acme: {{tokens_per_min: {MAX_RATE + 1}}}}}", "acme.tokens_per_min"),
    "fraction": (
        "tenants: {acme: {tiles_per_min: 0.5}}",
        "tenants.acme.tiles_per_min: Input should be a valid integer",
    ),
    "in quotes": ("tenants: {acme: {concurrency: '5'}}", "tenants.acme.concurrency: Input should be a valid integer"),
    "no weight": ("tenants: {acme: {weight: 0}}", "tenants.acme.weight: Input should be greater"),
    "twice": ("tenants: {acme: {}, acme: {}}", "is not YAML in line 1, or has a key twice"),
    "a tenant that is a number": ("tenants: {7: {}}", "tenants.7.*: Input should be a valid string"),
    "a tenant without a name": ("tenants: {'': {}}", "String should have at least 1 character"),
    "a plan that is none": ("tenants: {acme: 5}", "tenants.acme: Input should be a valid dictionary"),
    "another key": ("tenants: {}\nplans: {}", "plans: Extra inputs"),
    "no tenants": ("{}", "tenants: Field required"),
    "empty": ("", "the file: Input should be a valid dictionary"),
    "an object": ("tenants: !!python/object/apply:os.getcwd []", "is not YAML"),
    "too large": ("#" * (1024 * 1024 + 1), "larger than 1048576 bytes"),
}


@pytest.mark.parametrize(("content", "complaint"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_file_says_which_key(tmp_path: Path, content: str, complaint: str):
    with pytest.raises(SettingsError, match=rf"Plans file plans\.yaml:? .*{complaint}"):
        Plans.read(written(tmp_path, content), DEFAULT)


def test_a_missing_file_says_so(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"Plans file none\.yaml cannot be read: No such file"):
        Plans.read(tmp_path / "none.yaml", DEFAULT)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TRICHORD_ADMISSION_TOKENS_PER_MIN", "777")
    monkeypatch.setenv("TRICHORD_ADMISSION_PLANS", str(written(tmp_path, "tenants: {acme: {weight: 9}}")))
    plans = AdmissionSettings.from_environment().read_plans()
    assert plans.of("acme") == Plan(tokens_per_min=777, weight=9)
    assert plans.of("") == Plan(tokens_per_min=777)


@pytest.mark.parametrize(
    ("name", "value"),
    [("TOKENS_PER_MIN", "-1"), ("LOCAL_SHARE", "0"), ("LOCAL_SHARE", "nan"), ("TEXT_SLOTS", "0"), ("TOKEN", "5")],
)
def test_a_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(f"TRICHORD_ADMISSION_{name}", value)
    with pytest.raises(SettingsError, match=f"TRICHORD_ADMISSION_{name}"):
        AdmissionSettings.from_environment()


def test_a_share_leaves_one_of_what_is_not_none():
    shared = Plan(requests_per_min=1, tokens_per_min=1000, tiles_per_min=0, concurrency=3, weight=5).share(0.25)
    assert (shared.requests_per_min, shared.tokens_per_min, shared.tiles_per_min) == (1, 250, 0)
    assert (shared.concurrency, shared.weight) == (1, 5)


def test_every_budget_has_its_place():
    plan = Plan(requests_per_min=1, tokens_per_min=2, tiles_per_min=3, audio_seconds_per_min=4, concurrency=5)
    assert (*plan.limits(), plan.concurrency) == (1, 2, 3, 4000, 5)
    verdict = Verdict.from_reply(plan, [0, 11, 12, 21, 22, 31, 32, 41, 42, 51, 52])
    assert [budget.quota for budget in verdict.budgets] == list(QUOTAS)
    assert [budget.remaining for budget in verdict.budgets] == [11, 21, 31, 41, 51]
    assert [budget.retry_after_ms for budget in verdict.budgets] == [12, 22, 32, 42, 52]
    assert Cost(tokens=2, tiles=3, audio_ms=4).amounts() == (1, 2, 3, 4)
    assert Cost(5, 5, 5).credit(Cost(1, 2, 9)) == (0, 4, 3, -4)


@pytest.mark.parametrize(
    ("quota", "limit", "remaining", "reset_ms"),
    [
        ("tokens", 600, 600, 0),
        ("tokens", 600, 0, 60_000),
        ("tokens", 600, -600, 120_000),
        ("requests", 7, 6, 8572),
        ("tiles", 0, 0, 0),
        ("concurrency", 8, 3, 0),
    ],
)
def test_a_budget_tells_when_it_is_full_again(quota: str, limit: int, remaining: int, reset_ms: int):
    assert Budget(quota, limit, remaining, 0).reset_ms() == reset_ms


def chat(*parts: gateway_pb2.Part, **sampling: int) -> gateway_pb2.ChatRequest:
    return gateway_pb2.ChatRequest(messages=[message(*parts)], sampling=decoder_pb2.SamplingParams(**sampling))


def item(modality: tensor_pb2.Modality, num_bytes: int) -> Item:
    return Item(0, 0, "", modality, bytes(num_bytes))


def test_an_estimate_is_of_text_media_and_all_answers():
    assert charges.estimate(chat(text("x" * 400), max_tokens=10), [], MODEL) == Cost(101 + 10)
    assert charges.estimate(chat(text(""), max_tokens=10, n=3), [], MODEL) == Cost(1 + 30)
    assert charges.estimate(chat(text("")), [], MODEL) == Cost(1 + 1024)
    picture, sound = item(tensor_pb2.MODALITY_IMAGE, 130 * 1024), item(tensor_pb2.MODALITY_AUDIO, 160_000)
    asked = charges.estimate(chat(image(), audio(), max_tokens=10), [picture, sound], MODEL)
    assert asked == Cost(2 + 3 * 64 + 250 + 10, tiles=3, audio_ms=10_001)
    huge = item(tensor_pb2.MODALITY_IMAGE, 5_000_000)
    assert charges.estimate(chat(image(), max_tokens=1), [huge], MODEL).tiles == 10


@pytest.mark.parametrize("lie", [{"max_tokens": -(2**31)}, {"n": -5}, {"max_tokens": 2**31 - 1, "n": 2**31 - 1}])
def test_a_lie_about_its_size_neither_lowers_an_estimate_nor_breaks_it(lie: dict[str, int]):
    rows = gateway_pb2.Part(embedding=tensor_pb2.Embedding(values=tensor_pb2.Tensor(shape=[-(2**40), 4])))
    assert 11 <= charges.estimate(chat(text("x" * 40), rows, **lie), [], MODEL).tokens <= 20 + 8 * 4096


def test_a_medium_waits_in_its_lane_by_its_work():
    assert charges.lane(item(tensor_pb2.MODALITY_IMAGE, 130 * 1024)) == ("image", 3)
    assert charges.lane(item(tensor_pb2.MODALITY_AUDIO, 160_000)) == ("audio", 11)


def test_only_batch_gives_way():
    kinds = {name: charges.priority(value, "") for name, value in decoder_pb2.Priority.items()}
    assert kinds == {
        "PRIORITY_UNSPECIFIED": Priority.LIVE,
        "PRIORITY_LIVE": Priority.LIVE,
        "PRIORITY_BATCH": Priority.BATCH,
    }
    assert {charges.priority(value, "job_1") for value in decoder_pb2.Priority.values()} == {Priority.BATCH}
