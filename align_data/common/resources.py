"""Where filters/ and schemas/ are: inside the installed package, else in the root of a checkout."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path


def folder(name: str) -> Traversable:
    """Return the folder of resources called `name`, 'filters' or 'schemas'."""
    installed = resources.files("align_data") / name
    if installed.is_dir():
        return installed
    root = Path(__file__).resolve().parent.parent.parent
    # pyproject.toml tells a checkout from a site-packages that happens to hold a folder of this name.
    if (root / "pyproject.toml").is_file() and (root / name).is_dir():
        return root / name
    raise FileNotFoundError(f"align_data is installed without its folder {name}/; reinstall it")


def names(name: str, suffix: str) -> list[str]:
    """Return the sorted stems of the files in folder `name` that end in `suffix`."""
    return sorted(f.name.removesuffix(suffix) for f in folder(name).iterdir() if f.name.endswith(suffix))


def text(name: str, file: str) -> str:
    """Return the text of one resource."""
    return (folder(name) / file).read_text(encoding="utf-8")
