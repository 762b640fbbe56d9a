"""A store for what a process makes and nobody keeps."""

from __future__ import annotations

import shutil
import tempfile
import weakref

from align_data.storage.store import Store, writing


def passing_store() -> Store:
    """Return a store in a temporary folder of its own, which goes when nobody has the store any more."""
    with writing(tempfile.gettempdir()):
        store = Store(tempfile.mkdtemp(prefix="align-data-"))
    weakref.finalize(store, shutil.rmtree, store.root, ignore_errors=True)
    return store
