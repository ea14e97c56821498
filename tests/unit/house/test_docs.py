"""What the documents promise: links that lead somewhere, every reason of an error, every path of the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trichord import errors

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "TrichordError"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    targets = [link.partition("#")[0] for link in links if not link.startswith(("http://", "https://", "#"))]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_has_its_row(cls: type[errors.TrichordError]) -> None:
    code = "never sent" if issubclass(cls, errors.StartupError) else cls.code.name
    assert f"\n| `{cls.reason}` | {code} | `{cls.__name__}` | " in (ROOT / "docs" / "api.md").read_text()


def test_every_row_is_an_error() -> None:
    rows = re.findall(
        r"^\| `[A-Z_]+` \| [A-Za-z_ ]+ \| `(\w+)` \|", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE
    )
    assert sorted(rows) == sorted(cls.__name__ for cls in CLASSES)


def test_the_tree_in_the_readme_is_the_tree() -> None:
    tree = (ROOT / "README.md").read_text().partition("## The tree\n")[2].split("```")[1]
    paths = [line.split()[0] for line in tree.strip().splitlines()]
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).is_dir()] == []


def test_every_decision_has_its_drawbacks() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [page.name[:4] for page in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    assert [page.name for page in decisions if "**Drawbacks.**" not in page.read_text()] == []
