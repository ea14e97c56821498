"""docs/measurements.md: every bench owns the section between its two markers, and replaces it whole."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "measurements.md"
TITLE = "# Measurements\n"


def put(bench: str, section: str, page: Path = PAGE) -> None:
    """Replaces the section of ``bench``; a new one goes to the end. A page that is not there begins with a title."""
    begin, end = f"<!-- {bench}: begin -->\n", f"<!-- {bench}: end -->\n"
    text = page.read_text() if page.exists() else TITLE
    before, found, rest = text.partition(begin)
    after = rest.partition(end)[2] if found else ""
    gap = "" if found else "\n"
    page.write_text(f"{before}{gap}{begin}{section.strip()}\n{end}{after}")
