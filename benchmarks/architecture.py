"""Figures of the code's shape: modules, lines, functions, and the imports between rooms.

``python benchmarks/architecture.py [FOLDER]`` reads a package, by default this one, without importing it; another
state of the code is measured in a checkout of it. A room is a folder with modules; a module beside folders is a room of
its own. Imports inside functions count, those under TYPE_CHECKING too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np


def main() -> None:
    """Print the figures of the package, and those of its index and retrieval."""
    package = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "semret")
    trees = {name_of(file, package): ast.parse(file.read_text("utf-8")) for file in sorted(package.rglob("*.py"))}
    lines = [len(file.read_text("utf-8").splitlines()) for file in package.rglob("*.py")]
    functions = [length for tree in trees.values() for length in function_lengths(tree)]
    print(f"{len(trees)} modules, {sum(lines)} lines; median, 90 %, largest: {spread(lines)}")
    print(f"{len(functions)} functions; median, 90 %, largest: {spread(functions)}")
    modules = {(one, other) for one, tree in trees.items() for other in imports_of(tree, set(trees)) if one != other}
    for part in ("semret", "semret.index", "semret.retrieval"):
        arrows = between_rooms(modules, part)
        rooms = {room for arrow in arrows for room in arrow}
        circles = sum(len(group) > 1 for group in components(arrows, rooms))
        print(f"{part}: {len(rooms)} rooms, {len(arrows)} arrows, {depth(arrows, rooms)} levels, {circles} circles")


def name_of(file: Path, package: Path) -> str:
    """Return the dotted name of a module."""
    parts = [package.name, *file.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def function_lengths(tree: ast.AST) -> Iterator[int]:
    """Give the lines of every function without its docstring, decorators and comments above it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node, clean=False) is not None
            first = node.body[0]
            yield node.end_lineno - node.lineno + 1 - (first.end_lineno - first.lineno + 1 if documented else 0)


def spread(lengths: Iterable[int]) -> str:
    """Return the median, the 90th percentile and the largest of some numbers."""
    values = np.array(list(lengths))
    return f"{np.median(values):.0f} / {np.percentile(values, 90):.0f} / {values.max()}"


def imports_of(tree: ast.AST, known: set[str]) -> set[str]:
    """Return the modules of the package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return found & known


def between_rooms(modules: set[tuple[str, str]], part: str) -> set[tuple[str, str]]:
    """Return the imports within a part of the package, as pairs of its rooms."""

    def room(module: str) -> str:
        names = module.split(".")[: part.count(".") + 2]
        return ".".join(names)

    inside = [(one, other) for one, other in modules if one.startswith(f"{part}.") and other.startswith(f"{part}.")]
    return {(room(one), room(other)) for one, other in inside if room(one) != room(other)}


def components(arrows: set[tuple[str, str]], rooms: set[str]) -> list[set[str]]:
    """Return the rooms grouped by circles: those that reach one another are in one group."""
    reached = {room: reach(arrows, room) for room in rooms}
    groups: list[set[str]] = []
    for room in sorted(rooms):
        if not any(room in group for group in groups):
            groups.append({room} | {other for other in reached[room] if room in reached[other]})
    return groups


def reach(arrows: set[tuple[str, str]], start: str) -> set[str]:
    """Return the rooms that a room imports, directly or through others."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        one = waiting.pop()
        new = {other for room, other in arrows if room == one} - found
        found |= new
        waiting += new
    return found


def depth(arrows: set[tuple[str, str]], rooms: set[str]) -> int:
    """Return the number of levels: rooms in the longest chain of imports, a circle counting as one room."""
    groups = components(arrows, rooms)
    place = {room: number for number, group in enumerate(groups) for room in group}
    above = {(place[one], place[other]) for one, other in arrows if place[one] != place[other]}
    levels: dict[int, int] = {}

    def level(group: int) -> int:
        if group not in levels:
            levels[group] = 1 + max((level(other) for one, other in above if one == group), default=0)
        return levels[group]

    return max((level(number) for number in range(len(groups))), default=0)


if __name__ == "__main__":
    main()
