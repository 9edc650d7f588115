"""Threads take turns: each number is given once, whoever asks."""

from __future__ import annotations

import threading

import numba
import numpy as np
import pytest

from semret.errors import ArgumentError
from semret.retrieval.native.threads import in_turns
from semret.retrieval.native.turns import take_turn


@numba.njit(nogil=True)
def _take_all(counter, seen):
    while True:
        turn = take_turn(counter)
        if turn >= seen.shape[0]:
            break
        seen[turn] += 1


@pytest.mark.parametrize("threads", [1, 2, 8, None])
@pytest.mark.parametrize("items", [0, 1, 100_000])
def test_every_item_has_one_turn(items, threads):
    seen, callers = np.zeros(items, dtype=np.int64), []

    def work(counter):
        callers.append(threading.get_ident())
        _take_all(counter, seen)

    in_turns(work, items, threads)
    assert (seen == 1).all()
    assert 1 <= len(callers) <= max(1, min(items, threads or 64))
    if threads == 1 or items <= 1:
        assert callers == [threading.get_ident()]


def test_no_thread_is_an_error():
    with pytest.raises(ArgumentError, match="threads is 0"):
        in_turns(lambda _: None, 3, 0)


def test_what_a_thread_raises_comes_out():
    def fail(_):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_turns(fail, 3, 2)
