"""Memory kept between pictures."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from semret.index.backbones import memory


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
    monkeypatch.setattr(memory, "_glibc", lambda: library)
    with memory.freed_memory_is_kept():
        assert library.calls == [(-3, 32 << 20), (-1, 256 << 20)]
    assert library.calls[2:] == [(-1, 64 << 20), (0,)]


@pytest.mark.parametrize("platform", ["darwin", "win32", "linux without glibc"])
def test_elsewhere_nothing_happens(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if platform.startswith("linux"):
        monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    else:
        monkeypatch.setattr(sys, "platform", platform)
    assert memory._glibc() is None
    with memory.freed_memory_is_kept():
        pass


# Free bytes that the C library holds after six blocks of 16 MiB were freed: before, inside the ``with`` block.
FREE = """
import ctypes
import numpy as np
from {module} import freed_memory_is_kept

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info

def free_after_use():
    blocks = [np.ones(2**21, np.float64) for _ in range(6)]
    del blocks
    return mallinfo().fordblks

free_after_use()
outside = free_after_use()
with freed_memory_is_kept():
    free_after_use()
    print(outside, free_after_use())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc counts its bytes from 2.33 on")
def test_memory_freed_inside_is_kept_and_outside_given_back() -> None:
    script = FREE.format(module=memory.__name__)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    outside, inside = map(int, done.stdout.split())
    assert outside < 6 * 2**24 <= inside
