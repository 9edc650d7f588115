"""Stored paths become absolute ones in two ways, the quick one for plain paths; both agree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semret.index.store.root import Root
from semret.paths import tidy

PARTS = st.sampled_from(["a", "b.jpg", ".", "..", "...", ".hidden", "", "ü", "\udcff", "a b", "x\n", "\n", "-"])


@pytest.mark.parametrize("folder", ["/", "/photos", "/photos/of mine"])
@given(parts=st.lists(PARTS, min_size=1, max_size=6), absolute=st.booleans())
def test_a_stored_path_is_the_tidy_path_below_the_root(folder, parts, absolute):
    if os.name != "posix":
        pytest.skip("paths of POSIX")
    root = Root.at(Path("/nowhere/.semret"), folder)
    text = ("/" if absolute else "") + "/".join(parts)
    stored = text.encode("utf-8", "surrogateescape")
    assert root.to_path(stored) == tidy(os.path.join(folder, text))  # noqa: PTH118
