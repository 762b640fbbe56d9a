"""A trial: a stranger's model is opened, and used once, in a child process before anything else is done with it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from align_data.common.workers import SLACK, Child


def try_model(handler: str, setup: Mapping[str, Any], seconds: float) -> None:
    """Run a trial that may take so many seconds to open a model, and again to use it.

    Raises what the child says is wrong, or ChildDiedError where it ended.
    """
    with closing(Child(handler, {**setup, "seconds": seconds})) as child:
        for _ in child.ask(None, 2 * seconds + SLACK):
            pass
