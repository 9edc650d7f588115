"""Search with regions as an index grows: what a first stage by patches finds, what it takes, and what all images take.

    python benchmarks/regions_at_scale.py PICTURES... [--images 1000 20000] [--queries 40] [--place FOLDER]

Maps are made of real ones. Each picture is embedded whole and, cut, mirrored and lit at random, some times more; of
these maps, those of every seventh picture are kept apart. A made-up image is one of the others, in which one to three
boxes of 3 to 8 rows and columns are replaced by boxes of others, and noise of a third of each token's length is added:
so parts recur in many images, as things do, and no two images are alike. Half of the queries are boxes of 2 to 5 rows
and columns in maps that images were made of, half in those kept apart. Everything else is as in use. Recall is the
share of the best images, by the exact score, that are found; `held_by` the share of the ten best that are among so
many candidates, for queries of either half. Seconds are of one thread, medians; `busy` is processor
time, which hardly depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import scale
from PIL import Image, ImageEnhance, ImageOps

from semret.index import region_words
from semret.index.collection import Collection, open_collection
from semret.index.model_choice import ModelChoice
from semret.index.pictures.decode import decode_image
from semret.index.shortlist.word_recall import shares, unit_tokens
from semret.index.shortlist.word_training import write_trained_words
from semret.index.store.words_file import WORDS_NAME
from semret.integer_tokens import IntegerTokens
from semret.retrieval.search.candidates import Query
from semret.retrieval.search.first_stage import FirstStage
from semret.retrieval.search.options import SearchOptions
from semret.retrieval.search.query_scored import rerank_by_query

GRID = 12, 12
LONGEST = 1000
APART = 7
DIRECTIONS = 64
NOISE = 0.35
HITS = 10
COUNTS = 1000, 2000, 4000


def variant(picture: Image.Image, chance: np.random.Generator) -> Image.Image:
    """Return a part of a picture, perhaps mirrored, in another light."""
    width, height = picture.size
    share = chance.uniform(0.5, 1)
    across, down = int(width * share), int(height * share * chance.uniform(0.85, 1))
    left, top = chance.integers(0, width - across + 1), chance.integers(0, height - down + 1)
    part = picture.crop((left, top, left + across, top + down))
    if chance.random() < 0.5:
        part = ImageOps.mirror(part)
    part = ImageEnhance.Brightness(part).enhance(chance.uniform(0.7, 1.3))
    return ImageEnhance.Color(part).enhance(chance.uniform(0.7, 1.3))


def embedded(pictures: list[Path], variants: int) -> Iterator[np.ndarray]:
    """Give token maps, (n, S, C) float16: of all pictures, then of all their variants."""
    backbone = ModelChoice(model="efficientnet-lite0").loader(Path("none"))()
    chance = np.random.default_rng(0)
    loaded = []
    for path in pictures:
        loaded.append(decode_image(path))
        loaded[-1].thumbnail((LONGEST, LONGEST))
    for turn in range(variants):
        for start in range(0, len(loaded), 16):
            part = [variant(one, chance) if turn else one for one in loaded[start : start + 16]]
            yield backbone.embed(np.stack([backbone.prepare(one) for one in part])).tokens.astype(np.float16)


def reduced(maps: Iterable[np.ndarray]) -> np.ndarray:
    """Return maps in as many directions as made-up networks have channels, (n, S, C) float16, less their mean."""
    tokens = np.concatenate(list(maps))
    sample = tokens[:: max(1, len(tokens) // 200)].reshape(-1, tokens.shape[2]).astype(np.float32)
    mean = sample.mean(axis=0)
    _, vectors = np.linalg.eigh((sample - mean).T @ (sample - mean))
    main = vectors[:, ::-1][:, : scale.CHANNELS]
    return np.stack([((one.astype(np.float32) - mean) @ main).astype(np.float16) for one in tokens])


class Composed:
    """Made-up maps by their numbers: a source as `scale.Source` is one.

    Parameters
    ----------
    pool : ndarray of shape (n, S, C)
        Real maps.
    pictures : int
        How many pictures they are of, which follow one another again and again.
    """

    grid = GRID

    def __init__(self, pool: np.ndarray, pictures: int) -> None:
        of = np.arange(len(pool)) % pictures
        self.pool = pool.reshape(-1, *GRID, pool.shape[2])
        self.used, self.apart = np.flatnonzero(of % APART), np.flatnonzero(of % APART == 0)
        self._pooled = np.random.default_rng(0).standard_normal((pool.shape[2], scale.POOLED)).astype(np.float32)

    def features(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens (count, S, C) and pooled embeddings (count, P)."""
        maps = np.stack([self._map(np.random.default_rng(number)) for number in range(first, first + count)])
        tokens = maps.reshape(count, -1, maps.shape[-1])
        return tokens, tokens.mean(axis=1) @ self._pooled

    def _map(self, chance: np.random.Generator) -> np.ndarray:
        found = self.pool[chance.choice(self.used)].astype(np.float32)
        for _ in range(chance.integers(1, 4)):
            there, here = boxes(chance, 3, 9, 2)
            found[here] = self.pool[chance.choice(self.used)][there]
        noise = chance.standard_normal(found.shape, dtype=np.float32) / np.sqrt(found.shape[-1])
        return found + NOISE * np.linalg.norm(found, axis=-1, keepdims=True) * noise

    def queries(self, count: int) -> Iterator[np.ndarray]:
        """Give the tokens of boxes, (1, n, C)."""
        chance = np.random.default_rng(1)
        for number in range(count):
            source = self.pool[chance.choice(self.apart if number % 2 else self.used)]
            (box,) = boxes(chance, 2, 6, 1)
            yield source[box].reshape(1, -1, source.shape[-1]).astype(np.float32)


