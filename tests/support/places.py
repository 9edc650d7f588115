"""Where things are in the project."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"


def with_root(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment whose processes import this semret and these tests, wherever they are started."""
    return {**(os.environ if environment is None else environment), "PYTHONPATH": str(ROOT)}
