"""What a process keeps of what it made last, by name."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Values by name, the ones used last; each is made once, while others wait for it. Safe for several threads.

    Parameters
    ----------
    most : int
        How many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[str, _Once[T]] = OrderedDict()
        self._guard = threading.Lock()

    def get(self, name: str, make: Callable[[], T]) -> T:
        """Return a value.

        Parameters
        ----------
        name : str
        make : callable
            Makes it if it is not there; what it raises is passed on, and the next who asks makes it.

        Returns
        -------
        object
        """
        with self._guard:
            once = self._values.setdefault(name, _Once())
            self._values.move_to_end(name)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return once.get(make)

    def drop(self, name: str) -> None:
        """Forget a value, if it is there.

        Parameters
        ----------
        name : str
        """
        with self._guard:
            self._values.pop(name, None)


class _Once(Generic[T]):
    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._made: list[T] = []

    def get(self, make: Callable[[], T]) -> T:
        with self._guard:
            if not self._made:
                self._made.append(make())
            return self._made[0]
