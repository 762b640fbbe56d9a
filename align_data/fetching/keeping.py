"""What is stored of an image that was fetched and measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from align_data.common.workers.values import plain
from align_data.decoding.inspected import Inspected, Smaller
from align_data.storage.manifests import digest


@dataclass(frozen=True)
class Keeping:
    """What is stored of images."""

    keep: Smaller | Literal["original", "none"] = "original"
    rules: str | None = None
    """Rules, as `failing` describes them: images that fail one are not stored; None for no rules."""

    @property
    def reduces(self) -> bool:
        """Whether some images may be stored smaller than fetched, or not at all."""
        return self != Keeping()

    @property
    def smaller(self) -> Smaller | None:
        """What larger images are made."""
        return self.keep if isinstance(self.keep, Smaller) else None

    def decisive(self) -> dict[str, Any]:
        """Return what decides which images are stored, for the facts of a table; nothing where all are, as fetched."""
        keep = {} if self.keep == "original" else {"keep": plain(self.keep)}
        return keep if self.rules is None else {**keep, "rules": digest(self.rules)}

    def omits(self, inspected: Inspected) -> str | None:
        """Say why an image is not stored, whatever rules say; None where it is."""
        if self.keep == "none":
            return "--keep none"
        if self.smaller is not None and inspected.decodable is False:
            return f"it cannot be made smaller: {inspected.status}"
        return None
