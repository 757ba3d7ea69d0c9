"""The links and paths that the Markdown pages name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(page for folder in (".", "docs", "benchmarks") for page in (ROOT / folder).glob("*.md"))
NAMED = sorted({ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")})


def anchors(page: Path) -> set[str]:
    """What a link to the page may end in: GitHub's anchors of the headings, and named ones."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings} | set(
        re.findall(r'<a name="([^"]+)">', text)
    )


def links(page: Path) -> list[str]:
    """The relative links and images of a page."""
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return [link for link in found if "://" not in link]


def broken(page: Path) -> list[str]:
    """Links of a page to a file or a heading that does not exist."""
    found = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_docs_links_resolve(page):
    assert broken(page) == []


def test_docs_check_of_links_finds_broken_ones(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A title, here\n[a](#a-title-here) [b](page.md#none) [c](gone.md) [d](https://example.org)\n")
    assert broken(page) == ["page.md#none", "gone.md"]


@pytest.mark.parametrize("page", NAMED, ids=lambda page: page.name)
def test_docs_paths_exist(page):
    named = re.findall(r"\b(?:rra_monitor|integrations|tests|docs|benchmarks|examples)/[\w./-]*\w", page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_docs_pages_are_all_listed_in_the_readme():
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / "README.md")}
    assert [page.name for page in (ROOT / "docs").glob("*.md") if page.resolve() not in linked] == []
