"""What reading archives of a crawl will take: they are counted and not opened."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from align_data.sources.crawl.inputs import ArchiveSelection, find_archives
from align_data.stages.forecast import assumptions
from align_data.stages.forecast.costs import Capacity, Costs, stage
from align_data.stages.forecast.figures import Figure, assumed, counted

_SIZES = {
    "wat": assumed(375e6, "bytes", "docs/explanation/scaling.md: WATs of 2016"),
    "warc": assumed(1e9, "bytes", "docs/explanation/scaling.md: WARCs of 2016"),
}
"""Of an archive that a list of paths names, which is not asked for its size."""


def add_archives(
    inputs: Sequence[str],
    selection: ArchiveSelection,
    costs: Costs,
    machine: Capacity,
    read: Collection[str] = (),
) -> list[str]:
    """Add what reading these archives takes, but for those `read`; return notes.

    Raises InputError for what crawl refuses.
    """
    archives, notes = find_archives(inputs, selection)
    archives = [archive for archive in archives if archive.stem not in read]
    size, work = counted(0, "bytes"), counted(0, "core-seconds")
    for kind, usual in _SIZES.items():
        of_kind = [archive for archive in archives if _kind(archive.name) == kind]
        sized = counted(sum(archive.size or 0 for archive in of_kind), "bytes")
        unknown = sum(archive.size is None for archive in of_kind)
        bytes_of = sized if not unknown else sized.plus(usual.times(float(unknown)))
        size = size.plus(bytes_of)
        work = work.plus(_read(bytes_of, kind)) if of_kind else work
    costs.fetch |= {"archives": counted(len(archives), "archives"), "archive_bytes": size}
    costs.stages["crawl"] = stage(work, work.times(1 / machine.cores, "seconds"), machine)
    return [*notes, "rows and pairs are not told before archives are read: plan the rows of a --sample of them"]


def _read(size: Figure, kind: str) -> Figure:
    rate = assumptions.ARCHIVE_BYTES[kind]
    return size.times(assumed(1 / rate.value, "core-seconds/byte", *rate.sources), "core-seconds")


def _kind(name: str) -> str:
    return "wat" if ".wat" in name.lower() else "warc"
