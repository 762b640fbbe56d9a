"""The commands that are tortured, a line each. They run in a folder beside `web`, see `world.py`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command of align-data by a name that says what is special about it."""

    name: str
    line: str
    says_what_it_did: bool = False
    """Whether its JSON tells what it did rather than what is so: where something was to be mended, it says otherwise."""
    model: bool = False
    """Whether it needs the extra train, and so many seconds."""

    @property
    def arguments(self) -> list[str]:
        """The command's words."""
        return shlex.split(self.line)


_ALIGN = "--recipe align --set rarest_ngram.ge=2 --without nsfw"
_LOOSE = "--recipe align --set n_words.between=1,40 --without nsfw,rarest_ngram,eval_distance --as loose"
_FETCH = "--allow-network 127.0.0.0/8 --per-host 8 --chunk 10"
_EXPORT = "export dataset --recipe loose --pending drop"

STAGES = (
    Command("ingest", "ingest ../web/pairs.parquet --out dataset --part-rows 40"),
    Command("measure", "measure dataset"),
    Command("measure-list", "measure dataset --list shapes=../web/shapes.txt --match padded"),
    Command("run", "run ../web/pairs.parquet --recipe align --out again"),
    Command("fetch", f"fetch dataset --all {_FETCH}"),
    Command("fetch-keep", f"fetch again --recipe align --keep 48 --drop-failing {_FETCH}"),
    Command("eval-index", "eval-index ../web/evaluation --out index.parquet"),
    Command("measure-images", "measure dataset --eval-index index.parquet --chunk 10"),
    Command("filter", f"filter dataset {_ALIGN}"),
    Command("filter-loose", f"filter dataset {_LOOSE}"),
    Command("export-tars", f"{_EXPORT} --out tars --shard-size 9 --split val=0.3"),
    Command("export-parquet", f"{_EXPORT} --out parquet --format parquet --shard-size 9"),
    Command("export-metadata", f"{_EXPORT} --out metadata --format metadata"),
    Command("export-uids", f"{_EXPORT} --out uids --format uids"),
    Command("ingest-img2dataset", "ingest --from img2dataset ../web/img2dataset --out adopted --part-rows 5"),
    Command("measure-adopted", "measure adopted"),
    Command("filter-adopted", f"filter adopted {_LOOSE}"),
    Command("train", "train tars/train --out model --samples 48 --batch 8 --checkpoint 2 --threads 1", model=True),
    Command("score", "score model dataset --as base", model=True),
    Command("embed", "embed model dataset --as vectors --texts", model=True),
    Command("score-embedded", "score vectors dataset", model=True),
    Command("neighbours", "neighbours vectors dataset --threshold 0.99", model=True),
    Command("calibrate", "calibrate vectors dataset --false-pairs 100000", model=True),
    Command("neighbours", "neighbours vectors dataset --threshold 0.9", model=True),
    Command("takedown", "takedown dataset --urls ../web/removals.txt"),
    Command(
        "takedown-shards", "takedown dataset --uids ../web/uids.txt --shards tars --shards parquet --shards metadata"
    ),
    Command("crawl", "crawl ../web/warc ../web/wat --out rows"),
)
"""What is killed, in an order in which each finds what it needs."""

WHOLE = "takedown"
"""The stage before which all files are there that are damaged."""

READERS = (
    Command("ingest again", "ingest ../web/pairs.parquet --out dataset --part-rows 40 --json", says_what_it_did=True),
    Command("measure", "measure dataset --json", says_what_it_did=True),
    Command(
        "measure list",
        "measure dataset --list shapes=../web/shapes.txt --match padded --json",
        says_what_it_did=True,
    ),
    Command("measure index", "measure dataset --eval-index index.parquet --json", says_what_it_did=True),
    Command("fetch", f"fetch dataset --all {_FETCH} --json", says_what_it_did=True),
    Command("filter", f"filter dataset {_ALIGN} --as again --json"),
    Command("audit", "audit dataset --recipe align --examples 3 --json"),
    Command("audit page", "audit dataset --recipe align --html page.html --json"),
    Command("sweep", "sweep dataset --recipe align --signal n_words --values 2,3,5 --json"),
    Command("sweep vocabulary", "sweep dataset --recipe align --signal rarest_ngram --values 2,3 --moved 3 --json"),
    Command("diff", "diff dataset align loose --json"),
    Command("compare", "compare dataset again --recipe align --json"),
    Command("why", "why dataset --recipe align --text 'alt img' --json"),
    Command("export tars", f"{_EXPORT} --out anew --shard-size 9 --json"),
    Command("export cropped", f"{_EXPORT} --out anew --shard-size 9 --resize crop --size 64 --format parquet --json"),
    Command("export metadata", f"{_EXPORT} --out anew --format metadata --json"),
    Command("export uids", f"{_EXPORT} --out anew --format uids --json"),
    Command("score", "score model dataset --as other --json", model=True),
    Command("embed", "embed model dataset --as vectors --json", model=True),
    Command("score embedded", "score vectors dataset --as again --json", model=True),
    Command("neighbours", "neighbours vectors dataset --threshold 0.9 --json", model=True),
    Command("calibrate", "calibrate vectors dataset --false-pairs 100000 --json", model=True),
    Command("evaluate", "evaluate model tars/val --json", model=True),
    Command("search", "search model tars/val --text 'a red circle' --json", model=True),
    Command("verify tars", "verify tars --json"),
    Command("verify parquet", "verify parquet --json"),
    Command("verify metadata", "verify metadata --json"),
    Command("verify uids", "verify uids --json"),
    Command("takedown", "takedown dataset --urls ../web/removals.txt --json"),
    Command("takedown dry", "takedown dataset --uids ../web/uids.txt --shards tars --dry-run --json"),
    Command("takedown shards", "takedown dataset --uids ../web/uids.txt --shards tars --shards parquet --json"),
)
"""What reads files that are damaged."""


def but_models(commands: Sequence[Command], models: bool = False) -> list[Command]:
    """Return the commands that need no model, or all with `models`."""
    return [command for command in commands if models or not command.model]
