"""What is seen in images where the user chooses it: their texture, and by detectors text and faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from align_data.signals.base import Piece, Signal
from align_data.signals.image import checked
from align_data.signals.texture import FLAT, SHARE, SIDE, texture

SHORTEST = 3
"""Letters and digits of a word that text_overlap looks for, at least."""
_NULL = "their images are not fetched, cannot be decoded, or were passed over by --only-open"
_SIGNS = r"[^\p{L}\p{N}]+"


def text_overlap(piece: Piece) -> pl.Series:
    """Return the share of each text's longer words that are read in its image."""
    texts, read = piece.frame["alt_text"], piece.frame["image_text"]
    words = texts.fill_null("").str.to_lowercase().str.replace_all(_SIGNS, " ").str.split(" ")
    letters = read.str.to_lowercase().str.replace_all(_SIGNS, "")
    frame = pl.DataFrame({"words": words, "letters": letters}).with_row_index("row")
    longer = (
        frame.filter(pl.col("letters") != "")
        .explode("words")
        .filter(pl.col("words").str.len_chars() >= SHORTEST)
        .with_columns(hit=pl.col("letters").str.contains(pl.col("words"), literal=True))
        .group_by("row")
        .agg(pl.col("hit").mean())
    )
    shares = np.zeros(len(frame))
    shares[longer["row"].to_numpy()] = longer["hit"].to_numpy()
    return pl.Series("text_overlap", shares).set(read.is_null(), None).round(6)


_DRAWN = f"of the upright image in grey, at most {SIDE} pixels a side"
_TEXTURE = (
    checked(
        "blur",
        "float64",
        "grey levels squared",
        f"Variance of the Laplacian (4 neighbours) {_DRAWN}: small for a blurred picture.",
        "ours",
        texture,
        repeats=False,
    ),
    checked(
        "entropy",
        "float64",
        "bits, 0 to 8",
        f"Entropy of the histogram of grey levels {_DRAWN}: small for a flat picture.",
        "ours",
        texture,
        repeats=False,
    ),
    checked(
        "border",
        "float64",
        "share, 0 to 1",
        f"Share {_DRAWN}, that is a flat border: rows, then columns, from each side on, of whose pixels {SHARE:.0%} "
        f"are within {FLAT} grey levels of the median of the outermost; 1 for a plain picture.",
        "ours",
        texture,
    ),
)
_TEXT = replace(
    checked(
        "text_area",
        "float64",
        "share, 0 to 1",
        "Share of the image under the boxes of lines of text that were read with confidence: at least two characters, "
        "of probability 0.6 on average.",
        "ours; PP-OCRv4's networks",
        "text",
    ),
    lacks="need --detect text, and the model: align-data model add text",
    null=_NULL,
)
_FACES = replace(
    _TEXT,
    name="n_faces",
    type="int32",
    unit="faces",
    about="Number of faces, of score 0.5 and more, seen at most 640 pixels a side.",
    source="ours; CenterFace",
    content=("n_faces",),
    check="faces",
    measure=lambda piece: piece.frame["n_faces"],
    lacks="need --detect faces, and the model: align-data model add faces",
)

SIGNALS: tuple[Signal, ...] = (
    *(replace(signal, check="texture", lacks="need --detect texture") for signal in _TEXTURE),
    _TEXT,
    replace(
        _TEXT,
        name="text_words",
        type="int32",
        unit="words",
        about="Number of words that were read, as spaces separate them; those of Latin letters are often read as one.",
        content=("text_words",),
        measure=lambda piece: piece.frame["text_words"],
    ),
    replace(
        _TEXT,
        name="image_text",
        type="string",
        unit="text",
        about="What was read, line by line from the top; the empty text where nothing was.",
        content=("image_text",),
        repeats=False,
        measure=lambda piece: piece.frame["image_text"],
        erased_by_takedown=True,
    ),
    replace(
        _TEXT,
        name="text_overlap",
        about=f"Share of the alt-text's words of {SHORTEST} and more letters or digits that stand in what was read, "
        "capitals, spaces and other signs apart; 0 where it has no such word.",
        source="ours; T-MARS (Maini et al. 2023) masks the text in an image instead, DiHT (Radenovic et al. 2023) "
        "drops a pair whose text is spotted in its image",
        needs=("alt_text",),
        content=("image_text",),
        measure=text_overlap,
    ),
    _FACES,
    replace(
        _FACES,
        name="face_area",
        type="float64",
        unit="share, 0 to 1",
        about="Share of the image under the boxes of its faces.",
        content=("face_area",),
        measure=lambda piece: piece.frame["face_area"],
    ),
)
