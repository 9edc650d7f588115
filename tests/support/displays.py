"""What is shown while something takes long."""

from __future__ import annotations


class Waits:
    """A `semret.progress.Display` that notes what is waited for."""

    def __init__(self) -> None:
        self.waits: list[str | None] = []

    def __call__(self, done: int, total: int) -> None:
        """Pass over how much is done."""

    def wait_for(self, what: str | None) -> None:
        """Note it."""
        self.waits.append(what)
