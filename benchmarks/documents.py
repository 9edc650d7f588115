"""Numbers in documents: what a benchmark found goes between two marker lines, with its conditions."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

from semret.eval.report.environment import machine


def put_between_markers(document: Path, script: str, text: str) -> None:
    """Replace what stands between the marker lines of a script in a Markdown file."""
    begin, end = f"<!-- begin: benchmarks/{script} -->", f"<!-- end: benchmarks/{script} -->"
    head, begun, rest = document.read_text(encoding="utf-8").partition(begin)
    _, ended, tail = rest.partition(end)
    if not begun or not ended:
        raise SystemExit(f"{document} lacks the lines {begin} and {end}")
    document.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")


def conditions(*packages: str) -> dict[str, str]:
    """Return what a measurement depends on: processor, cores, and releases of packages."""
    found = machine()
    return {
        "processor": found["processor"],
        "cores": str(found["cpus"]),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def as_sentence(found: dict[str, str]) -> str:
    """Return `conditions` in words."""
    packages = ", ".join(f"{name} {release}" for name, release in found.items() if name not in ("processor", "cores"))
    return f"{found['processor']}, {found['cores']} cores; {packages}"
