"""The contracts of the tables whose columns are signals: `measured/*` and `content`."""

from __future__ import annotations

from align_data.signals import FAMILIES, SIGNALS, checks
from align_data.signals.families import of_group, open_group
from align_data.signals.lists import BALANCE
from align_data.storage.contracts import Column, Contract

_ABOUT = {
    "text": "What is measured from what the list says: the text, the URL, what the page asks; row for row with pairs.",
    "caption": "What is measured of the text where it is asked for, by name or by a recipe; row for row with pairs.",
    "corpus": "What is counted over the whole pool; row for row with pairs.",
    "image": "What is known of the image; row for row with pairs. Null where nobody has measured or declared it.",
    "copies": "How many copies the image has in the pool, by its bytes and by its pHash; row for row with pairs.",
}
_OPEN = {
    "score": "How near a model sees image and text, a table for each name that align-data score was given",
    "itm": "What a pair scorer says of each pair, a table for each name that align-data score was given",
    "head": "What a head says of each image, a table for each name that align-data score was given",
    "near": "How near the nearest image is by an encoder, a table for each name that align-data neighbours was given",
    "eval": "How near the nearest evaluation image is by an encoder, a table for each name that align-data neighbours "
    "was given",
    "list": "What a list of the user's says of each pair, a table for each name given to align-data measure --list",
    "balance": "How balancing by a list draws each pair, a table for each name given to align-data measure --list",
}
"""The groups of open families, by what stands before their NAME."""
_IMAGE = (
    Column("url", "string", nullable=False, about="The image's URL.", dictionary=False),
    Column(
        "status",
        "string",
        nullable=False,
        about="ok; why the bytes cannot be used as an image, such as broken, too_many_pixels, crashed, hung, memory; "
        "or the status of fetching.",
    ),
    Column("reason", "string", nullable=True, about="What was seen, for people."),
    Column("tar", "string", nullable=True, about="The tar that the bytes were read from."),
    Column("offset", "int64", nullable=True, about="Where in the tar they began.", dictionary=False),
    Column(
        "stored_format",
        "string",
        nullable=True,
        about="Where fetch --keep stored a smaller image in place of the fetched bytes: its format. Null otherwise.",
    ),
    Column("stored_width", "int32", nullable=True, about="Its width; the column width has that of the original."),
    Column("stored_height", "int32", nullable=True, about="Its height."),
    Column(
        "stored_sha256",
        "string",
        nullable=True,
        about="SHA-256 of its bytes; all other columns are of the original.",
        dictionary=False,
    ),
)
"""The columns of `content` that are not signals."""
STORED = tuple(column.name for column in _IMAGE if column.name.startswith("stored_"))
"""What lies in the tars where it is not what was fetched; a dataset where that cannot be has none of these columns."""


def groups() -> list[str]:
    """Return the groups of signals, but for those of open families, in the order of the signals."""
    return list(dict.fromkeys(signal.group for signal in SIGNALS.values()))


def measured(group: str) -> Contract:
    """Return the contract of one group of signals: any subset of its columns can be in a table."""
    if "." in group:
        columns = tuple(signal.column for signal in of_group(FAMILIES, group))
        return Contract(
            f"measured/{group}", f"{_OPEN[group.partition('.')[0]]}; row for row with pairs.", columns, partial=True
        )
    columns = tuple(signal.column for signal in SIGNALS.values() if signal.group == group)
    about = _ABOUT.get(group, f"The signals of the group {group}; row for row with pairs.")
    return Contract(f"measured/{group}", about, columns, partial=True)


def open_groups() -> list[str]:
    """Return a group of each open family, as lists of tables show it."""
    return list(dict.fromkeys(family.shown.group for family in FAMILIES.values() if family.shown.kind != "derived"))


def is_open(group: str) -> bool:
    """Tell whether a group is one of an open family."""
    return open_group(group) is not None


def is_of_pool(group: str) -> bool:
    """Tell whether the signals of a group are counted over the whole pool: what one part has hangs on all others."""
    return group == "corpus" or group.startswith(f"{BALANCE}.")


def content() -> Contract:
    """Return the contract of `content`: a signal that is younger than a dataset is not in its table yet."""
    about = "What was measured of each URL's bytes, in parts by hash of the URL; row for row with images."
    columns = [signal.column for signals in checks().values() for signal in signals]
    return Contract("content", about, (*_IMAGE, *columns), partial=True)
