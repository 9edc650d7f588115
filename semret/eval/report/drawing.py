"""Draw the figures and pages beside a report; a figure that fails never costs the result itself."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from semret.errors import MissingDependencyError, cut_text
from semret.foreign import hidden

Draw = Callable[[Path], None]
"""Draws a figure or a page into the file of this name."""

_LONGEST = 300
"""Characters of an error of matplotlib's that are told."""


def load_matplotlib() -> Any:
    """Import matplotlib, even where the home folder does not exist or cannot be written.

    Returns
    -------
    module

    Raises
    ------
    MissingDependencyError
        If it is not installed, or fails to load because of its settings or surroundings; the message names the cause.
    """
    if "matplotlib" not in sys.modules:
        _need_a_folder()
    try:
        with hidden("matplotlibrc"):
            import matplotlib
            import matplotlib.backends.backend_agg
            import matplotlib.figure
    except ImportError as error:
        raise MissingDependencyError(f"matplotlib cannot be imported ({error}); reinstall semret") from error
    except Exception as error:  # an unknown MPLBACKEND, the user's matplotlibrc in another encoding, a full disk
        raise MissingDependencyError(f"matplotlib does not load: {cut_text(error, _LONGEST)}") from error
    return matplotlib


def _need_a_folder() -> None:
    """Give matplotlib a temporary folder for its list of fonts where the home folder is not known."""
    if os.environ.get("MPLCONFIGDIR"):
        return
    try:
        Path.home()
    except RuntimeError:
        folder = tempfile.mkdtemp(prefix="semret-matplotlib-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["MPLCONFIGDIR"] = folder


def draw_all(figures: Mapping[str, Draw], directory: Path) -> dict[str, str]:
    """Draw figures and pages into a folder.

    Parameters
    ----------
    figures : mapping from file name to Draw
    directory : Path

    Returns
    -------
    dict from file name to str
        Why a file could not be drawn; what was begun of it is removed. Empty if all went well.
    """
    failed: dict[str, str] = {}
    for name, draw in figures.items():
        try:
            draw(directory / name)
        except Exception as error:  # whatever a font, a number or a full disk does to a figure, the result stands
            failed[name] = cut_text(error, _LONGEST)
            (directory / name).unlink(missing_ok=True)
    return failed
