"""Every public function says what it takes, gives and raises, in the sections of numpydoc.

`numpydoc lint` reads source as we do here, but takes properties for functions and cannot leave commands out, whose
docstring is their help.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString

from tests.support.places import ROOT

MODULES = sorted((ROOT / "semret").rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def names_of(decorators: list[ast.expr]) -> set[str]:
    return {ast.unparse(decorator).split("(")[0].rsplit(".", 1)[-1] for decorator in decorators}


def public_functions(node: ast.AST, above: str = "") -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_functions(child, f"{above}{child.name}.")
        elif isinstance(child, Function) and not child.name.startswith("_"):
            yield f"{above}{child.name}", child


def commands_of(tree: ast.AST) -> set[str]:
    """Return the functions that are registered as commands: ``app.command(...)(name)``."""
    found = set()
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Call)):
            continue
        if ast.unparse(call.func).split("(")[0].endswith(("command", "callback")):
            found |= {argument.id for argument in call.args if isinstance(argument, ast.Name)}
    return found


def raised_in(function: Function) -> set[str]:
    """Return the names of our errors that the function itself raises."""
    calls = [node.exc for node in ast.walk(function) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    names = {ast.unparse(call.func).split(".")[0] for call in calls}
    return {name for name in names if re.fullmatch(r"[A-Z]\w+Error", name)}


def problems_of(name: str, function: Function) -> list[str]:
    decorators = names_of(function.decorator_list)
    if decorators & {"overload", "setter"}:
        return []
    text = ast.get_docstring(function) or ""
    if "inherited" in decorators or not text:
        return [f"{name} has no docstring"] if not text else []
    sections = NumpyDocString(text)
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    wanted = {argument.arg for argument in arguments} - {"self", "cls"}
    told = {part.strip() for entry in sections["Parameters"] for part in entry.name.replace("*", "").split(",")}
    problems = [f"{name}: parameter {missing} is not described" for missing in sorted(wanted - told)]
    returns = ast.unparse(function.returns) if function.returns is not None else "None"
    gives = returns not in ("None", "NoReturn") and not decorators & {"property", "cached_property"}
    if gives and not (sections["Returns"] or sections["Yields"]):
        problems.append(f"{name}: what it returns is not described")
    described = " ".join(entry.name + entry.type for entry in sections["Raises"])
    problems += [
        f"{name}: raises {error}, which is not described" for error in raised_in(function) if error not in described
    ]
    return problems


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT / "semret")))
def test_public_functions_are_described(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    exempt = commands_of(tree)
    found = [
        problem
        for name, function in public_functions(tree)
        if name not in exempt
        for problem in problems_of(name, function)
    ]
    assert found == []
