"""Several pictures as one question, and pictures to avoid: how their scores are best combined.

    python benchmarks/together.py [--egoobjects FOLDER] [--scenes 12] [--seed 5] [--questions 3000]

A question is some pictures that show a kind of thing; all others are ranked, and those that show it should come first.
Or it is a picture of two kinds of things and one or two pictures of the second kind to avoid; what shows the first kind
without the second should come first. Mean average precision, with 95 % intervals of the differences to the mean of
scores, or to not avoiding. Kinds are those in at least 6 pictures and at most about half of them; every picture is
matched with every other by the default network, as `semret query` does it. A rendered set where no folder is given.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import semret
from semret.eval.data.egoobjects import load_egoobjects
from semret.eval.scenes.egoobjects_layout import make_egoobjects
from semret.retrieval.search.several import Combining, combined

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
LEAST = 6


def average_precision(scores: np.ndarray, wanted: np.ndarray) -> float:
    """Return the average precision of a ranking; `wanted` says what should come first."""
    found = wanted[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(found)[found] / (np.flatnonzero(found) + 1)).mean())


def all_scores(root: Path, index: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the score of every picture with every other, and which kinds of things each shows."""
    dataset = load_egoobjects(root, aspect="any", subset=None)
    semret.build(list(dataset.paths), index=index)
    with semret.open_index(index) as engine:
        ids = [engine.find(path) for path in dataset.paths]
        places = {id_: place for place, id_ in enumerate(ids)}
        scores = np.zeros((len(ids), len(ids)))
        for place, id_ in enumerate(ids):
            for hit in engine.query(id_, k=len(ids), exhaustive=True):
                scores[place, [places[one] for one in hit.ids]] = hit.score
    return scores, dataset.counts > 0


def kinds_of(shown: np.ndarray) -> np.ndarray:
    """Return the kinds that are neither rare nor nearly everywhere."""
    count = shown.sum(axis=0)
    return np.flatnonzero((count >= LEAST) & (count <= 0.53 * len(shown)))


def wanted_together(scores: np.ndarray, shown: np.ndarray, pictures: int, questions: int) -> dict[str, np.ndarray]:
    """Ask for what several pictures have in common; return average precisions by how scores are combined."""
    rng, kinds = np.random.default_rng(0), kinds_of(shown)
    found: dict[str, list[float]] = {}
    for _ in range(questions):
        kind = rng.choice(kinds)
        asked = rng.choice(np.flatnonzero(shown[:, kind]), pictures, replace=False)
        others = np.setdiff1d(np.arange(len(scores)), asked)
        rows = scores[asked][:, others]
        ways = {"one alone": rows[0], "largest score": rows.max(axis=0)}
        ways |= {f"mean of {how}": combined(rows, rows[:0], Combining(how=how)) for how in ("scores", "ranks")}
        for name, combination in ways.items():
            found.setdefault(name, []).append(average_precision(combination, shown[others, kind]))
    return {name: np.array(values) for name, values in found.items()}


def avoided(scores: np.ndarray, shown: np.ndarray, how: str, questions: int) -> dict[float, np.ndarray]:
    """Ask for one kind without another; return average precisions by weight."""
    rng, kinds = np.random.default_rng(0), kinds_of(shown)
    found: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    while len(found[0.0]) < questions:
        kind, other = rng.choice(kinds, 2, replace=False)
        both = np.flatnonzero(shown[:, kind] & shown[:, other])
        unwanted = np.flatnonzero(shown[:, other] & ~shown[:, kind])
        if not len(both) or not len(unwanted) or (shown[:, kind] & ~shown[:, other]).sum() < 3:
            continue
        asked = rng.choice(both)
        bad = rng.choice(unwanted, min(len(unwanted), rng.integers(1, 3)), replace=False)
        others = np.setdiff1d(np.arange(len(scores)), [asked, *bad])
        goal = shown[others, kind] & ~shown[others, other]
        for weight in WEIGHTS:
            combining = Combining(how=how, avoid_weight=weight)
            found[weight].append(
                average_precision(combined(scores[[asked]][:, others], scores[bad][:, others], combining), goal)
            )
    return {weight: np.array(values) for weight, values in found.items()}


def line(name: object, values: np.ndarray, reference: np.ndarray) -> str:
    """Return a mean, and its difference to another with an interval."""
    difference = values - reference
    half = 1.96 * difference.std() / np.sqrt(len(difference))
    return f"{name!s:16}{values.mean():.3f}  {difference.mean():+.3f} ± {half:.3f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--egoobjects", type=Path)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--questions", type=int, default=3000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = options.egoobjects
        if root is None:
            root = Path(scratch) / "scenes"
            make_egoobjects(root, seed=options.seed, scenes=options.scenes, videos=3, frames=4)
        scores, shown = all_scores(root, Path(scratch) / "index")
    print(f"{len(scores)} pictures, {len(kinds_of(shown))} kinds")
    for pictures in (2, 3, 4):
        found = wanted_together(scores, shown, pictures, options.questions)
        print(f"\n{pictures} pictures")
        print("\n".join(line(name, values, found["mean of scores"]) for name, values in found.items()))
    for how in ("scores", "ranks"):
        print(f"\navoided, {how}, by weight")
        weighed = avoided(scores, shown, how, options.questions)
        print("\n".join(line(weight, values, weighed[0.0]) for weight, values in weighed.items()))


if __name__ == "__main__":
    main()
