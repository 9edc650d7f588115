"""Several pictures as one question, and pictures to avoid: brute force from questions of one picture gives the same."""

from __future__ import annotations

import numpy as np
import pytest

import semret
from semret.errors import ArgumentError, UnknownNameError
from semret.index.sync.sync import sync
from semret.retrieval.search.several import AVOID_WEIGHT, Combining, combined

ALL = 100


@pytest.fixture
def engine(tmp_path, photos, tiny_backbone, draw_picture):
    for seed in range(6, 14):
        draw_picture(seed).save(photos / f"{seed}.png")
    (photos / "copy of 1.png").write_bytes((photos / "1.png").read_bytes())
    sync(tmp_path / ".semret", [photos], tiny_backbone)
    with semret.open(tmp_path / ".semret") as found:
        found._backbone = tiny_backbone()
        yield found


def scores_of(engine, picture, **options):
    return {hit.id: hit.score for hit in engine.query(picture, k=ALL, **options)}


def brute(engine, wanted, avoided, how="scores", weight=AVOID_WEIGHT, **options):
    """Order all images by hand."""
    whole = {**options, "score": "query"} if "region" in options else options
    whole.pop("region", None)
    own = [scores_of(engine, picture, **options) for picture in wanted]
    other = [scores_of(engine, picture, **whole) for picture in avoided]
    hidden = {id_ for picture in avoided for id_ in (hit.id for hit in engine.query(picture, k=1))}
    ids = sorted(set(own[0]) - hidden)

    def values(scores):
        if how == "scores":
            return [scores[id_] for id_ in ids]
        return [1 - sum(scores[other] > scores[id_] for other in ids) / (len(ids) - 1) for id_ in ids]

    total = sum(np.array(values(one)) for one in own) / len(own)
    if other:
        total = total - weight * np.max([values(one) for one in other], axis=0)
    order = sorted(range(len(ids)), key=lambda row: (-total[row], ids[row]))
    return [(ids[row], float(total[row])) for row in order]


@pytest.mark.parametrize("how", ["scores", "ranks"])
@pytest.mark.parametrize("avoided", [[], [7], [1, 8]], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernel": "linear"},
        {"invariance": "maxsim"},
        {"invariance": "pooled"},
        {"score": "query"},
    ],
    ids=str,
)
def test_the_answer_is_that_of_brute_force(engine, photos, how, avoided, options):
    wanted, unwanted = [photos / f"{n}.png" for n in (0, 3, 5)], [photos / f"{n}.png" for n in avoided]
    expected = brute(engine, wanted, unwanted, how, **options)
    for more in ({}, {"exhaustive": True}, {"k": 3}):
        found = engine.query_all(wanted, avoid=unwanted, combine=how, **{"k": ALL, **options, **more})
        assert [(hit.id, hit.score) for hit in found] == expected[: len(found)]
        assert len(found) == min(more.get("k", ALL), len(expected))


def test_the_bandwidth_of_a_kernel_is_that_of_the_candidates(engine, photos):
    wanted = [photos / "0.png", photos / "3.png"]
    expected = brute(engine, wanted, [], kernel="rbf")
    assert [(hit.id, hit.score) for hit in engine.query_all(wanted, k=ALL, kernel="rbf")] == expected


def test_a_region_of_one_picture_may_avoid_others(engine, photos):
    region = "0%,0%,50%,50%"
    found = engine.query_all([photos / "0.png"], avoid=photos / "4.png", k=ALL, region=region)
    assert [(hit.id, hit.score) for hit in found] == brute(
        engine, [photos / "0.png"], [photos / "4.png"], region=region
    )
    assert found.region.patches == 16 or found.region.patches > len(found.region.cells)


