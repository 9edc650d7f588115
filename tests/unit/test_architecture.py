"""docs/architecture.md and CONTRIBUTING.md name what is there: every file, every folder, every name in a file."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.places import ROOT

PACKAGE = ROOT / "semret"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATH = r"`((?:[\w{}]+/)*(?:\w+\.py|\w+/))`"


def paths_of(text: str) -> list[str]:
    return sorted({path for path in re.findall(PATH, text) if path.split("/")[0] not in ("tests", "docs")})


def places_of(text: str) -> list[str]:
    return sorted(set(re.findall(r"`((?:semret|tests|docs)/[\w/.-]*)`", text)))


@pytest.mark.parametrize("path", paths_of(PAGE))
def test_every_path_of_the_page_exists(path):
    assert (PACKAGE / path).exists(), f"docs/architecture.md names {path}"


@pytest.mark.parametrize(("path", "name"), re.findall(r"`([\w/]+\.py)`: `(\w+)`", PAGE))
def test_every_name_of_the_page_is_defined_in_its_file(path, name):
    body = ast.parse((PACKAGE / path).read_text(encoding="utf-8")).body
    assert name in {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_every_room_is_on_the_page():
    rooms = {f"{path.parent.relative_to(PACKAGE)}/" for path in PACKAGE.rglob("__init__.py")} - {"./"}
    named = set(paths_of(PAGE))
    # A room that holds only rooms is named by them.
    outer = {room for room in rooms if room in ("index/", "retrieval/")}
    assert rooms - outer <= named
    beside = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "_version.py"}
    assert beside <= named


def test_the_diagram_shows_every_room_once():
    (diagram,) = re.findall(r"```\n(cli\.py .*?)```", PAGE, flags=re.DOTALL)
    shown = re.findall(r"(\w+)/", diagram)
    rooms = [path.parent.name for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]
    assert sorted(shown) == sorted(rooms)


@pytest.mark.parametrize(
    "document", ["CONTRIBUTING.md", *sorted(f"docs/adr/{p.name}" for p in ROOT.glob("docs/adr/*"))]
)
def test_places_that_other_documents_name_exist(document):
    for place in places_of((ROOT / document).read_text(encoding="utf-8")):
        assert (ROOT / place).exists(), f"{document} names {place}"
