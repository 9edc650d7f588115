"""The picture of a query, in whatever form it comes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

import numpy as np

from semret.arrays import FloatArray
from semret.errors import ArgumentError, ImageDecodeError
from semret.integer_tokens import IntegerTokens

if TYPE_CHECKING:
    from PIL import Image

    from semret.index.pictures.given import PictureLike
    from semret.retrieval.search.regions import SearchedRegion


@dataclass(frozen=True)
class EncodedImage:
    """The content of a picture's file that came from elsewhere, and the name it is to be called by."""

    data: bytes
    name: str


@dataclass(frozen=True)
class OwnFeatures:
    """A query that is no picture but the features of one: `tokens` (S, C) and `pooled` (D,), as its network gave them.

    `pooled` is None where it is to be computed from the tokens.
    """

    tokens: FloatArray
    pooled: FloatArray | None = None


ImageLike: TypeAlias = "PictureLike | int | EncodedImage | OwnFeatures | Seen"
"""A picture in any form, the id of an image of the index, or a query whose features are known already."""

UNSEEN: FloatArray = np.zeros((0, 0), dtype=np.float32)
"""Stands for tokens and embeddings that are not known yet, or of something that has none."""


class Seen(NamedTuple):
    """The picture of a query: what identifies it, and its features.

    Attributes
    ----------
    tokens : ndarray of shape (S, C), or IntegerTokens of one image
        As the index stores them.
    pooled : ndarray of shape (D,)
        As the index stores it.
    name : str
        What the picture is called.
    path : str or None
        Its file.
    content : str or None
        SHA-256 of its file, hexadecimal; None for pixels.
    picture : bytes or None
        Its content, if it came from no file.
    size : (int, int)
        Width and height of the upright picture in pixels; zeros for what is no picture.
    region : SearchedRegion or None
        What of it is searched with: the tokens are those of this region.
    """

    tokens: FloatArray | IntegerTokens
    pooled: FloatArray
    name: str
    path: str | None = None
    content: str | None = None
    picture: bytes | None = None
    size: tuple[int, int] = (0, 0)
    region: SearchedRegion | None = None


def unwrap(image: ImageLike | None) -> ImageLike:
    """Return a query whose content can be hashed and decoded: bytes and file objects become an `EncodedImage`.

    Parameters
    ----------
    image : path, id, EncodedImage, bytes, file object, PIL image, or array or tensor of uint8

    Returns
    -------
    path, id, EncodedImage, OwnFeatures, Seen, PIL image or ndarray

    Raises
    ------
    ArgumentError
        If it is a list, or no picture at all.
    ImageDecodeError, ShapeError
        See `semret.index.pictures.given.plain_form`.
    """
    if isinstance(image, (EncodedImage, OwnFeatures, Seen, str, os.PathLike)):
        return image
    if isinstance(image, (int, np.integer)) and not isinstance(image, bool):
        return int(image)
    if isinstance(image, (list, tuple, set)):
        raise ArgumentError(
            f"the picture is a {type(image).__name__} of {len(image)}, expected one picture; for an answer to all of "
            "them together: engine.query_all(pictures); to each: [engine.query(picture) for picture in pictures]"
        )
    # Here to keep start-up light: a path needs none of it.
    from semret.index.pictures.given import name_of, plain_form

    plain = plain_form(image)
    return EncodedImage(plain, name_of(image)) if isinstance(plain, bytes) else plain


def listed(images: ImageLike | Iterable[ImageLike], role: str) -> list[ImageLike]:
    """Return several queries, each as `unwrap` returns it; one that stands alone is a list of one.

    Parameters
    ----------
    images : picture, or sequence of pictures
    role : str
        What they are, for messages.

    Returns
    -------
    list of ImageLike

    Raises
    ------
    ArgumentError
        If one is no picture.
    ImageDecodeError, ShapeError
        See `unwrap`.
    """
    if isinstance(images, (list, tuple, set, frozenset, Iterator)) and not isinstance(images, Seen):
        return [unwrap(image) for image in images]
    if isinstance(images, Mapping):
        raise ArgumentError(f"{role} is a {type(images).__name__}, expected a list of pictures")
    return [unwrap(cast("ImageLike", images))]


def identify(image: ImageLike) -> Seen:
    """Name a picture and hash its file, without decoding it.

    Parameters
    ----------
    image : path, EncodedImage, PIL image or ndarray
        As `unwrap` gives it, but no id.

    Returns
    -------
    Seen
        Without features: tokens and pooled embedding are `UNSEEN`.

    Raises
    ------
    ImageDecodeError
        If its file cannot be read.
    """
    if isinstance(image, Seen):
        return image
    if isinstance(image, OwnFeatures):
        return Seen(UNSEEN, UNSEEN, "<features>")
    if isinstance(image, EncodedImage):
        content = hashlib.sha256(image.data).hexdigest()
        return Seen(UNSEEN, UNSEEN, image.name, content=content, picture=image.data)
    if isinstance(image, (str, os.PathLike)):
        # Here to keep start-up light: pixels need no file.
        from semret.index.pictures.files import hash_file

        path = os.fspath(image)
        return Seen(UNSEEN, UNSEEN, path, path=path, content=hash_file(path))
    return Seen(UNSEEN, UNSEEN, "<image>")


def pixels(image: ImageLike, size: tuple[int, int]) -> Image.Image:
    """Decode a picture, reduced as far as an input of this height and width allows.

    Parameters
    ----------
    image : path, EncodedImage, PIL image, or ndarray of shape (H, W, 3), uint8
    size : (int, int)
        Height and width that the network takes.

    Returns
    -------
    PIL.Image.Image
        RGB; ``info["original_size"]`` is the width and height of the upright picture before it was reduced.

    Raises
    ------
    ImageDecodeError
        If it cannot be read; the message is ``NAME: REASON``.
    ShapeError
        If it is an array of another shape or dtype than a picture has.
    """
    # Here to keep start-up light: a picture that is stored is not decoded.
    from semret.index.pictures.decode import as_rgb, decode_image

    if not isinstance(image, EncodedImage):
        return as_rgb(cast("PictureLike", image), reduce_to=size)
    try:
        return decode_image(image.data, reduce_to=size)
    except ImageDecodeError as error:
        raise ImageDecodeError(f"{image.name}: {error}") from error
