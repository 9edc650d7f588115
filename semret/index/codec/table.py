"""The names of codecs, which of them may follow another, and which is taken where none is named."""

from __future__ import annotations

import re
from dataclasses import dataclass

from semret.arrays import require_text
from semret.errors import ArgumentError, UnknownNameError

NO_CODEC = "none"
"""Tokens as the network gives them, in float16 or float32."""

DIRECTIONS = 2048
"""Most principal directions that a name may ask for."""

CENTROIDS = 256
"""Of each part of a product quantiser: one byte names one."""

TESTED = (NO_CODEC, "pca128-int8", "pca64-int8", "pca64-int4", "pca64-pq16", "pca32-int8")
"""Those that were measured (docs/adr/0011-codecs.md); D and M may be others."""

_FORM = re.compile(r"pca([1-9]\d{0,5})-(int8|int4|pq([1-9]\d{0,5}))")
_FORMS = "none, pcaD-int8, pcaD-int4 or pcaD-pqM"


@dataclass(frozen=True, kw_only=True)
class CodecSpec:
    """What the name of a codec says.

    Attributes
    ----------
    name : str
        ``pca64-int8``.
    dimension : int
        D, the principal directions that are kept where there are so many channels, from 1 to `DIRECTIONS`.
    kind : {"int8", "int4", "pq"}
        How their coordinates are rounded: to integers with a scale for each token, or as parts that each name the
        nearest of 256 centroids.
    parts : int
        M of a product quantiser, a divisor of D; 0 for the other kinds.
    """

    name: str
    dimension: int
    kind: str
    parts: int = 0

    def bits(self, dimension: int | None = None) -> float:
        """Return the bits that each direction takes, without the scale of a token.

        Parameters
        ----------
        dimension : int or None
            Directions that are really kept; None takes `dimension`.

        Returns
        -------
        float
        """
        return 8 * self.parts / (dimension or self.dimension) if self.kind == "pq" else float(self.kind[3:])


def parse(name: str) -> CodecSpec | None:
    """Return what the name of a codec says.

    Parameters
    ----------
    name : str
        ``none``, ``pcaD-int8``, ``pcaD-int4`` or ``pcaD-pqM``, with D and M in digits without leading zeros.

    Returns
    -------
    CodecSpec or None
        None for ``none``.

    Raises
    ------
    UnknownNameError
        If the name has another form.
    ArgumentError
        If D or M is out of range, or M does not divide D.
    """
    require_text(name, "codec")
    if name == NO_CODEC:
        return None
    found = _FORM.fullmatch(name)
    if found is None:
        raise UnknownNameError(f"codec {name!r} is unknown, expected {_FORMS}, for example {', '.join(TESTED[1:5])}")
    dimension, parts = int(found[1]), int(found[3] or 0)
    if dimension > DIRECTIONS:
        raise ArgumentError(f"codec {name} keeps {dimension} directions, expected 1 to {DIRECTIONS}; name fewer")
    if found[3] is not None:
        check_parts(name, parts, dimension)
    return CodecSpec(name=name, dimension=dimension, kind="pq" if parts else found[2], parts=parts)


def check_parts(name: str, parts: int, dimension: int) -> None:
    """Refuse a product quantiser whose parts are not equally long.

    Parameters
    ----------
    name : str
        Of the codec, for the message.
    parts : int
        M, from 1.
    dimension : int
        Directions that are kept.

    Raises
    ------
    ArgumentError
        If M does not divide them.
    """
    if dimension % parts:
        fitting = max(part for part in range(1, min(parts, dimension) + 1) if dimension % part == 0)
        raise ArgumentError(
            f"codec {name} cuts {dimension} directions into {parts} parts, expected a divisor of {dimension}, "
            f"for example pq{fitting}"
        )


def may_become(stored: str, wanted: str) -> bool:
    """Tell whether tokens stored with one codec can be stored with another instead, without the pictures.

    From ``none``: always. Else the other must be coarser: at most as many directions, at most as many bits for each,
    and not the same. What a product quantiser stored becomes nothing else: its centroids are already the data's.

    Parameters
    ----------
    stored, wanted : str
        Names as `parse` knows them.

    Returns
    -------
    bool

    Raises
    ------
    UnknownNameError, ArgumentError
        See `parse`.

    Examples
    --------
    >>> may_become("pca128-int8", "pca64-int4"), may_become("pca64-int4", "pca64-int8")
    (True, False)
    """
    before, after = parse(stored), parse(wanted)
    if before is None:
        return after is not None
    if after is None or before.kind == "pq" or before == after:
        return False
    return after.dimension <= before.dimension and after.bits() <= before.bits()


_DEFAULTS = {"embedded": "pca64-int8"}
_CAUTIOUS = "pca128-int8"


def default_codec(family: str) -> str:
    """Return the codec of a new index where none was asked for.

    Parameters
    ----------
    family : str
        Of the backbone: ``embedded``, ``hf``, ...

    Returns
    -------
    str
        A name. What was measured is in docs/adr/0011-codecs.md.
    """
    return _DEFAULTS.get(family, _CAUTIOUS)
