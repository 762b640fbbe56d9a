"""What the manifest of each table says of how it was made, as it is checked when it is read.

Further entries may stand beside these.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

_Number = Annotated[int, Field(ge=0, lt=2**62)]
_Mask = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class _Account(_Open):
    rows: _Number
    pairs: _Number
    merged: _Number
    rejected: _Number
    reasons: dict[str, _Number]
    already: bool


class Pairs(_Open):
    """Of `pairs`: what became of the rows of the input, and the keys at which parts begin."""

    account: _Account
    splits: list[Annotated[str, Field(pattern="^[0-9a-f]{16}$")]]


class _Input(_Open):
    name: str


class Rejected(_Open):
    """Of `rejected`: what the dataset was made of."""

    inputs: list[_Input]
    columns: dict[str, Any]
    parts: dict[str, _Number]


class Images(_Open):
    """Of `images`: the run of fetch."""

    run: _Number
    pairs: _Hash
    asked: str
    policy: dict[str, Any]
    statuses: dict[str, int]
    tombstones: str | None = None


class Content(_Open):
    """Of `content`: how images were looked at."""

    images: _Hash
    looks: dict[str, dict[str, Any] | None]
    open: str | None
    max_pixels: _Number
    seconds: float


class Measured(_Open):
    """Of a group of signals: what each was measured by, and of which pairs."""

    signals: dict[str, dict[str, Any]]
    pairs: _Hash
    scored: _Number = 0


class Counts(_Open):
    """Of a table of counts: of which pairs."""

    pairs: _Hash


class Verdicts(_Open):
    """Of a ledger: what it was decided by, and its pairs by their masks."""

    plan: dict[str, Any]
    pairs: _Hash
    signals: dict[str, dict[str, Any]] = {}
    ledger: _Hash
    masks: list[Annotated[list[_Mask], Field(min_length=3, max_length=3)]]
    tombstones: str | None = None
