"""Starts a cluster, asks it in writing and in speech about an image and sounds, shows answers and receipts, stops.

Every step is a ``trichord`` command, printed before it runs: what a person would type.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from trichord.checkpoint.locate import config_of
from trichord.errors import TrichordError

MEDIA = Path(__file__).parent / "media"
NAME = "demo"
PORT = 7430  # beside a cluster that runs already
ASK = ("chat", "--target", f"127.0.0.1:{PORT}", "--max-tokens", "48", "--receipt")
SIGN = ("--image", str(MEDIA / "sign.png"))
QUESTIONS = (
    ("What is the capital of France?",),
    ("What number is in the picture?", *SIGN),
    ("Repeat what was said.", "--audio", str(MEDIA / "sentence.flac")),
    ("Answer the question.", "--audio", str(MEDIA / "question.flac")),
    ("", *SIGN, "--audio", str(MEDIA / "colour.flac")),
)


def trichord(*arguments: str) -> None:
    """Runs one command. Raises CalledProcessError if it fails; it has said why."""
    print(f"\n$ trichord {shlex.join(arguments)}", flush=True)
    subprocess.run([Path(sys.executable).parent / "trichord", *arguments], check=True)  # noqa: S603 - our own words


def main() -> None:
    """Runs the demo with the preset that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="demo", help="a checkpoint that is there")
    preset = parser.parse_args().preset
    print(config_of(preset).note)
    try:
        trichord("up", "--name", NAME, "--port", str(PORT), "--preset", preset)
        for question in QUESTIONS:
            trichord(*ASK, *question)
    finally:
        trichord("down", "--name", NAME)


if __name__ == "__main__":
    try:
        main()
    except TrichordError as error:
        raise SystemExit(error.message) from error
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None