def test_candidates_are_those_of_all_pictures_and_each_is_compared_with_each(engine, photos):
    wanted = [photos / "0.png", photos / "9.png"]
    short = [engine.query(picture, k=3, shortlist=3) for picture in wanted]
    union = set().union(*(set(engine.query(picture, k=3, shortlist=3).ids) for picture in wanted))
    found = engine.query_all(wanted, k=3, shortlist=3)
    assert found.stats.shortlist == len(union) > 3
    assert found.stats.solved == 2 * len(union)
    assert found.stats.exact_among_candidates
    expected = [pair for pair in brute(engine, wanted, []) if pair[0] in union]
    assert [(hit.id, hit.score) for hit in found] == expected[:3]
    assert str(found.stats).endswith("mean of scores · exact among the shortlist's candidates")
    assert all(len(one) == 3 for one in short)


def test_hits_say_how_they_score_with_each_picture(engine, photos):
    found = engine.query_all([photos / "0.png", photos / "2.png"], avoid=[photos / "4.png"], k=4, avoid_weight=0.5)
    for hit in found:
        one, two, three = hit.parts
        assert one == scores_of(engine, photos / "0.png")[hit.id]
        assert three == scores_of(engine, photos / "4.png")[hit.id]
        assert hit.score == (one + two) / 2 - 0.5 * three
    assert [(part.name, part.avoided) for part in found.parts] == [
        (str(photos / "0.png"), False), (str(photos / "2.png"), False), (str(photos / "4.png"), True),
    ]  # fmt: skip
    assert found.query == f"{photos / '0.png'} + {photos / '2.png'} - {photos / '4.png'}"
    document = found.as_json()
    assert [picture["avoided"] for picture in document["pictures"]] == [False, False, True]
    assert document["hits"][0]["parts"] == found[0].parts
    assert (document["stats"]["combine"], document["stats"]["avoid_weight"]) == ("scores", 0.5)
    plain = engine.query(photos / "0.png")
    assert "pictures" not in plain.as_json()
    assert "parts" not in plain[0].as_json()


def test_what_is_avoided_is_no_hit_nor_are_its_copies(engine, photos):
    found = engine.query_all([photos / "0.png"], avoid=[photos / "1.png"], k=ALL)
    hidden = {engine.find(photos / "1.png"), engine.find(photos / "copy of 1.png")}
    assert not hidden & {id_ for hit in found for id_ in hit.ids}
    assert (
        len(engine.query_all([photos / "0.png"], avoid=[photos / "1.png"], k=ALL, exclude_self=True)) == len(found) - 1
    )


def test_a_heavier_weight_takes_what_is_like_the_avoided_further_back(engine, photos):
    near = engine.query(photos / "4.png", k=2)[1].id
    ranks = [
        engine.query_all([photos / "0.png"], avoid=[photos / "4.png"], avoid_weight=weight, k=ALL).ids.index(near)
        for weight in (0, 1, 100)
    ]
    assert ranks == sorted(ranks)
    assert ranks[-1] == len(engine) - 3


def test_one_picture_is_a_list_of_one_and_weighs_as_alone(engine, photos):
    for given in (photos / "0.png", [photos / "0.png"], [engine.find(photos / "0.png")], iter([photos / "0.png"])):
        found = engine.query_all(given, k=4)
        assert [(hit.id, hit.score) for hit in found] == [
            (hit.id, hit.score) for hit in engine.query(photos / "0.png", k=4)
        ]


def test_pictures_come_in_every_form_and_may_be_new(engine, photos, draw_picture):
    new = draw_picture(99)
    found = engine.query_all([new, (photos / "0.png").read_bytes(), 3], avoid=[np.asarray(draw_picture(98))], k=2)
    assert found.query == "<image> + <image> + " + engine.collection.paths([3])[0] + " - <image>"
    assert "and &lt;image&gt;" in found._repr_html_()
    assert "not &lt;image&gt;" in found._repr_html_()


def test_filters_hold_for_several_pictures(engine, photos):
    wanted = [photos / "0.png", photos / "3.png"]
    everything = engine.query_all(wanted, k=ALL)
    found = engine.query_all(wanted, k=ALL, min_score=float(everything.scores[3]))
    assert found.ids == everything.ids[:4]
    assert found.parts == everything.parts
    assert len(engine.query_all(wanted, since="2100")) == 0


