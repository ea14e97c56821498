"""Rules that an operator writes: the defaults stay under what is told, and what is wrong is named."""

from pathlib import Path

import pytest

from autoscaler.rules import DEFAULTS, FleetRules
from trichord.errors import SettingsError


def read(folder: Path, text: str) -> FleetRules:
    path = folder / "rules.yaml"
    path.write_text(text)
    return FleetRules.read(path)


def test_what_is_not_told_stays_as_shipped(tmp_path: Path) -> None:
    rules = read(tmp_path, "gpu_budget: 4\nmodalities:\n  vision: {max_replicas: 3}\n  decoder:\n")
    assert rules.gpu_budget == 4
    assert rules.modalities["vision"] == DEFAULTS["vision"].model_copy(update={"max_replicas": 3})
    assert rules.modalities["decoder"] == DEFAULTS["decoder"]
    assert set(rules.modalities) == {"vision", "decoder"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("modalities: {video: {}}", "modalities.video"),
        ("modalities: {vision: {max_replica: 3}}", "modalities.vision.max_replica"),
        ("modalities: {vision: {max_replicas: many}}", "modalities.vision.max_replicas"),
        ("modalities: {vision: {min_replicas: 9, max_replicas: 3}}", "min_replicas is larger than max_replicas"),
        ("modalities: {vision: {use_down: 0.9}}", "use_down is larger than use_up"),
        ("modalities: {vision: 3}", "modalities.vision"),
        ("modalities: []", "modalities"),
        ("gpu_budget: .inf", "gpu_budget"),
        ("gpu_budget: 1\nmodalities: {vision: {min_replicas: 2}}", "need 2 GPUs, more than gpu_budget"),
        ("gpus: 1", "gpus"),
        ("- 1", "the file"),
        ("a: 1\na: 2", "a key twice"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError, match="rules") as error:
        read(tmp_path, text)
    assert told in error.value.message


def test_the_shipped_rules_fit_together() -> None:
    assert set(FleetRules().modalities) == {"vision", "audio", "decoder", "gateway", "worker"}
    assert DEFAULTS["vision"].min_replicas == 0
    assert DEFAULTS["worker"].min_replicas == DEFAULTS["worker"].gpus_per_replica == 0
    assert DEFAULTS["decoder"].min_replicas == 1
