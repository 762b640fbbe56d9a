"""Items that are made ahead of their use."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from align_data.common.ahead import ahead


def test_items_come_in_order_and_the_next_is_made_while_one_is_used() -> None:
    made = [threading.Event() for _ in range(5)]

    def numbers() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    for number in ahead(numbers()):
        if number + 1 < len(made):
            assert made[number + 1].wait(30)
        assert not any(event.is_set() for event in made[number + 2 :])


def test_an_error_comes_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    items = ahead(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_who_stops_early_waits_for_one_item_and_no_thread_is_left() -> None:
    before, made = threading.active_count(), []

    def endless() -> Iterator[int]:
        while True:
            made.append(0)
            yield len(made)

    items = ahead(endless())
    assert next(items) == 1
    items.close()
    assert len(made) == 2
    assert threading.active_count() == before
