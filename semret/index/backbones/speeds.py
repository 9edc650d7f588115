"""Speeds of backbones that were measured on this machine, as they are remembered."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from semret.errors import StorageError
from semret.foreign import is_ours, read_regular

_LARGEST_FILE = 2**20


@dataclass(frozen=True, kw_only=True)
class Speed:
    """A measurement.

    Attributes
    ----------
    pictures_per_second : float
        Through the network, as indexing runs it; reading and decoding files comes beside that.
    threads : int
        Of the processor; 1 on an accelerator.
    device : str
        Where the network ran.
    measured : str
        Day, ISO 8601.
    trained : bool
        Whether the weights were the real ones; random numbers take as long.
    machine : str
        Name of the computer.
    """

    pictures_per_second: float
    threads: int
    device: str
    measured: str
    trained: bool
    machine: str

    def __post_init__(self) -> None:
        rate = self.pictures_per_second
        texts = (self.device, self.measured, self.machine)
        if type(rate) is not float or not math.isfinite(rate) or rate <= 0 or type(self.threads) is not int:
            raise ValueError("a number is out of range")
        if not all(type(text) is str and len(text) < 300 for text in texts) or type(self.trained) is not bool:
            raise ValueError("a text is none")

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name.

        Returns
        -------
        dict
        """
        return asdict(self)


def speed_file() -> Path:
    """Return the file that measurements are kept in: ``speeds.json`` in the user's cache of semret.

    Returns
    -------
    Path
    """
    return user_cache_path("semret", appauthor=False) / "speeds.json"


def known_speeds() -> dict[str, Speed]:
    """Return what was measured on this machine before.

    Returns
    -------
    dict of str to Speed
        By name of the backbone; empty where nothing is kept, or what is kept is damaged or may be another's.
    """
    return {name: speed for name, speed in _read().items() if speed.machine == platform.node()}


def _read() -> dict[str, Speed]:
    file = speed_file()
    try:
        if not is_ours(file.lstat()):
            return {}
        document = json.loads(read_regular(file, most=_LARGEST_FILE, follow=False))
        return {str(name): Speed(**values) for name, values in document.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def keep_speeds(speeds: dict[str, Speed]) -> None:
    """Remember measurements, beside those of other backbones.

    Parameters
    ----------
    speeds : dict of str to Speed
        By name of the backbone.

    Raises
    ------
    StorageError
        If the cache cannot be written.
    """
    file = speed_file()
    text = json.dumps({name: asdict(speed) for name, speed in {**_read(), **speeds}.items()}, indent=2)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text + "\n")
            Path(name).replace(file)
        except OSError:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise StorageError(
            f"{file} cannot be written: {error.strerror}; set XDG_CACHE_HOME to a folder of yours"
        ) from error
