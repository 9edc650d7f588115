"""What a client may ask for, within limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from starlette.datastructures import UploadFile

from semret.names import escaped
from semret.retrieval.search.options import SearchOptions
from semret.retrieval.search.query_pictures import EncodedImage
from semret.server.problems import RefusedError
from semret.server.served import View, WholeId

MOST_QUERIES = 32
"""Queries of one call."""

MOST_HITS = 1000
"""Of one query."""

_NAME_LENGTH = 255


def _as_text(folder: object) -> object:
    """Write out what of a name is no text, so that it can be checked as text; `View.within` reads it back."""
    return folder if not isinstance(folder, str) or _is_text(folder) else escaped(folder)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class Matching(BaseModel):
    """How pictures are compared; the defaults are those of ``semret query``."""

    model_config = ConfigDict(extra="forbid")

    kernel: str = Field("cosine", description="cosine, linear or rbf")
    invariance: str = Field("permutation", description="permutation, none, maxsim or pooled")
    solver: str = Field("auction", description="a name of the table of solvers")
    center: str = Field("channel", description="channel, position or none")
    score: str | None = Field(None, description="symmetric or query")
    region: str | None = Field(
        None,
        max_length=200,
        description="part of the picture to search with: X,Y,W,H in pixels, or X%,Y%,W%,H%",
        examples=["10%,20%,50%,40%"],
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse true for 1: a client that sends it means something else."""
        if cls.model_fields[info.field_name or ""].annotation is not bool:
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, bool):
                    raise ValueError(f"input should not be {str(each).lower()}; true and false are for switches")
        return value

    def names(self) -> dict[str, Any]:
        """Return the choices by the names that the library has for them.

        Returns
        -------
        dict
        """
        return {name: getattr(self, name) for name in Matching.model_fields}


class Why(Matching):
    """Two images of the index that are to be compared."""

    query: WholeId = Field(description="the image that was searched with")
    id: WholeId = Field(description="the image that was found")


class Options(Matching):
    """How one query is answered."""

    k: int = Field(5, ge=1, le=MOST_HITS, description="hits wanted")
    shortlist: int | None = Field(None, ge=1, description="candidates to rerank")
    exhaustive: bool = Field(False, description="rerank the whole index")
    exclude_self: bool = Field(False, description="leave out the picture itself and its copies")
    folder: Annotated[str | None, BeforeValidator(_as_text)] = Field(
        None,
        max_length=4096,
        description="only images in this folder, and below it: from the root of the index, or absolute",
    )
    since: str | None = Field(
        None,
        max_length=64,
        description="only images whose files were last changed on or after this date: a day, month, year or moment",
        examples=["2024-05"],
    )
    until: str | None = Field(None, max_length=64, description="as since: on or before this date")
    min_score: float | None = Field(None, allow_inf_nan=False, description="only hits that score at least this")

    def as_search(self) -> SearchOptions:
        """Return the options as the library takes them.

        Returns
        -------
        SearchOptions

        Raises
        ------
        ArgumentError, UnknownNameError
            If one does not fit.
        """
        return SearchOptions(
            k=self.k,
            shortlist=self.shortlist,
            exhaustive=self.exhaustive,
            exclude_self=self.exclude_self,
            **self.names(),
            **self.filters(),
        )

    def filters(self) -> dict[str, Any]:
        """Return what hits must be, but for their folder, by the names that the library has for it.

        Returns
        -------
        dict
        """
        return {"since": self.since, "until": self.until, "min_score": self.min_score}


