"""Steps done ahead: the results of the built-in map, with a bounded number of steps beyond what is taken."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from threading import Barrier

import pytest

from align_data.engines.step_pool import StepPool


def square(number: int) -> int:
    return number * number


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_is_map_for_many_callers_at_once(threads: int) -> None:
    with StepPool(threads) as pool, ThreadPoolExecutor(8) as callers:
        results = callers.map(lambda start: list(pool.each(square, range(start, start + 200))), range(20))
        assert list(results) == [[square(n) for n in range(start, start + 200)] for start in range(20)]


def test_steps_of_one_caller_run_at_once() -> None:
    meeting = Barrier(3, timeout=20)  # is not passed by one or two
    with StepPool(3) as pool:
        assert len(list(pool.each(lambda _: meeting.wait(), range(9)))) == 9


@pytest.mark.parametrize("taken", [1, 4])
def test_no_more_than_the_threads_steps_are_ahead(taken: int) -> None:
    begun = []
    with StepPool(3) as pool:
        results = pool.each(square, (begun.append(n) or n for n in count()))
        assert list(islice(results, taken)) == [square(n) for n in range(taken)]
        assert len(begun) <= taken + 4


def test_an_error_is_raised_in_its_place_and_ends_the_steps_behind_it() -> None:
    def fail_at_three(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    with StepPool(2) as pool:
        seen = []
        with pytest.raises(ValueError, match="three"):
            seen.extend(pool.each(fail_at_three, range(100)))
        for _ in range(5):  # what was free is free again, left early or not
            assert next(iter(pool.each(square, range(100)))) == 0
        meeting = Barrier(2, timeout=20)
        assert len(list(pool.each(lambda _: meeting.wait(), range(4)))) == 4


def test_nothing_to_do() -> None:
    with StepPool(1) as pool:
        assert list(pool.each(square, [])) == []
