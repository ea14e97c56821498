"""Draws the dashboards from a cluster that it starts, whose models only wait, under a load of some minutes.

With ``--url``, from a Prometheus that runs already. Tells which panels have no data, which rules
fail, and which alerts are on.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.observability.dashboards import grafana
from deploy.observability.dashboards.__main__ import DASHBOARDS
from deploy.observability.preview import load
from deploy.observability.preview.answers import Prometheus, Window, prometheus
from deploy.observability.preview.drawing import draw
from deploy.observability.preview.scraping import INTERVAL_S, keep_targets, scraping
from local_cluster.topology import HTTP_PORT_OFFSET

NAME, PORT, PROMETHEUS = "preview", 7800, "127.0.0.1:7890"
NUM_POINTS = 40
"""Scrapes that a picture shows."""
LOAD_S = NUM_POINTS * INTERVAL_S
FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]
IMAGES = ROOT / "docs" / "images"


def main() -> None:
    """Draws, and tells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="of a Prometheus that scrapes a cluster already")
    parser.add_argument("--into", type=Path, default=IMAGES, help="folder of the pictures")
    parser.add_argument("--interval", type=int, default=INTERVAL_S, help="seconds between two scrapes of it")
    arguments = parser.parse_args()
    if arguments.url:
        _told(arguments.url, arguments.interval, arguments.into)
        return
    with tempfile.TemporaryDirectory() as folder, _cluster(), scraping(Path(folder), PROMETHEUS) as url:
        asyncio.run(_loaded(Path(folder)))
        _told(url, INTERVAL_S, arguments.into)


def draw_all(server: Prometheus, interval_s: int, folder: Path) -> None:
    """A picture of each dashboard, of the last scrapes; on stdout, which panels have no data."""
    end_s = int(time.time()) // interval_s * interval_s
    window = Window(end_s - NUM_POINTS * interval_s, end_s, interval_s)
    for dashboard in DASHBOARDS:
        model = grafana.model(dashboard)
        chosen = {choice.name: choice.options[0][1] for choice in dashboard.choices}
        answers = list(server.answers(model, window, chosen))
        draw(model, answers, window, folder / f"dashboard-{dashboard.uid.removeprefix('trichord-')}.png")
        empty = [one.panel["title"] for one in answers if one.panel["type"] != "row" and one.is_empty]
        print(f"{dashboard.title}: without data: {', '.join(empty) or 'none'}")


def tell_rules(server: Prometheus) -> None:
    """On stdout: how many there are, which fail, and which alerts are on."""
    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    print(f"{len(rules)} rules; failing: {[rule['name'] for rule in rules if rule['health'] == 'err'] or 'none'}")
    for alert in server.get("alerts")["alerts"]:
        print(f"{alert['state']}: {alert['labels']}")


def _told(url: str, interval_s: int, folder: Path) -> None:
    with prometheus(url, interval_s) as server:
        draw_all(server, interval_s, folder)
        tell_rules(server)


async def _loaded(folder: Path) -> None:
    targets = asyncio.create_task(keep_targets(NAME, folder))
    await load.run(f"127.0.0.1:{PORT}", f"http://127.0.0.1:{PORT + HTTP_PORT_OFFSET}", LOAD_S)
    targets.cancel()


@contextmanager
def _cluster() -> Iterator[None]:
    os.environ.update(load.SETTINGS)
    # A decoder as on a GPU, encoders as on CPUs: those are what the waves of media need more of.
    simulation = ["--preset", "megrez-3b-omni", "--simulation", str(ROOT / "bench" / "waking.yaml")]
    scaling = ["--autoscale", "--max-replicas", "3", "--rules", str(FOLDER / "scaling.yaml")]
    try:
        _trichord("up", "--name", NAME, "--port", str(PORT), "--jobs", *simulation, *scaling)
        yield
    finally:
        _trichord("down", "--name", NAME)


def _trichord(*arguments: str) -> None:
    subprocess.run([Path(sys.executable).parent / "trichord", *arguments], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
