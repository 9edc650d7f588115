"""What a client may send for a number, and what it may not."""

import pytest
from pydantic import ValidationError

from semret.server.asks import Query, Why


@pytest.mark.parametrize("name", ["id", "k", "shortlist", "min_score", "kernel", "folder"])
@pytest.mark.parametrize("truth", [True, False])
def test_true_is_no_number_and_no_name(name, truth):
    with pytest.raises(ValidationError, match=f"input should not be {str(truth).lower()}"):
        Query.model_validate({"id": 1, name: truth})


def test_switches_take_what_json_and_forms_have_for_them():
    for value in (True, 1, "true", "on"):
        assert Query.model_validate({"id": 1, "exclude_self": value, "exhaustive": value}).exclude_self
    with pytest.raises(ValidationError, match="input should not be true"):
        Why.model_validate({"query": True, "id": 2})
