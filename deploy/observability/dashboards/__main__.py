"""Writes the dashboards into the chart; with ``--check``, says instead which of them differ, and fails."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploy.observability.dashboards import engine, grafana, jobs, modality, overview, scaling

DIRECTORY = Path(__file__).parents[2] / "helm" / "trichord" / "files" / "dashboards"
DASHBOARDS = (overview.DASHBOARD, modality.DASHBOARD, engine.DASHBOARD, scaling.DASHBOARD, jobs.DASHBOARD)


def files() -> dict[str, str]:
    """Every file's name and text."""
    return {f"{dashboard.uid}.json": grafana.text(dashboard) for dashboard in DASHBOARDS}


def differing(directory: Path) -> list[str]:
    """Names of files that are missing there, are others than ours, or should not be there."""
    there = {path.name: path.read_text() for path in directory.glob("*")}
    wanted = files()
    return sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if what is there differs")
    if parser.parse_args().check:
        wrong = differing(DIRECTORY)
        if wrong:
            print(
                f"{', '.join(wrong)}: not what deploy/observability/dashboards makes; run scripts/dashboards",
                file=sys.stderr,
            )
        return 1 if wrong else 0
    for name in differing(DIRECTORY):
        (DIRECTORY / name).unlink(missing_ok=True)
    for name, text in files().items():
        (DIRECTORY / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
