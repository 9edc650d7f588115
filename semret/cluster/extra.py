"""Whether the packages of the extra ``cluster`` are there; imports none of them."""

from __future__ import annotations

import importlib.util

from semret.errors import MissingDependencyError

_NEEDED = {"ray": "ray", "ray.data": "ray[data]", "fsspec": "fsspec", "pyarrow": "pyarrow"}


def require_cluster(what: str) -> None:
    """Refuse to go on without the packages of the extra ``cluster``.

    Parameters
    ----------
    what : str
        What needs them, such as ``semret index --ray``.

    Raises
    ------
    MissingDependencyError
        The message says what is missing, and how to install it.
    """
    missing = [package for module, package in _NEEDED.items() if not _is_there(module)]
    if missing:
        raise MissingDependencyError(
            f"{what} needs {', '.join(missing)}, not installed here; run pip install 'semret[cluster]'"
        )


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        # Of ray.data, where there is no ray.
        return False
