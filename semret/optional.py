"""Packages that not every use of semret needs, imported when they are."""

from __future__ import annotations

import importlib
from typing import Any

from semret.errors import MissingDependencyError, cut_text


def need(module: str, who: str, package: str, advice: str) -> Any:
    """Import a module of a package that is not among the requirements of semret.

    Parameters
    ----------
    module : str
        What is imported.
    who : str
        What needs it, at the head of the message: ``"Parquet"``.
    package : str
        The name that pip knows.
    advice : str
        What to do where it is missing: ``"run pip install pyarrow"``.

    Returns
    -------
    module

    Raises
    ------
    MissingDependencyError
        If it is not installed, or cannot be imported as it is: it may want another release of something else.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(why_not(error, module, who, package, advice)) from error


def why_not(error: ImportError, module: str, who: str, package: str, advice: str) -> str:
    """Say in one line why a package cannot be used.

    Parameters
    ----------
    error : ImportError
        What importing it raised.
    module, who, package, advice
        See `need`.

    Returns
    -------
    str
    """
    top = module.partition(".")[0]
    missing = isinstance(error, ModuleNotFoundError) and error.name is not None and error.name.partition(".")[0] == top
    if missing:
        return f"{who} needs {package}, which is not installed; {advice}"
    return f"{who} needs {package}, which cannot be imported ({cut_text(error, 200)}): update it or what it names"
