"""Layers by name or number."""

from __future__ import annotations

from collections.abc import Sequence


def pick_layer(layer: str | int, names: Sequence[str]) -> str | None:
    """Return the name of a layer.

    Parameters
    ----------
    layer : str or int
        A name, or a number: from 0 at the input, negative from the output.
    names : sequence of str
        All layers, from input to output.

    Returns
    -------
    str or None
        None if there is none of this name or number.
    """
    text = str(layer)
    if text.lstrip("-").isdecimal():
        place = int(text)
        return names[place] if -len(names) <= place < len(names) else None
    return text if text in names else None
