"""The option ``--ray``, whose address may be left out: ``--ray`` alone is ``--ray auto``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

NAME = "--ray"
_OWN = "auto"
_FORMS = re.compile(r"auto|local|ray://.*|[^/]+:\d+")


def with_address(arguments: Sequence[str]) -> list[str]:
    """Return what was typed, with the address of the computer's own cluster after each ``--ray`` that has none.

    What follows is the address unless it is another option, or a path: something that exists, or has a slash in it.
    So ``semret index --ray photos`` indexes photos, and ``semret index photos --ray node7`` says what addresses are.

    Parameters
    ----------
    arguments : sequence of str

    Returns
    -------
    list of str
        What is behind ``--`` is left as it is.
    """
    given: list[str] = []
    for place, argument in enumerate(arguments):
        given.append(argument)
        if argument == "--":
            return [*given, *arguments[place + 1 :]]
        if argument == NAME and not (arguments[place + 1 :] and _is_address(arguments[place + 1])):
            given.append(_OWN)
    return given


def _is_address(text: str) -> bool:
    """Tell whether what follows ``--ray`` is meant for it."""
    if text.startswith("-"):
        return False
    return _FORMS.fullmatch(text) is not None or not ("/" in text or Path(text).exists())
