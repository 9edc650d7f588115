"""Waiting for what other threads, processes and nodes do."""

from __future__ import annotations

import time


def eventually(check):
    """Wait until something holds; after a minute it counts as not coming.

    Parameters
    ----------
    check : callable
        Tells whether it holds.
    """
    end = time.monotonic() + 60
    while not check():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.05)