def boxes(chance: np.random.Generator, least: int, end: int, count: int) -> list[tuple[slice, slice]]:
    """Return boxes of one size at random places of the grid."""
    height, width = chance.integers(least, end, 2)
    corners = [(chance.integers(GRID[0] - height + 1), chance.integers(GRID[1] - width + 1)) for _ in range(count)]
    return [(slice(top, top + height), slice(left, left + width)) for top, left in corners]


def measure(collection: Collection, queries: list[IntegerTokens]) -> dict[str, float]:
    """Search with and without a first stage."""
    stage, everything, words = FirstStage(collection), collection.ids, region_words.find_words(collection)
    assert words is not None
    options = SearchOptions(k=HITS, region="0,0,1,1", threads=1)
    center = collection.features.center("channel")
    rounds, recalls, candidates, held = [], [], [], []
    for query in queries:
        figures: dict[str, float] = {}
        with scale.timed(figures, "first_stage"):
            found = stage.promising(query, everything, options)
        ids = everything if found is None else found.ids
        answers = []
        for name, among in (("compared", ids), ("exhaustive", everything)):
            with scale.timed(figures, name):
                best = rerank_by_query(Query(tokens=query), collection.source(among), options, center)
            answers.append(among[best.rows])
        rounds.append(figures)
        candidates.append(len(ids))
        unit, lengths = unit_tokens(query)
        found_of = [words.candidates(unit[0], shares(lengths[0]), everything, count) for count in COUNTS]
        held.append([np.isin(answers[1], ids).mean() for ids in found_of])
        recalls.append([np.isin(answers[1][:top], answers[0]).mean() for top in (1, HITS)])
    # What is done once is not counted.
    medians = {name: statistics.median(one[name] for one in rounds[1:]) for name in rounds[0]}
    at_1, at_10 = np.mean(recalls, axis=0).tolist()
    for kind, of in (("used", held[::2]), ("apart", held[1::2])):
        shares_of = np.mean(of, axis=0).tolist()
        medians |= {f"held_by_{count}_{kind}": share for count, share in zip(COUNTS, shares_of, strict=True)}
    return {"recall_at_1": at_1, "recall_at_10": at_10, "candidates": statistics.mean(candidates), **medians}


def measure_size(place: Path, source: Composed, images: int, count: int) -> dict[str, float]:
    """Make an index of so many images, and measure searches and what its words take."""
    index = place / f"regions-{images}"
    if not (index / "manifest.json").exists():
        scale.write(index, place / f"pictures-{images}", 0, images, source, DIRECTIONS)
    figures: dict[str, float] = {"images": images}
    with open_collection(index) as collection:
        read = partial(region_words.stored_integers, collection)
        with scale.timed(figures, "fit"):
            write_trained_words(index / WORDS_NAME, collection.manifest, collection.ids, read)
        words = region_words.find_words(collection)
        assert words is not None
        figures |= {
            "words_bytes_an_image": (index / WORDS_NAME).stat().st_size / images,
            "index_bytes_an_image": scale.size_of(index) / images,
            "words": words.lists.words,
            "recall_measured_at_fit": words.lists.recall,
        }
        queries = [collection.features.as_stored(tokens) for tokens in source.queries(count)]
        figures |= measure(collection, [query for query in queries if isinstance(query, IntegerTokens)])
    return {name: round(value, 5) for name, value in figures.items()}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="+", help="folders of photos")
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 20_000])
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--variants", type=int, default=12, help="maps of each picture")
    parser.add_argument("--place", type=Path, help="folder to work in; what is there is not made again")
    given = parser.parse_args()
    region_words.LEAST_WORDED = 1
    files = sorted(path for folder in given.pictures for path in folder.rglob("*") if path.suffix in {".jpg", ".png"})
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(given.place or temporary)
        place.mkdir(exist_ok=True, parents=True)
        if not (place / "pool.npy").exists():
            np.save(place / "pool.npy", reduced(embedded(files, given.variants)))
        source = Composed(np.load(place / "pool.npy"), len(files))
        for images in given.images:
            start = time.perf_counter()
            print(json.dumps(measure_size(place, source, images, given.queries), indent=2), flush=True)
            print(f"all of it: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
