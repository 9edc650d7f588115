"""Generate a small collection of pictures, index it, search it, and write a page of the hits; needs no network.

Run by ``make demo``. Every command is printed before it is run, so that it can be typed again by hand.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

from semret.eval.scenes.collection import render_collection

PICTURES = 60
FOLDER = Path("demo")


def run(*arguments: str) -> None:
    """Print a semret command and run it, ending the demo if it fails."""
    sys.stdout.write(f"\n$ semret {shlex.join(arguments)}\n")
    sys.stdout.flush()
    command = Path(sysconfig.get_path("scripts"), "semret")
    environment = {**os.environ, "SEMRET_INDEX": str(FOLDER / ".semret"), "HF_HUB_OFFLINE": "1"}
    finished = subprocess.run([str(command), *arguments], env=environment, check=False)
    if finished.returncode:
        sys.exit(finished.returncode)


def main() -> None:
    """Run the demo in the folder ``demo`` of the current directory."""
    pictures = FOLDER / "pictures"
    if not pictures.exists():
        sys.stdout.write(f"rendering {PICTURES} pictures into {pictures}\n")
        render_collection(pictures, PICTURES, seed=0)
    query = str(sorted(pictures.glob("*.jpg"))[8])
    page = FOLDER / "hits.html"
    run("index", str(pictures))
    run("query", query, "-k", "5", "--html", str(page))
    sys.stdout.write(f"\nThe hits as a page: {page.resolve().as_uri()}\n")


if __name__ == "__main__":
    main()
