"""Sharing out work among threads that stay."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from semret.errors import NonFiniteError
from semret.retrieval.native.threads import in_threads, share_out
from semret.retrieval.similarity.maps import prepare


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
def test_every_part_is_done_once(threads: int, count: int) -> None:
    done: list[int] = []
    share_out(done.append, range(count), threads)
    assert sorted(done) == list(range(count))
    covered = np.zeros(count, dtype=int)

    def cover(start: int, stop: int) -> None:
        covered[start:stop] += 1

    in_threads(cover, count, threads)
    assert (covered == 1).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_ends_what_has_not_begun(threads: int) -> None:
    done: list[int] = []

    def work(part: int) -> None:
        if part == 3:
            raise KeyError("three")
        done.append(part)

    with pytest.raises(KeyError, match="three"):
        share_out(work, range(1000), threads)
    assert len(done) < 1000
    share_out(done.append, [-1], threads)
    assert done[-1] == -1


def test_work_that_shares_out_work_does_not_wait_for_itself() -> None:
    done: list[tuple[int, int]] = []
    threads: set[tuple[int, int]] = set()

    def outer(part: int) -> None:
        def inner(piece: int) -> None:
            done.append((part, piece))
            threads.add((part, threading.get_ident()))

        share_out(inner, range(5), 4)

    share_out(outer, range(20), 4)
    assert sorted(done) == [(part, piece) for part in range(20) for piece in range(5)]
    assert len(threads) == 20, "what is inside runs where it is"


def test_many_callers_share_the_same_threads() -> None:
    totals = np.zeros(8, dtype=int)

    def call(caller: int) -> None:
        found: list[int] = []
        share_out(found.append, range(200), 3)
        totals[caller] = sum(found)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert (totals == sum(range(200))).all()


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork here")
def test_a_child_process_starts_threads_of_its_own() -> None:
    script = (
        "import os, threading\n"
        "from semret.retrieval.native.threads import share_out\n"
        "meeting = threading.Barrier(2, timeout=20)\n"
        "share_out(lambda _: meeting.wait(), range(2), 2)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    meeting = threading.Barrier(2, timeout=20)\n"
        "    share_out(lambda _: meeting.wait(), range(2), 2)\n"
        "    os._exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=100)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("centred", [False, True])
def test_maps_are_prepared_alike_on_any_number_of_threads(dtype: type, centred: bool) -> None:
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((13, 6, 5)).astype(dtype)
    center = rng.standard_normal(5) if centred else None
    one, many = prepare(tokens, center), prepare(tokens, center, threads=4)
    for name in ("tokens", "token_squares", "squared_norms"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))
    expected = tokens.astype(np.float64 if dtype is np.float64 else np.float32)
    if center is not None:
        expected = expected - center.astype(expected.dtype)
    np.testing.assert_array_equal(many.tokens, expected)
    tokens[12, 3, 2] = np.nan
    with pytest.raises(NonFiniteError, match="tokens"):
        prepare(tokens, center, threads=4)


def test_no_thread_warns_of_what_is_checked_afterwards() -> None:
    """Warnings are errors here, on whichever thread they come."""
    tokens = np.full((8, 2, 3), 1.7e308)
    with pytest.raises(NonFiniteError, match="tokens overflow float64 when the centre is subtracted"):
        prepare(tokens, np.full(3, -1.7e308), threads=2)
