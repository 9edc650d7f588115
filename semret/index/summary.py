"""What an index holds, in numbers."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from semret.index.codec.describe import Description, describe
from semret.index.codec.table import NO_CODEC
from semret.index.collection import Collection
from semret.index.convert import FEWEST_IMAGES
from semret.index.region_words import find_words
from semret.index.store.excluded_file import read_excluded
from semret.index.store.layout import directory_bytes


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A description of one generation of an index.

    Attributes
    ----------
    index, model, root : str
        Index directory, backbone, and the folder that stored paths are relative to.
    checkpoint, weights_sha256 : str
        What the backbone's weights are.
    images, contents : int
        Paths in the index, and different contents among them.
    excluded : tuple of str
        Patterns of what is left out; ones with a slash from the root.
    skipped : int
        Files that could not be indexed, as of the last run over their folder.
    segments, rows, dead_rows : int
        Segment files, images stored in them, and those of them that are not wanted any more.
    generation, format_version : int
    grid, input_size : (int, int)
        Rows and columns of tokens; height and width of the network's input.
    tokens, channels, pooled_dim : int
        S, C and D.
    dtype, created, semret : str
        Of tokens that are stored as they are; when, and by which version, the index was made.
    codec : str
        What tokens are stored with.
    retained_at_fit, retained : float or None
        Share of the tokens' energy that the codec's directions keep: of the images that it was fitted on, and of those
        in the index. None where tokens are stored as they are: by wish, or because there are too few images to fit the
        codec on.
    refit_pays : bool
        Whether the images differ so much from those of the fit that a new index would be better.
    bytes, bytes_per_image : int, float
    shortlist : str
        How the images nearest by pooled embedding are found: ``flat``, by comparing with all, or ``lists``.
    regions : str
        What a region is compared with: ``all`` images, or those that a first stage by ``patches`` finds.
    region_words, region_candidates : int
        Words of that first stage, and images that are compared then; 0 without one.
    region_recall : float
        Share of the 10 best images of a region that were among these, as measured when words were fitted; 1 without.
    lists, lists_searched : int
        Inverted lists, and those of them that a query looks at; 0 without any.
    shortlist_recall : float
        Share of the 100 nearest images that were found, as measured when the lists were fitted; 1 without any.
    """

    index: str
    model: str
    checkpoint: str
    weights_sha256: str
    root: str
    images: int
    contents: int
    excluded: tuple[str, ...]
    skipped: int
    segments: int
    rows: int
    dead_rows: int
    generation: int
    format_version: int
    grid: tuple[int, int]
    input_size: tuple[int, int]
    tokens: int
    channels: int
    pooled_dim: int
    dtype: str
    created: str
    semret: str
    bytes: int
    bytes_per_image: float
    shortlist: str
    lists: int
    lists_searched: int
    shortlist_recall: float
    regions: str
    region_words: int
    region_candidates: int
    region_recall: float
    codec: str
    retained_at_fit: float | None
    retained: float | None
    refit_pays: bool

    @property
    def codec_note(self) -> str:
        """What is to be said of the codec, in a few words."""
        if self.retained is None or self.retained_at_fit is None:
            waits = f" from {FEWEST_IMAGES} images on; until then as they are"
            return self.codec + (waits if self.codec != NO_CODEC else "")
        note = f"{self.codec}, keeps {self.retained:.1%} of the tokens' energy, {self.retained_at_fit:.1%} when fitted"
        return note + ("; indexing into a new directory would fit it anew" if self.refit_pays else "")

    @property
    def shortlist_note(self) -> str:
        """How the nearest images are found, in a few words."""
        if not self.lists:
            return "all pooled embeddings are compared"
        return (
            f"{self.lists_searched} of {self.lists} lists are searched; "
            f"{self.shortlist_recall:.1%} of the 100 nearest were found when they were fitted"
        )

    @property
    def regions_note(self) -> str:
        """What a region is compared with, in a few words."""
        if not self.region_words:
            return "compared with all images"
        return (
            f"compared with {self.region_candidates} images that a first stage by {self.region_words} words finds; "
            f"{math.floor(self.region_recall * 1000) / 10:.1f}% of the 10 best were among them when they were fitted"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name, as plain lists, strings and numbers.

        Returns
        -------
        dict
        """
        lists = {name: list(getattr(self, name)) for name in ("excluded", "grid", "input_size")}
        return {**asdict(self), **lists}


def summarise(collection: Collection) -> Summary:
    """Describe an open index.

    Parameters
    ----------
    collection : Collection
        The index that is open.

    Returns
    -------
    Summary

    Raises
    ------
    OSError
        If a file of the index is taken away meanwhile.
    """
    manifest, identity = collection.manifest, collection.manifest.identity
    described = describe_codec(collection)
    everyone = np.arange(len(collection))
    contents = int(np.count_nonzero(collection.firsts(everyone) == everyone))
    rows = collection.segments.row_count
    size = directory_bytes(collection.path)
    lists = None if collection.nearest.lists is None else collection.nearest.lists.lists
    words = find_words(collection)
    return Summary(
        index=collection.name,
        model=identity.backbone,
        checkpoint=identity.checkpoint,
        weights_sha256=identity.weights_sha256,
        root=str(collection.root.folder),
        images=len(collection),
        contents=contents,
        excluded=tuple(str(rule) for rule in read_excluded(collection.path)),
        skipped=collection.skipped_count,
        segments=len(collection.segments),
        rows=rows,
        dead_rows=rows - contents,
        generation=collection.generation,
        format_version=manifest.format_version,
        grid=identity.grid,
        input_size=identity.preprocessing.size,
        tokens=collection.shape[0],
        channels=collection.shape[1],
        pooled_dim=identity.pooled_dim,
        dtype=manifest.dtype,
        created=manifest.created,
        semret=manifest.semret,
        bytes=size,
        bytes_per_image=size / len(collection) if len(collection) else 0.0,
        shortlist="flat" if lists is None else "lists",
        lists=0 if lists is None else lists.lists,
        lists_searched=0 if lists is None else lists.probed,
        shortlist_recall=1.0 if lists is None else lists.recall,
        regions="all" if words is None else "patches",
        region_words=0 if words is None else words.lists.words,
        region_candidates=0 if words is None else words.examined(1),
        region_recall=1.0 if words is None else words.lists.recall,
        codec=manifest.codec,
        retained_at_fit=None if described is None else described.energy_fit,
        retained=None if described is None else described.energy_now,
        refit_pays=described is not None and described.refit_pays,
    )


def describe_codec(collection: Collection) -> Description | None:
    """Tell how well the codec of an index suits the images in it.

    Parameters
    ----------
    collection : Collection
        The index that is open.

    Returns
    -------
    Description or None
        None where tokens are stored as they are.

    Raises
    ------
    IndexCorruptError
        If what is read is damaged.
    """
    features = collection.features
    if features.codec is None:
        return None
    kept, total = features.energies()
    return describe(features.codec, features.shape[0], kept=kept, total=total)
