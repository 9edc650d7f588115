"""Memory kept between pictures."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from semret.index.backbones import allocator


class Library:
    """Writes down what is asked of the C library."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def mallopt(self, parameter: int, value: int) -> None:
        self.calls.append((parameter, value))

    def malloc_trim(self, pad: int) -> None:
        self.calls.append((pad,))


def test_thresholds_are_raised_and_end_where_glibc_itself_may_raise_them(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(allocator, "_glibc", lambda: library)
    with allocator.freed_memory_is_kept():
        assert library.calls == [(-3, 32 << 20), (-1, 256 << 20)]
    assert library.calls[2:] == [(-1, 64 << 20), (0,)]


@pytest.mark.parametrize("platform", ["darwin", "win32", "linux without glibc"])
def test_elsewhere_nothing_happens(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if platform.startswith("linux"):
        monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: object())
    else:
        monkeypatch.setattr(sys, "platform", platform)
    assert allocator._glibc() is None
    with allocator.freed_memory_is_kept():
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted on Linux with glibc")
def test_memory_freed_inside_is_not_asked_for_again() -> None:
    import resource

    if allocator._glibc() is None:
        pytest.skip("no glibc")

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        for _ in range(20):
            np.ones(2**21, np.float64)
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

    with allocator.freed_memory_is_kept():
        faults()
        inside = faults()
    assert inside < 20 * 2**24 // 4096 // 4
