"""Names and amounts as people read them: in a name nothing steers a terminal, hides, or runs in a spreadsheet."""

from __future__ import annotations

import re
import unicodedata

_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Characters without a visible shape that Unicode counts among marks, letters and symbols."""

_VARIATIONS = range(0xE0100, 0xE01F0)
"""Variation selectors, which are invisible too: they can hide any bytes after a letter."""

_ESCAPE = re.compile(r"\\(?:([\\tnr])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_SHORT = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20'")


def escaped(text: str) -> str:
    r"""Return a name with invisible characters written as Python would write them.

    Control and format characters (directions, joiners, zero widths), line and paragraph separators, undecodable bytes,
    and what is private, unassigned or invisible become ``\n``, ``\x1b``, ``\u202e``, ``\U000e0001``; a backslash
    becomes two. So names that differ in invisible characters look different, and `unescaped` gives back the name.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
    """
    if text.isprintable() and text.isascii() and "\\" not in text:
        return text
    return "".join(map(_shown, text))


def one_line(error: object) -> str:
    r"""Return what an error says as one line that says it exactly.

    Names in it stay as they are, white space included, so that what is shown can be copied: a line break is ``\n``, two
    spaces are two.

    Parameters
    ----------
    error : object
        An exception, or anything else with a text.

    Returns
    -------
    str
        See `escaped`.
    """
    return escaped(str(error).strip())


def unescaped(text: str) -> str:
    """Undo `escaped`.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        What `escaped` was given; text that is not one of its escapes stays as it is.
    """
    return _ESCAPE.sub(_meant, text)


def spreadsheet_cell(text: str) -> str:
    """Return a name as the text of a CSV cell: escaped, and after ``'`` where a spreadsheet would see a formula.

    That is the advice of OWASP for what begins with ``= + - @`` (also in full width), a tab or the end of a line. What
    begins with ``'`` gets another one, so taking one away gives back the text.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
    """
    shown = escaped(text)
    return f"'{shown}" if text.startswith(_FORMULA) else shown


def amount(count: int, noun: str) -> str:
    """Return how many there are of something, as people write it.

    Parameters
    ----------
    count : int
    noun : str
        In the singular; an s makes its plural.

    Returns
    -------
    str
        ``1 image``, ``2 images``.
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def readable(size: float) -> str:
    """Return a number of bytes for people: ``1.4 MB``.

    Parameters
    ----------
    size : float
        Bytes.

    Returns
    -------
    str
        Decimal units, from ``B`` to ``TB``.
    """
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _shown(character: str) -> str:
    hidden = character == "\\" or character in _INVISIBLE or ord(character) in _VARIATIONS
    if not hidden and (character.isprintable() or unicodedata.category(character) == "Zs"):
        return character
    return character.encode("unicode_escape").decode("ascii")


def _meant(match: re.Match[str]) -> str:
    short, *numbers = match.groups()
    if short is not None:
        return _SHORT[short]
    code = int(next(number for number in numbers if number is not None), 16)
    return chr(code) if code < 0x110000 else match.group()
