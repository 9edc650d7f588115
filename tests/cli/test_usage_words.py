"""What is said of options that were typed wrong, and of files that do not fit, in the words of whoever typed them."""

from __future__ import annotations

import numpy as np
import pytest

from semret.cli import app
from tests.support.commands import invoke


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["query", "-k", "five", "x"], "Invalid value for '-k': expected a whole number"),
        (["query", "--kernel", "foo", "x"], "Invalid value for '--kernel': 'foo' is not one of"),
        (["query", "--min-score", "high", "x"], "Invalid value for '--min-score': expected a number"),
        (
            ["index", "--batch-size", "0", "x"],
            "Invalid value for '--batch-size': expected a value greater than or equal to 1",
        ),
    ],
)
def test_options_typed_wrong_are_told_without_the_words_of_a_library(arguments, said):
    result = invoke(app, *arguments)
    assert result.exit_code == 2
    text = " ".join(result.stderr.split())
    assert said in text
    assert "Value error" not in text
    assert "Input should" not in text


@pytest.mark.parametrize("second", [False, True])
def test_a_feature_file_that_does_not_fit_is_called_by_its_name(second, tmp_path):
    good, bad = tmp_path / "good.npy", tmp_path / "bad.npy"
    np.save(good, np.ones((3, 4, 5)))
    np.save(bad, np.full((3, 4, 5), np.nan))
    files = [good, "--against", bad] if second else [bad]
    result = invoke(app, "rsm", *files, "-o", tmp_path / "out.npy")
    assert result.exit_code == 1
    assert result.stderr == f"semret: {bad} holds 60 NaN and 0 infinite values out of 60; all must be finite\n"
