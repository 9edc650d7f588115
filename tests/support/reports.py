"""Reports of evaluations, held against their schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from semret.eval.report.schema import find_problems
from tests.support.places import ROOT

SCHEMA = json.loads((ROOT / "docs" / "report-schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def read_report(text: str) -> dict[str, Any]:
    """Return a report that was printed as JSON, once it is what the documented schema says and our own check agrees."""
    report = json.loads(text)
    assert find_problems(report) == []
    VALIDATOR.validate(report)
    return report
