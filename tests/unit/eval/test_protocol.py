"""The paper's protocol: followed where it is asked for, and every departure from it named."""

from dataclasses import dataclass, fields

import pytest

from semret.eval.experiments.cka_report import CkaSettings
from semret.eval.experiments.correlation import CorrelationSettings
from semret.eval.experiments.translation_report import TranslationSettings
from semret.eval.protocol import PROTOCOLS, follow, list_deviations
from semret.retrieval.matching.solvers import SOLVERS


@dataclass(frozen=True, kw_only=True)
class Settings:
    solver: str = "auction"
    center: str = "channel"
    frame: tuple[int, int] | None = None
    other: int = 3


def test_following_takes_the_papers_values_and_keeps_what_was_given():
    followed = follow("egoobjects", Settings())
    assert followed == Settings(solver="batch-optimal", center="position", frame=(1080, 1920))
    assert follow("egoobjects", Settings(), given={"solver"}).solver == "auction"


def test_what_follows_the_paper_deviates_in_no_setting():
    for experiment, protocol in PROTOCOLS.items():
        settings = {name: protocol.value_of(name) for name in protocol.choices}
        assert list_deviations(experiment, settings) == [*protocol.details.values(), *protocol.differences]
        assert protocol.differences, experiment


def test_every_departure_is_named_with_the_papers_value():
    settings = {"solver": "auction", "frame": None, "queries": 50, "database": [35], "center": "position"}
    found = list_deviations("egoobjects", settings)
    assert found[:4] == [
        "queries is 50; the paper: 2000",
        "database is 35; the paper: 2500 or 5000 or 10000",
        "frame is none; the paper: 1080 x 1920",
        "solver is auction; the paper: batch-optimal with windows of 512, which is the optimum too up to 512 positions",
    ]
    assert not any(line.startswith("center") for line in found)
    assert list_deviations("egoobjects", {"database": [2500, 10000]})[0].startswith("a video")


@pytest.mark.parametrize(
    ("experiment", "settings"),
    [("translation", TranslationSettings()), ("correlation", CorrelationSettings()), ("cka", CkaSettings())],
)
def test_every_choice_of_an_experiment_is_one_of_its_settings(experiment, settings):
    assert set(PROTOCOLS[experiment].choices) <= {field.name for field in fields(settings)}
    follow(experiment, settings)


def test_the_papers_solvers_are_known():
    for protocol in PROTOCOLS.values():
        if "solver" in protocol.choices:
            assert protocol.value_of("solver") in SOLVERS
    assert SOLVERS["batch-optimal"].options["window"] == 512
