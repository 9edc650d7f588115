"""What answers the requests that concern the index: it queues them, and hands them to threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from semret.errors import SemretError
from semret.index.pictures.decode import thumbnail
from semret.names import one_line
from semret.retrieval.search.query_pictures import EncodedImage
from semret.server import answering
from semret.server.asks import Ask, Matching, Why, encoded
from semret.server.assets import cached
from semret.server.bodies import read_asks, read_form
from semret.server.desk import Desk, Place
from semret.server.metrics import Metrics
from semret.server.pictures import Pictures, hash_of
from semret.server.problems import GoneError, RefusedError, status_and_line
from semret.server.recent import Recent
from semret.server.served import Served, View
from semret.server.settings import Settings

_log = logging.getLogger(__name__)

_READERS, _MOST_READS = 2, 512
_FOR_A_DAY, _EACH_TIME = "private, max-age=86400", "private, no-cache"


class Service:
    """Searches at one desk, a few at a time, reads pictures at another, so that neither waits for the other.

    Parameters
    ----------
    served : Served
    settings : Settings
    metrics : Metrics
    """

    def __init__(self, served: Served, settings: Settings, metrics: Metrics) -> None:
        self.served = served
        self._metrics = metrics
        self._searches = Desk(settings.searches_at_once, settings.most_waiting)
        self._recent = Recent()
        self._reads = Desk(_READERS, _MOST_READS)
        self._pictures = Pictures()
        metrics.watch("semret_index_images", "Images in the index.", lambda: len(served.view.collection))
        metrics.watch("semret_index_generation", "Number of the index's state.", lambda: served.view.generation)
        metrics.watch(
            "semret_searches_waiting", "Requests at work on a search or waiting.", lambda: self._searches.taken
        )
        served.on_change = metrics.reopened

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Follow the index, and load what searches need, while a block lasts; a search that comes waits for the latter.

        Yields
        ------
        None
        """
        watcher = asyncio.create_task(self.served.watch())
        self._searches.first(partial(_warm, self.served.view))
        try:
            yield
        finally:
            watcher.cancel()
            self._searches.close()
            self._reads.close()

    async def search(self, request: Request) -> dict[str, Any]:
        """Answer a call of ``/api/search``.

        Parameters
        ----------
        request : Request

        Returns
        -------
        dict
            ``generation`` and ``results``, one for each question in their order. Of several, one that fails is
            ``{"error": LINE, "status": N}``.

        Raises
        ------
        SemretError
            If the only one fails.
        """
        asks = await read_asks(request)
        async with self._searches.place(request) as place:
            view = self.served.view
            if len(asks) == 1:
                results = [await self._search_one(place, view, asks[0])]
            else:
                results = [await self._search_any(place, view, ask) for ask in asks]
        return {"generation": view.generation, "results": results}

    async def _search_one(self, place: Place, view: View, ask: Ask) -> dict[str, Any]:
        result = await place.run(partial(answering.search, view, ask, self._recent, place.progress))
        self._metrics.stages(result.stats.seconds)
        return answering.as_json(result)

    async def _search_any(self, place: Place, view: View, ask: Ask) -> dict[str, Any]:
        try:
            return await self._search_one(place, view, ask)
        except GoneError:
            raise
        except SemretError as error:
            status, line = status_and_line(error)
            return {"error": line, "status": status}

    async def explain_stored(self, request: Request, asked: Why) -> dict[str, Any]:
        """Tell why an image is like another one of the index.

        Parameters
        ----------
        request : Request
        asked : Why

        Returns
        -------
        dict

        Raises
        ------
        SemretError
            See `answering.explain`; 404 for an unknown image.
        """
        view = self.served.view
        for one in (asked.query, asked.id):
            hash_of(view, one)
        async with self._searches.place(request) as place:
            return await place.run(partial(answering.explain, view, asked.query, asked.id, asked, self._recent))

    async def explain_upload(self, request: Request) -> dict[str, Any]:
        """Tell why an image is like an uploaded picture.

        Parameters
        ----------
        request : Request
            A form with a file ``image``, the field ``id``, and fields of `Matching`.

        Returns
        -------
        dict

        Raises
        ------
        RefusedError
            400 if there is not one id.
        SemretError
            See `explain_stored`.
        """
        sent = await read_form(request)
        if len(sent.also) != 1:
            raise RefusedError(400, f"expected the number of one image as id, got {len(sent.also)}")
        id_ = sent.also[0]
        matching = Matching.model_validate(sent.fields)
        view = self.served.view
        hash_of(view, id_)

        def work() -> dict[str, Any]:
            return answering.explain(view, encoded(sent.wanted[0]), id_, matching, self._recent)

        async with self._searches.place(request) as place:
            return await place.run(work)

    async def picture(self, request: Request, id_: int) -> Response:
        """Return the file of an image.

        Parameters
        ----------
        request : Request
        id_ : int

        Returns
        -------
        Response

        Raises
        ------
        RefusedError
            See `Pictures.content`.
        """
        view = self.served.view
        async with self._reads.place(request) as place:
            data, media_type = await place.run(partial(self._pictures.content, view, id_))
        response = cached(request, hash_of(view, id_), data, media_type, _EACH_TIME)
        # Opened on its own, a picture is nothing but a picture.
        response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
        return response

    async def small(self, request: Request, id_: int, edge: int) -> Response:
        """Return a small copy of an image.

        Parameters
        ----------
        request : Request
        id_, edge : int

        Returns
        -------
        Response

        Raises
        ------
        SemretError
            See `Pictures.small`.
        """
        view = self.served.view
        async with self._reads.place(request) as place:
            data = await place.run(partial(self._pictures.small, view, id_, edge))
        return cached(request, f"{hash_of(view, id_)}-{edge}", data, "image/jpeg", _EACH_TIME)

    async def preview(self, request: Request) -> Response:
        """Return a small copy of an uploaded picture: browsers cannot show every format that is searched with.

        Parameters
        ----------
        request : Request
            A form with a file ``image``.

        Returns
        -------
        Response

        Raises
        ------
        SemretError
            If it is no picture.
        """
        sent = await read_form(request)

        def work() -> tuple[EncodedImage, bytes]:
            picture = encoded(sent.wanted[0])
            return picture, thumbnail(picture.data, 1024)

        async with self._reads.place(request) as place:
            _, data = await place.run(work)
        return Response(data, media_type="image/jpeg")


def _warm(view: View) -> None:
    try:
        if len(view.collection):
            view.engine.query(int(view.collection.ids[0]), k=1)
        view.engine.backbone()
    except SemretError as error:
        # Told again to whoever needs what is missing.
        _log.warning("not everything can be searched with: %s", one_line(error))
