"""The wheel has what the checkout has, and works from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_lists_the_folders(wheel: Path) -> None:
    names = {n for n in zipfile.ZipFile(wheel).namelist() if n.startswith("align_data/")}
    package = {p.relative_to(ROOT).as_posix() for p in (ROOT / "align_data").rglob("*") if p.is_file()}
    package = {name for name in package if "__pycache__" not in name}
    resources = {
        f"align_data/{p.relative_to(ROOT).as_posix()}" for d in ("filters", "schemas") for p in (ROOT / d).iterdir()
    }
    assert names == package | resources


def test_its_command_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    """Unpacked where no checkout is: what it reads of filters/ and schemas/ must be its own."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    (tmp_path / "l.csv").write_text("url,text\nhttp://a/1,one two three\n")

    def call(*arguments: str) -> str:
        code = "import align_data, sys; assert align_data.__file__.startswith(sys.argv[1]), align_data.__file__; "
        code += "sys.argv[1:2] = []; from align_data.cli import main; main()"
        environment = {**os.environ, "PYTHONPATH": str(site)}
        command = [sys.executable, "-P", "-c", code, str(site), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "datacomp-basic" in call("recipes")
    assert "1 rows in = 1 pairs" in call("run", "l.csv", "--recipe", "align", "--out", "out")
    assert "n_words is 3" in call("why", "out", "--text", "one two three")
