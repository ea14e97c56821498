"""Settings from the environment: what is bad or unknown is refused by its name."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from trichord.errors import SettingsError
from trichord.settings import MAX_MESSAGE_BYTES, ModelSettings, ServiceSettings


class HarpSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRICHORD_HARP_")

    checkpoint: Path = Field(description="Needed.")
    num_strings: int = Field(47, ge=1, le=60, description="Bounded.")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("TRICHORD_HARP_CHECKPOINT", "weights")
    return monkeypatch


@pytest.mark.usefixtures("environment")
def test_what_is_not_set_has_its_default() -> None:
    settings = HarpSettings.from_environment()
    assert settings.checkpoint == Path("weights")
    assert settings.num_strings == 47
    assert settings.max_message_bytes == MAX_MESSAGE_BYTES == 64 << 20
    assert settings.listen == "127.0.0.1:0"


def test_what_is_set_is_taken(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRICHORD_HARP_NUM_STRINGS", "36")
    environment.setenv("TRICHORD_HARP_REFLECTION", "false")
    environment.setenv("TRICHORD_HARP_DRAIN_NOTICE_S", "2.5")
    environment.setenv("trichord_harp_log_level", "debug")
    settings = HarpSettings.from_environment()
    assert (settings.num_strings, settings.reflection, settings.drain_notice_s) == (36, False, 2.5)
    assert settings.log_level == "debug"


def test_a_missing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRICHORD_HARP_CHECKPOINT", raising=False)
    with pytest.raises(SettingsError, match=r"^TRICHORD_HARP_CHECKPOINT is not set$"):
        HarpSettings.from_environment()


@pytest.mark.parametrize("name", ["TRICHORD_HARP_NUM_STRING", "trichord_harp_strings", "TRICHORD_HARP_"])
def test_an_unknown_one_is_named_with_those_that_are_known(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "47")
    with pytest.raises(SettingsError) as caught:
        HarpSettings.from_environment()
    assert caught.value.message.startswith(f"{name} is not a setting")
    assert "TRICHORD_HARP_NUM_STRINGS" in caught.value.message
    assert "TRICHORD_HARP_LISTEN" in caught.value.message


def test_other_services_settings_are_not_looked_at(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRICHORD_HARPSICHORD_KEYS", "61")
    environment.setenv("TRICHORD_HOME", "here")
    assert HarpSettings.from_environment().num_strings == 47


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NUM_STRINGS", "many"),
        ("NUM_STRINGS", "0"),
        ("NUM_STRINGS", "61"),
        ("NUM_STRINGS", "1.5"),
        ("NUM_STRINGS", ""),
        ("MAX_MESSAGE_BYTES", "-1"),
        ("MAX_MESSAGE_BYTES", str(1 << 31)),
        ("MAX_CONCURRENT_RPCS", "0"),
        ("MAX_CONCURRENT_RPCS", str(1 << 31)),
        ("REFLECTION", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("LOG_LEVEL", "debug\n"),
        ("DRAIN_TIMEOUT_S", "-0.1"),
        ("DRAIN_TIMEOUT_S", "nan"),
        ("DRAIN_TIMEOUT_S", "inf"),
        ("DEFAULT_DEADLINE_S", "0"),
        ("DEFAULT_DEADLINE_S", "nan"),
        ("DEFAULT_DEADLINE_S", "inf"),
    ],
)
def test_a_bad_one_is_named_with_its_value(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(f"TRICHORD_HARP_{name}", value)
    with pytest.raises(SettingsError) as caught:
        HarpSettings.from_environment()
    assert caught.value.message.startswith(f"TRICHORD_HARP_{name}={value!r}: ")


def test_all_bad_ones_are_named_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRICHORD_HARP_NUM_STRINGS", "0")
    environment.setenv("TRICHORD_HARP_REFLECTION", "perhaps")
    environment.delenv("TRICHORD_HARP_CHECKPOINT")
    with pytest.raises(SettingsError) as caught:
        HarpSettings.from_environment()
    for name in ("NUM_STRINGS", "REFLECTION", "CHECKPOINT"):
        assert f"TRICHORD_HARP_{name}" in caught.value.message


@pytest.mark.usefixtures("environment")
def test_settings_do_not_change() -> None:
    settings = HarpSettings.from_environment()
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        settings.num_strings = 1


def test_a_models_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICHORD_MODEL_CHECKPOINT", "weights")
    monkeypatch.setenv("TRICHORD_MODEL_DTYPE", "bfloat16")
    settings = ModelSettings.from_environment()
    assert (settings.checkpoint, settings.dtype, settings.threads) == (Path("weights"), "bfloat16", 1)
    monkeypatch.setenv("TRICHORD_MODEL_DTYPE", "float8")
    with pytest.raises(SettingsError, match="TRICHORD_MODEL_DTYPE='float8'"):
        ModelSettings.from_environment()


@pytest.mark.parametrize("cls", [ServiceSettings, ModelSettings])
def test_every_setting_tells_its_meaning(cls: type[ServiceSettings]) -> None:
    assert all((field.description or "").endswith(".") for field in cls.model_fields.values())
