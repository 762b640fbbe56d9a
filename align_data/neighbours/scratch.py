"""Folders of what a comparison of images holds between its moves: they are there while it runs, and no longer."""

from __future__ import annotations

import re

from align_data.data.layout import Dataset
from align_data.signals.families import NAME
from align_data.storage.tables import CHUNK

COPIES = "_copies"
"""Of the search for copies: its tables, each with its parts."""
LEARNT = "_neighbours"
"""Of the comparison by embedding: a table for each name of embeddings."""
_FORMS = {COPIES: "[a-z]+", LEARNT: NAME}


def clear_scratch(dataset: Dataset) -> None:
    """Remove them, whichever run left them: none goes on from what another has left."""
    for folder, table in _FORMS.items():
        dataset.store.clear(folder, re.compile(rf"(?:{table})/(?:{CHUNK.pattern})"))
