"""Weights that do not exist are refused before anything else is done."""

from __future__ import annotations

import pytest

from semret.errors import WeightsNotFoundError
from semret.index.model_choice import ModelChoice


@pytest.mark.parametrize("made", [False, True])
def test_missing_weights_are_refused_before_they_are_needed(tmp_path, request, made):
    index = request.getfixturevalue("tiny_index") if made else tmp_path / ".semret"
    with pytest.raises(WeightsNotFoundError, match=r"cannot read the weights .*missing\.pt: there is no such file"):
        ModelChoice(weights=tmp_path / "missing.pt").loader(index)
