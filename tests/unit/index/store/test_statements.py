"""SQL as every version of Python takes it."""

from __future__ import annotations

import ast
import re

from tests.support.places import ROOT

STATEMENT = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|VALUES)\b")


def statements() -> list[tuple[str, str]]:
    return [
        (f"{file.relative_to(ROOT)}:{node.lineno}", node.value)
        for file in sorted((ROOT / "semret").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.search(node.value)
    ]


def test_marks_have_no_numbers():
    """Python 3.12 warns of ``?1`` with a sequence of values, and 3.14 refuses it."""
    found = statements()
    assert len(found) > 50
    assert [place for place, text in found if re.search(r"\?\d", text)] == []
