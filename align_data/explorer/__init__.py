"""The explorer: a dataset in the browser, live, to move thresholds, look at pairs and take them along."""

from __future__ import annotations

from collections.abc import Callable

from align_data.common.errors import AlignDataError
from align_data.engines.base import Engine


def serve(
    url: str, engine: Engine, ledger: str | None, port: int, ready: Callable[[str], None], *, browser: bool = True
) -> None:
    """Serve a dataset on 127.0.0.1 until it is stopped; port 0 takes a free one, and `ready` gets the link.

    Raises AlignDataError where the extra is not installed, DatasetError for what is not a dataset or has no ledger.
    """
    try:
        from align_data.explorer import serving  # noqa: PLC0415 - the extra, for those who look
    except ImportError as error:
        raise AlignDataError(f"the explorer needs {error.name}: pip install 'align-data[view]'") from None
    serving.serve(url, engine, ledger, port, browser=browser, ready=ready)


__all__ = ["serve"]
