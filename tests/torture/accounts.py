"""Accounts: the fate of every row of hostile lists is known; ingest's account, tables, ledger and audit are counted anew."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import oracle
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from hostile_texts import HOSTILE

from align_data.signals.script import SCRIPTS
from torture.process import Ended, run
from torture.trials import Outcome

RULES: Sequence[oracle.Rule] = (
    ("n_words", "n_words", "between", [2, 4]),
    ("images_per_text", "images_per_text", "le", 2),
    ("texts_per_image", "texts_per_image", "le", 3),
    ("rarest_ngram", "rarest_ngram", "ge", 2),
    ("rows_per_text", "rows_per_text", "le", 2),
    ("min_side", "min_side", "gt", 200),
    ("aspect", "aspect", "lt", 3),
    ("script", "script", "in", ["Latin", "Han"]),
    ("n_chars", "n_chars", "ge", 3),
    ("n_words_whitespace", "n_words_whitespace", "ge", 1),
    ("nsfw", "nsfw", "lt", 0.5),
)
_LIKE = "name: counted\nrules:\n" + "".join(
    f"  - {{name: {name}, signal: {signal}, {op}: {json.dumps(value)}}}\n" for name, signal, op, value in RULES
)
NOT_UTF8 = "\udcff"
"""Stands for a byte that is not UTF-8."""
_BAD_URLS = (None, "", " ", "/a.png", "data:image/png;base64,xx", "ftp://a/1", "http://", "http://a\0b/1")
_WORDS = ("a", "A", "b", "b-c", "don't", "Don’t", "é", "日本", "1", "İ", "", '"', 'say "x"', ",", ";")
_SIZES = (None, 1, 200, 201, 600)


def _row(chance: Random) -> oracle.Row:
    """Return a row; equal ones are frequent, and some are no pairs."""
    host, path = chance.choice(("a.example", "B.example:8080", "u:p@c.example")), chance.choice(("/x", "?q=a@b", "#f"))
    url = f"{chance.choice(('http', 'https', 'HTTP'))}://{host}{path}/{chance.randrange(6)}"
    words = " ".join(chance.choices(_WORDS, k=chance.randrange(7)))
    text = "".join(chance.choices(HOSTILE, k=chance.randrange(30))) if chance.random() < 0.3 else words
    return {
        "url": url if chance.random() < 0.9 else chance.choice(_BAD_URLS),
        "alt_text": None if chance.random() < 0.05 else text + NOT_UTF8 * (chance.random() < 0.03),
        "declared_width": chance.choice(_SIZES),
        "declared_height": chance.choice(_SIZES),
        "page_url": chance.choice((None, "", "http://p/1", "http://p/é")),
        "declared_language": chance.choice((None, "en", "de")),
        "license": chance.choice((None, "cc0")),
        "source_uid": chance.choice((None, "1", "10", "2")),
    }


# --- how each format says rows ---


@dataclass(frozen=True)
class Format:
    """A format of lists: how its bytes are made, what its values cannot hold, and a row that is none in it."""

    encode: Callable[[Sequence[oracle.Row | None]], bytes]
    cannot_hold: str = ""
    ragged: bool = True
    """Whether None among the rows can stand for a line that is no row."""


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _csv(rows: Sequence[oracle.Row | None]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        writer.writerow(["too", "few"] if row is None else row.values())
    return _encoded(file.getvalue())


def _tsv(rows: Sequence[oracle.Row | None]) -> bytes:
    lines = [
        "too\tfew" if row is None else "\t".join("" if v is None else str(v) for v in row.values()) for row in rows
    ]
    return _encoded("".join(f"{line}\n" for line in ["\t".join(_COLUMNS), *lines]))


def _jsonl(rows: Sequence[oracle.Row | None]) -> bytes:
    return _encoded("".join(json.dumps(["no", "row"] if r is None else r, ensure_ascii=False) + "\n" for r in rows))


def _parquet(rows: Sequence[oracle.Row | None]) -> bytes:
    file = io.BytesIO()
    pq.write_table(_typed(rows), file, row_group_size=17)
    return file.getvalue()


def _arrow(rows: Sequence[oracle.Row | None]) -> bytes:
    file, table = io.BytesIO(), _typed(rows)
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=17)
    return file.getvalue()


def _typed(rows: Sequence[oracle.Row | None]) -> pa.Table:
    columns = {name: [row[name] for row in rows if row is not None] for name in _COLUMNS}
    texts = [value if value is None else _encoded(value) for value in columns["alt_text"]]
    sizes = {name: pa.array(columns[name], pa.int32()) for name in ("declared_width", "declared_height")}
    return pa.table({**columns, **sizes, "alt_text": pa.array(texts, pa.binary())})


_COLUMNS = tuple(_row(Random(0)))
FORMATS: Mapping[str, Format] = {
    "csv": Format(_csv, cannot_hold="\r\n"),
    "tsv": Format(_tsv, cannot_hold="\r\n\t"),
    "jsonl": Format(_jsonl),
    "parquet": Format(_parquet, ragged=False),
    "arrow": Format(_arrow, ragged=False),
}


@dataclass
class _Truth:
    """What is in the lists: rows that can be read, and those that cannot, by file, number and reason."""

    rows: list[oracle.Row] = field(default_factory=list)
    rejected: list[tuple[str, int, str]] = field(default_factory=list)

    def add(self, file: str, number: int, row: oracle.Row | None) -> None:
        """Add a row of a file."""
        reason = "bad_row" if row is None else _unreadable(row) or oracle.reject_reason(row["url"], row["alt_text"])
        if reason is None:
            assert row is not None
            self.rows.append(row)
        else:
            self.rejected.append((file, number, reason))


def _unreadable(row: oracle.Row) -> str | None:
    return "invalid_utf8" if NOT_UTF8 in (row["alt_text"] or "") else None


def _write_lists(folder: Path, chance: Random) -> _Truth:
    """Write a few lists."""
    truth, pool = _Truth(), [_row(chance) for _ in range(chance.randint(1, 120))]
    for number in range(chance.randint(1, 3)):
        name = chance.choice(list(FORMATS))
        form, file = FORMATS[name], f"{number}.{name}"
        held = str.maketrans("", "", form.cannot_hold)
        rows: list[oracle.Row | None] = [
            None
            if form.ragged and chance.random() < 0.02
            else {k: v.translate(held) if isinstance(v, str) else v for k, v in chance.choice(pool).items()}
            for _ in range(chance.randint(1, 150))
        ]
        (folder / file).write_bytes(form.encode(rows))
        for place, row in enumerate(rows, 1):
            truth.add(file, place, row)
    return truth


# --- the count ---


class Accounts:
    """Makes lists, runs the job, counts."""

    FAILURES = frozenset({"miscounted", "fails"})

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def trial(self, chance: Random) -> Outcome:
        """Make some lists, run the whole job on them, and compare it with a count of our own."""
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            folder = Path(place)
            (folder / "lists").mkdir()
            truth = _write_lists(folder / "lists", chance)
            (folder / "counted.yaml").write_text(_LIKE, encoding="utf-8")
            what = ", ".join(sorted(path.name for path in (folder / "lists").iterdir()))
            part_rows, memory = chance.choice((10, 50, 10**6)), chance.choice(("1KB", "1MB", "1GB"))
            job = (
                f"ingest lists --out dataset --part-rows {part_rows} --memory {memory} --json",
                f"measure dataset --memory {memory} --json",
                "filter dataset --recipe counted.yaml --json",
                "audit dataset --recipe counted --overlap --json",
            )
            done = [run(line.split(), folder) for line in job]
            wrong = [line for line, ended in zip(job, done, strict=True) if ended.code != 0]
            if wrong:
                first = next(ended for ended in done if ended.code != 0)
                return Outcome("lists", "fails", f"{what}: {wrong[0]}: {first.code} {first.err.strip()[-300:]}")
            found = [*_miscounts(truth, done, folder / "dataset")]
        if found:
            return Outcome("lists", "miscounted", f"{what}: {'; '.join(found)[:600]}")
        return Outcome("lists", "as counted", f"{what}: {len(truth.rows)} rows, {len(truth.rejected)} rejected")


def _miscounts(truth: _Truth, done: Sequence[Ended], dataset: Path) -> Iterator[str]:
    """Yield what is not as counted."""
    pairs, _ = oracle.merge(truth.rows)
    rejected = truth.rejected
    account = {
        "rows": len(truth.rows) + len(rejected),
        "pairs": len(pairs),
        "merged": len(truth.rows) - len(pairs),
        "rejected": len(rejected),
        "reasons": Counter(reason for _, _, reason in rejected),
    }
    yield from _unlike("account", json.loads(done[0].out), account)
    yield from _unlike("pairs", _table(dataset / "pairs"), pairs)
    named = {(row["source"], row["row"], row["reason"]) for row in _table(dataset / "rejected")}
    yield from _unlike("rejected", sorted(named), sorted(rejected))
    values = oracle.signals(pairs, SCRIPTS)
    masks = oracle.ledger(values, RULES, set())
    ledger = [(row["failed"], row["unknown"]) for row in _table(dataset / "verdicts" / "counted")]
    yield from _unlike("ledger", ledger, masks)
    yield from _unlike("audit", json.loads(done[3].out), oracle.audit(masks, len(RULES)))


def _table(folder: Path) -> list[dict[str, Any]]:
    parts = sorted(folder.glob("part-*.parquet"))
    return [row for part in parts for row in pl.read_parquet(part).to_dicts()]


def _unlike(name: str, found: Any, expected: Any) -> Iterator[str]:
    """Say where a value is not as expected; of dictionaries only what is expected is looked at."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key, value in expected.items():
            yield from _unlike(f"{name} {key}", found.get(key), value)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from _unlike(f"{name} {number}", one, other)
    elif found != expected:
        yield f"{name} is {found!r}, not {expected!r}"


@contextmanager
def accounts(models: bool = False) -> Iterator[Accounts]:
    """Give the machine."""
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        yield Accounts(Path(folder))
