"""Images on both engines: the same statuses, tars and measurements, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import tree
from onnx_models import magenta_model

from align_data.common.progress import Silent
from align_data.content.plan import Sight
from align_data.data.layout import Dataset
from align_data.data.references import give_blocklist, give_evaluation
from align_data.decoding.detectors.nsfw import NsfwModel
from align_data.decoding.inspected import Smaller
from align_data.engines.base import Engine
from align_data.engines.local import LocalEngine
from align_data.fetching.client import Policy
from align_data.fetching.guard import Guard
from align_data.fetching.keeping import Keeping
from align_data.fetching.limits import Limits
from align_data.recipes.reading import load
from align_data.report import audit_html
from align_data.stages.audit import SweepRequest, survey, sweep
from align_data.stages.eval_index import index
from align_data.stages.export import Form, How, Split, export
from align_data.stages.fetch import fetch
from align_data.stages.ingest import Parts, ingest
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger, measure_images
from align_data.storage.store import Store

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))
from tiny_server import serve  # noqa: E402

pytestmark = pytest.mark.spark
pytest.importorskip("pyspark")
TABLES = ("images", "bytes", "content", "measured", "verdicts", "shards")


def job(out: Path, source: Path, engine: Engine) -> dict[str, bytes]:
    """Run all stages on a drawn web, in several parts and small chunks."""
    dataset, decision = Dataset(Store(out)), Decision(load("align"), ["rarest_ngram.ge=3"])
    ingest([str(source / "pairs.parquet")], dataset, engine, Silent(), parts=Parts(rows=200))
    measure(dataset, engine, Silent(), ["n_words", "images_per_text", "texts_per_image", "rarest_ngram"])
    decide_ledger(decision, dataset, engine, Silent())
    policy = Policy(guard=Guard.of(["127.0.0.0/8"]))
    report = fetch(dataset, "align", policy, Limits(per_host=8), engine, Silent(), chunk=50)
    assert report.outcomes["ok"] > 100
    give_evaluation(dataset, str(source / "evaluation.parquet"))
    give_blocklist(dataset, str(source / "block.txt"))
    sight = Sight(nsfw=NsfwModel(str(source / "magenta.onnx"), None), only_open="align", chunk=30)
    measure(dataset, engine, Silent(), sight=sight)
    decide_ledger(decision, dataset, engine, Silent())
    form = Form(shard_size=30, how=How("shortest", 64), splits=(Split("val", 0.2),))
    shards = Store(out / "shards")
    assert export(dataset, "align", shards, form, engine, Silent(), drop_pending=True).pairs > 50
    counted = survey(dataset, "align", engine, Silent())
    swept = sweep(dataset, "align", SweepRequest("min_side", [100, 200, 300]), engine, Silent(), moved=5)
    page = audit_html(counted, dataset, Silent())
    return tree(out, *TABLES) | {"page": page.encode(), "sweep": repr(swept.to_json()).encode()}


def one_pass(out: Path, source: Path, engine: Engine) -> dict[str, bytes]:
    """Fetch, look and keep in one pass, what no rule fails; then export it."""
    dataset, decision = Dataset(Store(out)), Decision(load("align"), ["rarest_ngram.ge=3"], ["nsfw"])
    ingest([str(source / "pairs.parquet")], dataset, engine, Silent(), parts=Parts(rows=200))
    give_evaluation(dataset, str(source / "evaluation.parquet"))
    measure(dataset, engine, Silent(), ["n_words", "images_per_text", "texts_per_image", "rarest_ngram"])
    decide_ledger(decision, dataset, engine, Silent())
    policy, sight = Policy(guard=Guard.of(["127.0.0.0/8"])), Sight(chunk=30)
    limits, keeping = Limits(per_host=8), Keeping(Smaller(64))
    more = {"sight": sight, "keeping": keeping, "drop_failing": True}
    report = fetch(dataset, "align", policy, limits, engine, Silent(), chunk=50, **more)
    assert report.outcomes["ok"] > 50 < report.outcomes["not_kept"]
    measure_images(dataset, engine, Silent(), sight)
    decide_ledger(decision, dataset, engine, Silent())
    form = Form(shard_size=30, how=How("shortest", 64))
    assert export(dataset, "align", Store(out / "shards"), form, engine, Silent(), drop_pending=True).pairs > 50
    return tree(out, *TABLES)


@pytest.mark.parametrize("job", [job, one_pass])
def test_both_engines_fetch_and_measure_the_same_bytes(
    tmp_path: Path, spark: Engine, job: Callable[..., dict[str, bytes]]
) -> None:
    web = tmp_path / "web"
    with serve(web) as base:
        script = str(ROOT / "examples" / "tiny_web.py")
        arguments = ["--out", str(web), "--images", "400", "--seed", "3", "--pictures", base]
        subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True)
        magenta_model(web / "magenta.onnx")
        (web / "block.txt").write_text("host 127.0.0.2\nphash 0123456789abcdef 20\n")
        index([str(web / "evaluation")], str(web / "evaluation.parquet"), 2, Silent())
        local = job(tmp_path / "local", web, LocalEngine(tmp_path / "work", 2))
        distributed = job(tmp_path / "spark", web, spark)
    assert local.keys() == distributed.keys()
    assert [name for name in local if local[name] != distributed[name]] == []
    assert sum(name.endswith(".tar") for name in local) > 4
