"""What the manifest of each table says of how the table was made: typed, and checked when it is read.

Further entries may stand beside these: those of a later version, and they stay.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from align_data.recipes.model import NAME
from align_data.signals import by_current_name
from align_data.signals.user_lists import MATCHES
from align_data.sources.crawl.account import CrawlAccount
from align_data.storage.manifests import HASH, NUMBER, XXH3, Meta

_Identities = Annotated[dict[str, dict[str, Any]], AfterValidator(by_current_name)]
"""What signals were measured by, each under its name of now, whatever version wrote it."""
_Mask = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class AccountMeta(Meta):
    """What became of the rows of the input."""

    rows: NUMBER
    pairs: NUMBER
    merged: NUMBER
    rejected: NUMBER
    reasons: dict[str, NUMBER]
    already: bool
    entities: NUMBER | None = None
    """Rows whose text has character references of HTML, whether these were decoded or not; None where nobody looked."""
    markup: NUMBER | None = None
    """Rows whose text has tags."""
    refused_tombstone: NUMBER = 0
    """Rows of pairs that were taken down before, and of images that were with all of their pairs."""


_Reason = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,39}$")]
_Reasons = dict[_Reason, NUMBER]


class LostRecordMeta(Meta):
    """A record of an archive that is damaged, or was given up."""

    archive: str
    offset: NUMBER
    reason: _Reason


class CrawlMeta(Meta):
    """Of the rows of a crawl: what became of the records of its archives, and of the images on their pages."""

    archives: NUMBER
    records: NUMBER
    pages: NUMBER
    skipped: _Reasons
    damaged: _Reasons
    images: NUMBER
    further_texts: NUMBER
    rows: NUMBER
    refused: _Reasons
    repeated: NUMBER
    cut_short: NUMBER
    """Archives that end before they are whole."""
    unread: NUMBER
    """Archives that could not be read, and are not among the others."""
    lost: list[LostRecordMeta]
    """The first of them."""

    @property
    def account(self) -> CrawlAccount:
        """The account alone."""
        stored = ((name, getattr(self, name)) for name in vars(CrawlAccount()))
        counts: dict[str, Any] = {name: Counter(of) if isinstance(of, dict) else of for name, of in stored}
        return CrawlAccount(**counts)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if not self.account.balanced():
            raise ValueError("the account of the crawl does not add up")
        return self


class InputMeta(Meta):
    """A file that a dataset was made of."""

    name: str


class BatchMeta(Meta):
    """Of a batch: what was read of it, and what `pairs` was then."""

    name: Annotated[str, Field(pattern=NAME)]
    inputs: list[InputMeta]
    account: AccountMeta
    """Of its own rows; `pairs` are those that were new."""
    pairs: HASH
    """The fingerprint of `pairs` with it."""
    added: str | None = None
    """When, in UTC; None of what a dataset began with, which the log tells."""
    crawl: CrawlMeta | None = None


class PairsMeta(Meta):
    """Of `pairs`: what became of the rows of the input, and the keys at which parts begin."""

    account: AccountMeta
    splits: list[Annotated[str, Field(pattern="^[0-9a-f]{16}$")]]
    provenance: list[str] = Field(default_factory=list)
    """The optional columns that it has."""
    rewriting: list[str] = Field(default_factory=list)
    """What was done to texts beside making them canonical: decode_entities, strip_markup."""
    crawl: CrawlMeta | None = None
    """Of the rows that are of a crawl; None where there are none, and where no account tells of them."""
    batches: list[BatchMeta] = Field(default_factory=list)
    """What it was made of, in order; none before anything is added to what was ingested."""


class RejectedMeta(Meta):
    """Of `rejected`: what the dataset was made of."""

    inputs: list[InputMeta]
    columns: dict[str, Any]
    parts: dict[str, NUMBER]


class ImagesMeta(Meta):
    """Of `images`: the run of fetch."""

    run: NUMBER
    pairs: HASH
    asked: str
    """'all', or what tells the ledger from another that its URLs were chosen by."""
    policy: dict[str, Any]
    statuses: dict[str, int]
    formats: list[str] = Field(default_factory=list)
    """The optional ones that this run or one before kept."""
    tombstones: str | None = None
    reduced: bool = False
    """Whether this run or one before may have stored images smaller than fetched, or not at all."""
    sampled: NUMBER = 0
    """As many parts, from the first, have images of a sample of those that a ledger drops."""


class ContentMeta(Meta):
    """Of `content`: how images were checked."""

    images: HASH | XXH3
    """The fingerprint of `images`; in the footer of a part the identity of its part."""
    looks: dict[str, dict[str, Any] | None]
    """Each check's identity; None for one that was not taken."""
    open: str | None
    opens: dict[str, str] = Field(default_factory=dict)
    """What says of which images a further detector's values are, by its name; none for all."""
    max_pixels: NUMBER
    seconds: float
    reduced: bool = False
    """Whether some images may be stored smaller than fetched, or not at all: then the columns stored_* say it."""


