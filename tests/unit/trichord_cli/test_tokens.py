"""``trichord tokens``: the figures of the report's rules, before anything is sent."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner, Result

from trichord_cli.main import app


@pytest.fixture(autouse=True)
def _no_checkpoints(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICHORD_HOME", str(tmp_path))


def tokens(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["tokens", *arguments])


def test_the_reports_image_and_a_sound() -> None:
    result = tokens("--image", "720x1480", "--audio", "12.5", "--preset", "megrez-3b-omni", "--json")
    assert json.loads(result.stdout) == {
        "model": "megrez-3b-omni",
        "images": [
            {
                "image": "720x1480",
                "grid": {"cols": 2, "rows": 3},
                "slice": {"width": 378, "height": 518},
                "global": {"width": 308, "height": 644},
                "tiles": 7,
                "patches": 7006,
                "tokens": 448,
            }
        ],
        "audio": [{"seconds": 12.5, "windows": 1, "tokens": 314}],
        "tokens": 762,
    }


def test_options_repeat_in_order_and_add_up() -> None:
    media = ["--image", "64x64", "--image", "3000x300", "--audio", "30", "--audio", "0.5", "--audio", "61"]
    told = json.loads(tokens(*media, "--preset", "smol", "--json").stdout)
    assert [image["tokens"] for image in told["images"]] == [64, 448]
    assert told["images"][0]["grid"] is None
    assert [(sound["windows"], sound["tokens"]) for sound in told["audio"]] == [(1, 752), (1, 14), (3, 752 + 752 + 27)]
    assert told["tokens"] == 64 + 448 + 752 + 14 + 1531


def test_presets_differ() -> None:
    assert json.loads(tokens("--image", "720x1480", "--preset", "tiny", "--json").stdout)["tokens"] == 16 * 9


def test_for_people() -> None:
    media = ["--image", "720x1480", "--image", "9x9", "--audio", "12.5"]
    assert tokens(*media, "--preset", "smol").stdout.splitlines() == [
        "image 720x1480: 2x3 slices of 378x518, global 308x644, 7006 patches, 448 tokens",
        "image 9x9: global 448x448, 1024 patches, 64 tokens",
        "audio 12.5 s: 1 windows, 314 tokens",
        "826 tokens in all",
    ]


def test_without_a_preset_it_is_the_default_model() -> None:
    assert json.loads(tokens("--image", "720x1480", "--image", "9x9", "--json").stdout)["model"] == "demo"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "at least one"),
        (["--image", "7"], "not WIDTHxHEIGHT"),
        (["--image", "-1x5"], "not WIDTHxHEIGHT"),
        (["--audio", "long"], "--audio"),
        (["--audio", "1e300"], "--audio"),
        (["--audio", "nan"], "--audio"),
        (["--image", "0x5"], "1 to 16384 pixels"),
        (["--image", "99999x5"], "1 to 16384 pixels"),
        (["--audio", "0.01"], "shorter than 30 ms"),
        (["--audio", "1", "--preset", "gpt"], "tiny, smol, demo, megrez-3b-omni"),
    ],
)
def test_what_makes_no_sense_is_said(arguments: list[str], words: str) -> None:
    result = tokens(*arguments)
    assert result.exit_code in (1, 2)
    assert words in " ".join(result.stderr.split())
    assert result.stdout == ""
