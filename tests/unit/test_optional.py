from __future__ import annotations

import sys

import pytest

from semret.errors import MissingDependencyError
from semret.optional import need


def test_what_is_there_is_imported():
    assert need("json.decoder", "a test", "json", "nothing to do").JSONDecoder


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.part"])
def test_what_is_missing_is_named_with_advice(module):
    with pytest.raises(MissingDependencyError) as found:
        need(module, "a table", "no-such-package", "run pip install no-such-package")
    assert str(found.value) == "a table needs no-such-package, which is not installed; run pip install no-such-package"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "raise ImportError('old requires NumPy 2.0 or newer,\\nfound 1.26.0')",
            "old requires NumPy 2.0 or newer, found 1.26.0",
        ),
        ("import no_such_package_of_its_own", "No module named 'no_such_package_of_its_own'"),
    ],
)
def test_what_is_there_and_does_not_load_is_not_called_missing(tmp_path, monkeypatch, source, reason):
    (tmp_path / "old_package.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "old_package", raising=False)
    with pytest.raises(MissingDependencyError) as found:
        need("old_package", "a table", "old-package", "run pip install old-package")
    message = str(found.value)
    assert message == f"a table needs old-package, which cannot be imported ({reason}): update it or what it names"
