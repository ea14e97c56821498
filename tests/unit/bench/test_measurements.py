from pathlib import Path

from bench.measurements import put


def test_a_section_is_appended_once_and_then_replaced(tmp_path: Path):
    page = tmp_path / "measurements.md"
    put("one", "## First", page)
    put("two", "## Second\n", page)
    before = page.read_text()
    put("one", "## First, again", page)
    assert before.replace("## First", "## First, again") == page.read_text()
    assert page.read_text() == (
        "# Measurements\n\n"
        "<!-- one: begin -->\n## First, again\n<!-- one: end -->\n\n"
        "<!-- two: begin -->\n## Second\n<!-- two: end -->\n"
    )


def test_what_stands_around_a_section_stays(tmp_path: Path):
    page = tmp_path / "measurements.md"
    page.write_text("# Title\n\ntext\n")
    put("one", "## First", page)
    page.write_text(page.read_text() + "more\n")
    put("one", "## Second", page)
    assert page.read_text() == "# Title\n\ntext\n\n<!-- one: begin -->\n## Second\n<!-- one: end -->\nmore\n"
