"""Archives on Spark: the same tables and accounts, byte for byte, a task an archive."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import tree
from evil_crawler import archive
from made_archives import make_archives
from test_crawl import EVIL

from align_data.common.progress import Silent
from align_data.engines.base import Engine
from align_data.engines.local import LocalEngine
from align_data.engines.spark import SparkEngine
from align_data.sources.crawl.inputs import ArchiveSelection
from align_data.sources.crawl.settings import CrawlSettings
from align_data.stages.crawl import CrawlReport, crawl
from align_data.storage.store import Store

pytestmark = pytest.mark.spark
pytest.importorskip("pyspark")


def crawled(inputs: Path, out: Path, engine: Engine, settings: CrawlSettings) -> CrawlReport:
    return crawl([str(inputs)], ArchiveSelection(), Store(out), engine, Silent(), settings)


def test_spark_writes_the_same_bytes(tmp_path: Path, spark: SparkEngine) -> None:
    for number in range(3):
        make_archives(tmp_path / "in" / str(number), 15, seed=number, name=f"{number}.warc.gz")
    (tmp_path / "in" / "cut.warc.gz").write_bytes((tmp_path / "in" / "0" / "0.warc.gz").read_bytes()[:-300])
    (tmp_path / "in" / "html.warc.gz").write_bytes(b"<html>not here</html>" * 20)
    reports = []
    for name, engine in (("local", LocalEngine(tmp_path / "work", 2)), ("spark", spark)):
        reports.append(crawled(tmp_path / "in", tmp_path / name, engine, CrawlSettings()))
    assert reports[0] == reports[1]
    assert reports[0].total.archives == 7
    assert [each.name for each in reports[0].total.unread] == ["html.warc.gz"]
    assert tree(tmp_path / "spark") == tree(tmp_path / "local")


def test_spark_goes_on_behind_a_page_that_ends_its_process(tmp_path: Path, spark: SparkEngine) -> None:
    pages = [b"images=2"] * 9 + [b"crash"] + [b"images=3"] * 5
    (tmp_path / "in").mkdir()
    for number in range(2):
        (tmp_path / "in" / f"{number}.warc.gz").write_bytes(archive(pages))
    for name, engine in (("local", LocalEngine(tmp_path / "work", 2)), ("spark", spark)):
        report = crawled(tmp_path / "in", tmp_path / name, engine, EVIL)
        assert report.total.account.skipped == {"page_crashed": 2}
    assert tree(tmp_path / "spark") == tree(tmp_path / "local")
