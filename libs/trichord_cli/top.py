"""``trichord top``: what a cluster does right now, by modality. Edge only: asks for pages of metrics, over and over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer

from trichord.errors import TrichordError, UnavailableError
from trichord_cli.cluster import DEFAULT_NAME, Name, running

if TYPE_CHECKING:
    from trichord_cli.metrics_page import Page
    from trichord_cli.top_rates import Rates

Pages = Mapping[str, str]
"""URLs of pages of metrics by what they are called."""

TIMEOUT_S = 3.0
MAX_PAGE_BYTES = 8 << 20


def top(
    interval_s: Annotated[float, typer.Option("--interval", min=0.2, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look twice, print, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one object a look.")] = False,
    urls: Annotated[
        list[str] | None, typer.Option("--url", help="A /metrics page; may be repeated. By default the cluster's.")
    ] = None,
    name: Name = DEFAULT_NAME,
) -> None:
    """Show what goes on, until Ctrl-C: requests, tokens, tiles, seconds of sound, queues, caches, replicas."""
    looks = _looks(_finder(urls, name), interval_s)
    try:
        if as_json:
            for rates, silent in looks:
                typer.echo(json.dumps({**rates.as_dict(), "silent": list(silent)}))
                if once:
                    return
        else:
            _show(looks, once)
    except KeyboardInterrupt:
        return


def _show(looks: Iterator[tuple[Rates, Sequence[str]]], once: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from trichord_cli.top_view import view

    console = Console()
    if once:
        console.print(view(*next(looks)))
        return
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        live.update("Looking ...", refresh=True)
        for rates, silent in looks:
            live.update(view(rates, silent), refresh=True)


def _looks(find: Callable[[], Pages], interval_s: float) -> Iterator[tuple[Rates, Sequence[str]]]:
    """Rates and the names of those that do not answer, for ever. Raises UnavailableError if none answers at first."""
    from trichord_cli.metrics_page import Change
    from trichord_cli.top_rates import rates

    with ThreadPoolExecutor(max_workers=8) as threads:
        before, before_s = _look(find(), threads), time.monotonic()
        if not before:
            raise UnavailableError("No page of metrics answers. Is the cluster up? See: trichord status")
        while True:
            time.sleep(interval_s)
            pages = find()
            after, after_s = _look(pages, threads), time.monotonic()
            yield rates(Change.between(before, after, after_s - before_s)), sorted({*pages} - {*after})
            before, before_s = after, after_s


def _look(pages: Pages, threads: ThreadPoolExecutor) -> dict[str, Page]:
    """The pages that answer, by name."""
    found = zip(pages, threads.map(_page, pages.values()), strict=True)
    return {name: page for name, page in found if page is not None}


def _page(url: str) -> Page | None:
    import httpx2

    from trichord_cli.metrics_page import parse

    text = bytearray()
    try:
        with httpx2.stream("GET", url, timeout=TIMEOUT_S, trust_env=False) as response:
            response.raise_for_status()
            for part in response.iter_bytes():
                text += part
                if len(text) > MAX_PAGE_BYTES:
                    return None
        return parse(text.decode(errors="replace"))
    except (httpx2.HTTPError, httpx2.InvalidURL, TrichordError):
        return None


def _finder(urls: Sequence[str] | None, name: str) -> Callable[[], Pages]:
    """What looks for the pages: those that were told, or those of a cluster, whose replicas come and go."""
    if urls:
        return lambda: {url: url for url in urls}
    cluster = running(name).spec.name
    return lambda: _pages_of(cluster)


def _pages_of(cluster: str) -> Pages:
    """Pages of a local cluster's processes by their names. A Triton's is part of its front's."""
    return {
        process.name: f"http://127.0.0.1:{process.metrics_port}/metrics"
        for process in running(cluster).processes
        if process.metrics_port and not process.name.endswith("-triton")
    }