class ListedMeta(Meta):
    """Of scores that a list has: what became of its rows, all of which are in one of these numbers."""

    rows: NUMBER
    taken: NUMBER
    """One of those for each key that a pair has and whose rows agree."""
    repeated: NUMBER
    """The others that say the same of that key again."""
    contradicting: NUMBER
    """Of keys that a pair has, and of which rows say different scores."""
    without_pair: NUMBER
    rejected: NUMBER
    reasons: _Reasons
    """Of those that are rejected, how many by each reason."""
    contradicted_pairs: NUMBER
    """Pairs whose rows contradict each other: they have no score."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        rows = self.taken + self.repeated + self.contradicting + self.without_pair + self.rejected
        if self.rows != rows or self.rejected != sum(self.reasons.values()):
            raise ValueError("the account of the list's rows does not add up")
        return self


class SignalsMeta(Meta):
    """Of a group of signals: what each was measured by, and of which pairs."""

    signals: _Identities
    pairs: HASH
    scored: NUMBER = 0
    listed: ListedMeta | None = None
    """Of scores that a list has; None of others."""


class EmbeddedMeta(Meta):
    """Of `embedded/NAME` and `embedded_texts/NAME`: the model, and what its embeddings follow from."""

    model: HASH
    """SHA-256 of its weights, tokenizer and card: a table has embeddings of one model."""
    kind: str
    versions: dict[str, str]
    """Of the libraries that ran it."""
    spec: str
    """MODEL, as the user named it."""
    device: str
    """Where it last ran."""
    dim: Annotated[int, Field(gt=0, lt=2**20)]
    """Numbers of an embedding."""
    curvature: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Of the hyperboloid that the embeddings are on (`align_data.models.spaces`); None for the sphere."""
    source: dict[str, Any]
    """What the rows follow from: the fingerprint of pairs, or of images and how it was told which can be decoded."""
    left_out: NUMBER = 0
    """Images that can be decoded, and whose decoding ended its process nevertheless."""


class CodebookMeta(Meta):
    """Of `codebooks/NAME`: of which embeddings."""

    model: HASH
    dim: Annotated[int, Field(gt=0, lt=2**20)]
    images: NUMBER
    """How many there were when it was trained."""


class EvaluationsMeta(Meta):
    """Of `evaluations/NAME`, and in the file that it is of: by which model."""

    model: HASH
    dim: Annotated[int, Field(gt=0, lt=2**20)]


class RecallMeta(Meta):
    """How many of the pairs that there are a comparison has: of some sampled images with all others."""

    images: NUMBER
    pairs: NUMBER
    """Within the threshold."""
    among: NUMBER
    """How many of them the comparison has."""
    floor_pairs: NUMBER
    floor_among: NUMBER


class NeighboursMeta(Meta):
    """Of `neighbours/NAME`: how images were compared."""

    run: dict[str, Any]
    """What the values follow from, as in measured/near.NAME."""
    pairs: HASH
    threshold: float
    floor: float
    images: NUMBER
    """With an embedding."""
    late: NUMBER
    """How many have an earlier image within the threshold."""
    cells: NUMBER
    copies: float
    """Cells that an image was sent to, on the average."""
    cosines: NUMBER
    """Computed."""
    recall: RecallMeta | None
    """Of pairs with unequal embeddings; None where it was not measured."""


class ListMeta(Meta):
    """Of `lists/NAME`: the file that was given, and how pairs are matched with it."""

    match: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the file."""
    seed: int
    entries: NUMBER
    per: str | None = None
    """The signal whose classes have a list each; None for one list."""

    @field_validator("match")
    @classmethod
    def _is_known(cls, match: str) -> str:
        if match not in MATCHES:
            raise ValueError(f"{match!r} is not one of {', '.join(MATCHES)}")
        return match


class LabelMeta(Meta):
    """Of `labels/NAME`: what tells its marks from others."""

    chain: HASH
    """A digest over all changes that were ever folded."""
    folded: list[Annotated[str, Field(pattern="^[0-9]{19,30}$")]]
    """The changes that were folded last: they may be there still."""


class CountsMeta(Meta):
    """Of a table of counts: of which pairs."""

    pairs: HASH


class LedgerMeta(Meta):
    """Of a ledger: what it was decided by, and its pairs by their masks."""

    plan: dict[str, Any]
    pairs: HASH
    signals: _Identities = Field(default_factory=dict)
    ledger: HASH
    tombstones: str | None = None
    masks: list[Annotated[list[_Mask], Field(min_length=3, max_length=3)]]
    until: str | None = None
    """The last batch that it decided, of a ledger that is kept to be compared with the one decided since; else None."""


class RanksMeta(Meta):
    """Of `ranks/NAME`: of which pairs."""

    pairs: HASH
    sizes: list[Annotated[list[NUMBER], Field(min_length=2, max_length=2)]]
    """How many groups have each size: of pairs that the rule chooses among."""
