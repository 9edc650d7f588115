"""Dates as people write them: a day, a month or a year, or a moment, in ISO 8601."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import TypeAlias

from semret.errors import ArgumentError

DateLike: TypeAlias = "str | date | datetime"
"""A text, or what Python has for it."""

_SPAN = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_FIRST, _LAST = -(2**63), 2**63 - 2
"""What no stamp of a file lies before or after."""

_FORM = "a date such as 2024-05-17, 2024-05 or 2024, or a moment such as 2024-05-17T18:30"


def first_moment(name: str, given: DateLike) -> int:
    """Return when a date begins.

    Parameters
    ----------
    name : str
        What the date is for, for messages.
    given : str, date or datetime
        A day, a month, a year, or a moment; of this computer's time zone where none is said.

    Returns
    -------
    int
        Nanoseconds since 1970.

    Raises
    ------
    ArgumentError
        If it is no date, or one that computers do not count to.
    """
    return _nanoseconds(name, given, _span(name, given)[0])


def moment_after(name: str, given: DateLike) -> int:
    """Return when a date is over: the first nanosecond that does not belong to it.

    Parameters
    ----------
    name : str
    given : str, date or datetime
        See `first_moment`. A moment lasts for a nanosecond.

    Returns
    -------
    int
        Nanoseconds since 1970.

    Raises
    ------
    ArgumentError
        See `first_moment`.
    """
    start, stop = _span(name, given)
    return _nanoseconds(name, given, stop) + (start == stop)


def _span(name: str, given: DateLike) -> tuple[datetime, datetime]:
    """Return when a date begins and when the next one does; a moment is both."""
    try:
        if isinstance(given, datetime):
            return given, given
        if isinstance(given, date):
            return _between(given, given + timedelta(days=1))
        found = _SPAN.fullmatch(given.strip())
        if not found:
            moment = datetime.fromisoformat(given.strip())
            return moment, moment
        year, month, day = (int(part or 0) for part in found.groups())
        if day:
            return _between(date(year, month, day), date(year, month, day) + timedelta(days=1))
        if found[2]:
            return _between(date(year, month, 1), date(year + month // 12, month % 12 + 1, 1))
        return _between(date(year, 1, 1), date(year + 1, 1, 1))
    except (ValueError, OverflowError, AttributeError, TypeError) as error:
        raise _no_date(name, given) from error


def _between(start: date, stop: date) -> tuple[datetime, datetime]:
    return datetime(start.year, start.month, start.day), datetime(stop.year, stop.month, stop.day)


def _nanoseconds(name: str, given: DateLike, moment: datetime) -> int:
    try:
        exact = int(moment.replace(microsecond=0).timestamp()) * 10**9 + moment.microsecond * 1000
        return min(max(exact, _FIRST), _LAST)
    except (ValueError, OverflowError, OSError) as error:
        raise _no_date(name, given) from error


def _no_date(name: str, given: object) -> ArgumentError:
    return ArgumentError(f"{name} is {given!r}, expected {_FORM}")