def test_progress_counts_pairs(engine, photos):
    told = []
    engine.query_all(
        [photos / "0.png", photos / "3.png"], avoid=[photos / "5.png"], progress=lambda *pair: told.append(pair)
    )
    assert told[0][0] == 0
    assert told[-1] == (3 * 13, 3 * 13)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_several_pictures_to_query_are_told_what_there_is(engine, photos):
    for given in ([photos / "0.png", photos / "1.png"], (photos / "0.png",)):
        with pytest.raises(ArgumentError, match=r"engine\.query_all\(pictures\); to each: \[engine\.query\(picture\)"):
            engine.query(given)


@pytest.mark.parametrize(
    ("images", "options", "expected"),
    [
        ([], {}, "no picture to search with"),
        ([0, 1], {"region": "0,0,5,5"}, "region 0,0,5,5 is a part of one picture, but 2 are searched with"),
        ([0, 1], {"explain": True}, "explanations are of the score with one picture"),
        ([0, 1], {"avoid": [1]}, "1.png is to be avoided, but the same picture is searched with"),
        ([0], {"avoid_weight": -1}, "avoid_weight is -1, expected a number of at least 0"),
        ([0], {"avoid_weight": float("nan")}, "avoid_weight is nan"),
        ([0], {"k": 0}, "k is 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(engine, photos, images, options, expected):
    if "avoid" in options:
        options = {"avoid": [photos / f"{n}.png" for n in options["avoid"]]}
    with pytest.raises(ArgumentError, match=expected):
        engine.query_all([photos / f"{n}.png" for n in images], **options)


def test_a_combination_that_there_is_not_is_named(engine, photos):
    with pytest.raises(UnknownNameError, match="combine"):
        engine.query_all([photos / "0.png"], combine="product")
    with pytest.raises(ArgumentError, match="images is a dict, expected a list of pictures"):
        engine.query_all({photos / "0.png": 1})


def test_equal_places_are_shared_and_one_candidate_is_the_first():
    scores = np.array([[3.0, 1.0, 3.0, 2.0]])
    assert combined(scores, np.zeros((0, 4)), Combining(how="ranks")).tolist() == [1.0, 0.0, 1.0, pytest.approx(1 / 3)]
    assert combined(np.array([[5.0]]), np.array([[2.0]]), Combining(how="ranks", avoid_weight=0.5)).tolist() == [0.5]
    assert combined(np.zeros((2, 0)), np.zeros((1, 0)), Combining(how="ranks")).tolist() == []


def test_features_once_made_stand_for_their_picture(engine, photos, draw_picture):
    plain = [photos / "0.png", draw_picture(99), 3]
    made = [engine.represent(picture) for picture in plain]
    engine._backbone = None
    assert pairs(engine.query_all(made[:2], avoid=made[2], k=ALL)) == pairs(
        engine.query_all([photos / "0.png", made[1]], avoid=[3], k=ALL)
    )
    assert pairs(engine.query(made[0], exclude_self=True)) == pairs(engine.query(photos / "0.png", exclude_self=True))
    assert (
        engine.query(made[0], region="0%,0%,50%,50%").ids == engine.query(photos / "0.png", region="0%,0%,50%,50%").ids
    )
    with pytest.raises(ArgumentError, match="the query is pixels"):
        engine.query(made[1], exclude_self=True)


def pairs(result):
    return [(hit.id, hit.score) for hit in result]


def test_features_once_made_are_explained_with_their_picture(engine, photos, draw_picture):
    content = (photos / "0.png").read_bytes()
    assert engine.explain(engine.represent(content), 2).can_be_drawn
    made = engine.represent(content)
    assert engine.explain(made, 2).draw().size == engine.explain(content, 2).draw().size
    assert engine.explain(made, 2).as_json() == engine.explain(content, 2).as_json()
