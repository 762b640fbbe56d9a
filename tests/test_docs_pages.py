"""What the docs show runs: each page's commands, in order, in a folder of its own, with a tiny web on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import docs_pages
import pytest
from docs_pages import DIRECTIVES, DOCS, PAGES, RUN, SHOWN, blocks, name

TUTORIAL = DOCS / "tutorial.md"
NOT_RUN = {
    "CONTRIBUTING.md": 2,
    "README.md": 2,
    "docs/how-to/audit.md": 1,
    "docs/how-to/crawl.md": 3,
    "docs/how-to/detectors.md": 1,
    "docs/how-to/grow.md": 1,
    "docs/how-to/images.md": 4,
    "docs/how-to/install.md": 2,
    "docs/how-to/lists.md": 1,
    "docs/how-to/object-storage.md": 1,
    "docs/how-to/other-tools.md": 1,
    "docs/how-to/own-list.md": 2,
    "docs/how-to/plan.md": 1,
    "docs/how-to/readers.md": 7,  # test_readers.py runs five where the library is installed
    "docs/how-to/shards.md": 2,
    "docs/how-to/view.md": 1,
    "docs/how-to/watch.md": 1,
    "docs/how-to/spark.md": 3,
    "docs/how-to/models.md": 5,
    "docs/how-to/near-duplicates.md": 2,
    "docs/how-to/train.md": 4,
    "docs/tutorial.md": 1,
}
"""Blocks of each page that a comment keeps from being run: a change here is seen by a reviewer."""

ONLY_SHOWN = {
    "docs/how-to/images.md": 1,  # what a summary of a fetch looks like
    "docs/how-to/shards.md": 1,  # what an export looks like
    "docs/how-to/models.md": 1,  # what becomes of a published list
    "docs/how-to/own-list.md": 1,  # test_docs.py runs it on the real list
    "docs/how-to/watch.md": 1,  # a query for Prometheus
}
"""Blocks that are neither run nor written as a file."""


def test_a_block_is_run_or_says_why_not() -> None:
    for page in PAGES:
        for block in blocks(page):
            where = f"{name(page)}:{block.line}"
            language = block.language.split(" ")[0]
            assert language in (*RUN, *SHOWN, *DIRECTIVES, "sh"), f"{where}: {language}"
            assert block.language != "sh" or block.not_run, (
                f"{where}: console runs; sh needs a comment that says why not"
            )
            assert block.language in (*RUN, "sh") or not block.not_run, where


def test_blocks_that_are_not_run_are_counted() -> None:
    counts = {name(page): sum(block.not_run is not None for block in blocks(page)) for page in PAGES}
    assert {page: count for page, count in counts.items() if count} == NOT_RUN


def test_what_is_only_shown_is_counted() -> None:
    counts = {
        name(page): sum(block.language in SHOWN and not docs_pages.file_of(block) for block in blocks(page))
        for page in PAGES
        if page != DOCS / "cli.md"  # generated
    }
    assert {page: count for page, count in counts.items() if count} == ONLY_SHOWN


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tutorial")
    docs_pages.run(TUTORIAL, folder)
    return folder


def test_the_tutorial_runs_and_prints_what_it_shows(tutorial: Path) -> None:
    assert (tutorial / "shards" / "manifest.json").exists()


@pytest.mark.parametrize("page", [page for page in PAGES if docs_pages.runs(page) and page != TUTORIAL], ids=name)
def test_a_page_runs_and_prints_what_it_shows(page: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    if docs_pages.after(page) is None:
        folder.mkdir()
    else:
        assert docs_pages.after(page) == TUTORIAL
        shutil.copytree(request.getfixturevalue("tutorial"), folder)
    docs_pages.run(page, folder)
