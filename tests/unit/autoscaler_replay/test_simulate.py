"""``trichord simulate`` as people run it, on traces of a minute."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from autoscaler.replay import trace
from autoscaler.replay.trace import Arrival
from trichord_cli.main import app

SHORT = ("--generate", "constant", "--peak-per-s", "2", "--duration-s", "60", "--profile", "megrez-3b-omni-l4")
SCALERS = ["static", "hpa-busy", "hpa-slots", "trichord"]


def simulate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


def test_every_scaler_has_its_rows():
    told = json.loads(simulate(*SHORT, "--json").stdout)
    assert told["simulated"] is True
    assert [run["scaler"] for run in told["runs"]] == SCALERS
    for run in told["runs"]:
        rows = [run[name] for name in ("vision", "audio", "decoder")]
        assert sum(row["gpu_hours"] for row in rows) == pytest.approx(run["all"]["gpu_hours"])
        assert run["all"]["requests"] == told["runs"][0]["all"]["requests"] > 50


def test_a_table_says_that_it_is_simulated():
    table = simulate(*SHORT).stdout
    assert "Simulated" in table
    assert all(scaler in table for scaler in SCALERS)


def test_a_size_is_an_answer():
    assert json.loads(simulate(*SHORT, "--size", "--attainment", "0.9", "--json").stdout) == {
        "attainment": 0.9,
        "replicas": {"vision": 1, "audio": 1, "decoder": 1},
    }
    assert simulate(*SHORT, "--size", "--attainment", "0.9").stdout == (
        "1 vision, 1 audio, 1 decoder keep the SLO for 90 % of this trace (simulated).\n"
    )


def test_a_file_is_read_and_pictures_are_drawn(tmp_path):
    path = tmp_path / "mine.csv"
    trace.write([Arrival(0.5 * k, k % 2, k % 2, 0.0, 100, 20) for k in range(80)], path)
    told = json.loads(simulate(path, "--sweep", "--json", "--plots", tmp_path / "plots").stdout)
    assert set(told["summary"]["gpu_hours_at_attainment"]) == set(SCALERS)
    for name in ("replicas.png", "curves.png"):
        picture = (tmp_path / "plots" / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 200_000


WRONG = {
    "nothing": ((), "either a trace or --generate"),
    "an unknown shape": (("--generate", "sawtooth"), "none of constant"),
    "too much": (("--generate", "constant", "--peak-per-s", "10000", "--duration-s", "864000"), "more than 5000000"),
    "shares above one": ((*SHORT, "--mix", "0.9,0.2,0"), "three shares"),
    "shares that are none": ((*SHORT, "--mix", "nan,0,0"), "three shares"),
    "no such profile": ((*SHORT[:6], "--profile", "abacus"), "no latency profile 'abacus'"),
    "no such file": (("none.csv",), "Trace none.csv cannot be read"),
}


@pytest.mark.parametrize(("arguments", "sentence"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_a_sentence(arguments, sentence):
    result = simulate(*arguments)
    assert result.exit_code != 0
    said = " ".join(result.output.replace("│", " ").split())
    assert sentence in said
    assert "Traceback" not in said
