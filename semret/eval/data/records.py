"""Annotation files of data sets, read within limits, with checks of every field that is used."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semret.errors import DatasetError, cut_text
from semret.foreign import read_regular

MOST_BYTES = 2**32
"""Largest annotation file that is read."""

_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "text", int: "a whole number", type(None): "null"}


def read_document(path: Path, hint: str) -> dict[str, Any]:
    """Return a JSON object.

    Parameters
    ----------
    path : Path
    hint : str
        What to do if the file is missing.

    Returns
    -------
    dict

    Raises
    ------
    DatasetError
        If it cannot be read or holds no object.
    """
    try:
        document = json.loads(read_regular(path, most=MOST_BYTES))
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}; {hint}") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is no JSON document: {cut_text(error)}; fetch it again") from error
    if not isinstance(document, dict):
        raise DatasetError(f"{path} holds {_kind(document)}, expected a JSON object")
    return document


class Record:
    """One record of a file, which checks its fields as they are read and names file, list, place and id in its errors.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        Of the list that the record stands in.
    place : int
        In that list, from 0.
    values : any
        The record as it was read.

    Raises
    ------
    DatasetError
        If it is not a JSON object.
    """

    def __init__(self, path: Path, name: str, place: int, values: Any) -> None:
        self.path, self.name, self.place = path, name, place
        if not isinstance(values, dict):
            self.values: dict[str, Any] = {}
            raise self.fault(f"is {_kind(values)}, expected an object")
        self.values = values

    def fault(self, what: str) -> DatasetError:
        """Return an error about this record.

        Parameters
        ----------
        what : str
            What is wrong, to follow the name of the record.

        Returns
        -------
        DatasetError
            To be raised.
        """
        known = self.values.get("id")
        number = f" (id {known!r})" if isinstance(known, int | str) else ""
        return DatasetError(f"{self.path}: {self.name}[{self.place}]{number} {what}; mend or remove this record")

    def integer(self, field: str) -> int:
        """Return a whole number, which may be written as text or as 7.0.

        Parameters
        ----------
        field : str

        Returns
        -------
        int

        Raises
        ------
        DatasetError
            If there is no such field or it holds something else.
        """
        value = self._need(field)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self.fault(f"has {field} {_kind(value)}, expected a whole number")
        try:
            number = int(value)
        except (ValueError, OverflowError):
            number = None
        if number is None or (isinstance(value, float) and number != value):
            raise self.fault(f"has {field} {_excerpt(value)}, expected a whole number")
        return number

    def length(self, field: str) -> float:
        """Return a positive number.

        Parameters
        ----------
        field : str

        Returns
        -------
        float

        Raises
        ------
        DatasetError
            If there is no such field or it holds something else.
        """
        value = self._need(field)
        usual = isinstance(value, int | float) and not isinstance(value, bool)
        if not usual or not math.isfinite(value) or value <= 0:
            raise self.fault(f"has {field} {_excerpt(value)}, expected a positive number of pixels")
        return float(value)

    def box(self, field: str) -> tuple[float, float, float, float]:
        """Return a box: left, top, width and height in pixels.

        Parameters
        ----------
        field : str

        Returns
        -------
        (float, float, float, float)
            Finite; width and height are positive.

        Raises
        ------
        DatasetError
            If there is no such field or it holds something else.
        """
        value = self._need(field)
        usual = isinstance(value, list) and len(value) == 4
        if not usual or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in value):
            raise self.fault(f"has {field} {_excerpt(value)}, expected [x, y, width, height] in pixels")
        if not all(map(math.isfinite, value)) or min(value[2:]) <= 0:
            raise self.fault(f"has {field} {_excerpt(value)}, expected finite numbers, width and height positive")
        x, y, width, height = map(float, value)
        return x, y, width, height

    def text(self, field: str) -> str:
        """Return text, or a number as text.

        Parameters
        ----------
        field : str

        Returns
        -------
        str
            Not empty.

        Raises
        ------
        DatasetError
            If there is no such field or it holds something else.
        """
        value = self._need(field)
        if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
            raise self.fault(f"has {field} {_excerpt(value)}, expected text")
        return str(value)

    def _need(self, field: str) -> Any:
        if field not in self.values:
            raise self.fault(f"has no {field}")
        return self.values[field]


def records_of(document: dict[str, Any], name: str, path: Path) -> Iterator[Record]:
    """Read the records of a list of a document, one by one.

    Parameters
    ----------
    document : dict
    name : str
        Of the list.
    path : Path
        The document's file, for messages.

    Yields
    ------
    Record

    Raises
    ------
    DatasetError
        If there is no such list, or one of its entries is no object.
    """
    if name not in document:
        raise DatasetError(f"{path} has no {name}, expected a list of them; fetch it again")
    if not isinstance(document[name], list):
        raise DatasetError(f"{path}: {name} is {_kind(document[name])}, expected a list")
    for place, values in enumerate(document[name]):
        yield Record(path, name, place, values)


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), f"a {type(value).__name__}")


def _excerpt(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