class Composing(Options):
    """How a question of several pictures is answered, or one with pictures to avoid."""

    combine: str | None = Field(
        None, description="of several pictures: scores or ranks, what of their answers is averaged; default: scores"
    )
    not_weight: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="so many times the score with the most similar picture to avoid is taken away; default: 0.75",
    )

    def combining(self) -> dict[str, Any]:
        """Return those choices that were made, by the names that the library has for them.

        Returns
        -------
        dict
        """
        made = {"combine": self.combine, "avoid_weight": self.not_weight}
        return {name: value for name, value in made.items() if value is not None}

    def check_use(self, *, several: bool, avoided: bool) -> None:
        """Refuse choices that would do nothing.

        Parameters
        ----------
        several, avoided : bool
            Whether the question is one of several pictures, and whether there are pictures to avoid.

        Raises
        ------
        RefusedError
            400 if there is one.
        """
        if self.combine is not None and not several and not avoided:
            raise RefusedError(400, "combine goes with all or not, and does nothing without")
        if self.not_weight is not None and not avoided:
            raise RefusedError(400, "not_weight goes with not, and does nothing without")


_Ids: TypeAlias = Annotated[list[WholeId], Field(min_length=1, max_length=MOST_QUERIES)]


class Query(Composing):
    """One question: images of the index by their ids, or a sentence where the model has a text tower."""

    id: WholeId | None = Field(None, description="an image of the index")
    all: _Ids | None = Field(None, description="images of the index: what is like each of them comes first")
    avoid: _Ids | None = Field(None, alias="not", description="images of the index that hits should not be like")
    text: str | None = Field(None, min_length=1, max_length=2000, description="a sentence")

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> Query:
        if [self.id, self.all, self.text].count(None) != 2:
            raise ValueError("a query needs one of id, all and text; pictures are sent as multipart/form-data")
        if self.text is not None and (self.region is not None or self.exclude_self):
            raise ValueError("a sentence has no region, and is in no index; leave region and exclude_self out")
        if self.text is not None and self.avoid is not None:
            raise ValueError("not goes with pictures alone, a sentence has no patches")
        return self


class Form(Composing):
    """The fields of a form with pictures."""

    all: bool = Field(False, description="all pictures are one question: what is like each of them comes first")


class Queries(BaseModel):
    """Several questions in one call."""

    model_config = ConfigDict(extra="forbid")

    queries: Annotated[list[Query], Field(min_length=1, max_length=MOST_QUERIES)]


Picture: TypeAlias = UploadFile | int
"""An upload, or the id of an image of the index."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One question, ready to be answered.

    Attributes
    ----------
    options : Composing
    sentence : str or None
        Then there are no pictures.
    wanted, avoided : sequence of UploadFile or int
        Uploads, and ids of images of the index.
    together : bool
        Whether what is wanted may be several pictures.

    Raises
    ------
    RefusedError
        400 if an option would do nothing.
    """

    options: Composing
    sentence: str | None = None
    wanted: Sequence[Picture] = ()
    avoided: Sequence[Picture] = ()
    together: bool = False

    def __post_init__(self) -> None:
        self.options.check_use(several=self.together, avoided=bool(self.avoided))

    @property
    def composed(self) -> bool:
        """Whether there may be more than one picture to the question."""
        return self.together or bool(self.avoided)


def picture_of(picture: Picture, view: View) -> EncodedImage | int:
    """Return a picture of a question; what was uploaded is read into memory only now.

    Parameters
    ----------
    picture : UploadFile or int
    view : View

    Returns
    -------
    EncodedImage or int

    Raises
    ------
    RefusedError
        404 if the index has no such image; 422 if an upload is empty.
    """
    if not isinstance(picture, int):
        return encoded(picture)
    if view.engine.find(picture) is None:
        raise RefusedError(404, f"the index has no image {picture}")
    return picture


def encoded(upload: UploadFile) -> EncodedImage:
    """Read what was uploaded, from memory or from the disk where it waited.

    Parameters
    ----------
    upload : UploadFile

    Returns
    -------
    EncodedImage

    Raises
    ------
    RefusedError
        422 if it is empty.
    """
    upload.file.seek(0)
    name, data = (upload.filename or "picture")[:_NAME_LENGTH], upload.file.read()
    if not data:
        raise RefusedError(422, f"{name}: is empty")
    return EncodedImage(data, name)
