"""What the shards of an export are called: a pattern that makes a name of a split and a number.

The default is the layout of the Hugging Face Hub: libraries that take a folder find every split in it and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from align_data.common.errors import DatasetError
from align_data.storage.names import SHARD_STEM, display

TRAIN = "train"
"""The split of what is in no other."""
DEFAULT = "data/{split}-{:05d}-of-{count:05d}"
_FIELD = re.compile(r"\{split\}|\{(?P<count>count)?:0(?P<width>[5-9])d\}")


@dataclass(frozen=True)
class ShardNames:
    """The names of all shards, without their ending."""

    pattern: str

    def __post_init__(self) -> None:
        fields = [match[0] for match in _FIELD.finditer(self.pattern)]
        numbers = [field for field in fields if field.startswith("{:")]
        if len(numbers) != 1 or not SHARD_STEM.fits(self.name(TRAIN, 0, 1)):
            raise DatasetError(
                f"{display(self.pattern)} does not name shards: write a path inside the folder, of letters, digits, "
                "- and _, with the number once, of at least five digits, as {:05d} or {:08d}, and if you like {split} "
                f"and {{count:05d}}, as in {DEFAULT}"
            )

    @staticmethod
    def of(pattern: str, splits: Collection[str], ending: str) -> ShardNames:
        """Return the names by a pattern that may have the ending; with splits each has a folder, if not in the name."""
        stem = pattern.removesuffix(ending) if ending else pattern
        return ShardNames(f"{{split}}/{stem}" if splits and "{split}" not in stem else stem)

    def name(self, split: str, number: int, count: int) -> str:
        """Return the name of a shard of `count` in its split."""
        return self._filled(split, count, lambda width: f"{number:0{width}d}")

    def glob(self, split: str, count: int) -> str:
        """Return a pattern of file names that all shards of a split have, and those of no other split."""
        return self._filled(split, count, lambda width: "[0-9]" * width)

    def _filled(self, split: str, count: int, number: Callable[[int], str]) -> str:
        digits = len(str(count - 1))

        def fill(field: re.Match[str]) -> str:
            if field["width"] is None:
                return split
            width = max(int(field["width"]), digits)
            return f"{count:0{width}d}" if field["count"] else number(width)

        return _FIELD.sub(fill, self.pattern)
