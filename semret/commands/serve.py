"""``semret serve``."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated

import typer

from semret.commands.output import printable, progress_bar, reported, say
from semret.commands.query import EngineOptions
from semret.commands.shard_options import ShardOptions
from semret.errors import MissingDependencyError, cut_text
from semret.names import amount
from semret.paths import absolute
from semret.progress import rare_waits_drawn

if TYPE_CHECKING:
    from semret.retrieval.search.engine import SearchEngine
    from semret.server.settings import Settings


def register(app: typer.Typer) -> None:
    """Add this file's command to the application.

    Parameters
    ----------
    app : typer.Typer
    """
    app.command("serve")(serve)


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on; by default this computer alone.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0 takes a free one.")] = 8100,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="SEMRET_TOKEN",
            show_envvar=True,
            help="What a client must know, sent as Authorization: Bearer TOKEN, and asked for by the page. Others on "
            "this computer can read command lines; the variable is safer.",
        ),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Let everybody in who can reach an address other than this computer's.")
    ] = False,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="Host name that the server may be called by, beyond its address; may be repeated."),
    ] = None,
    max_upload: Annotated[int, typer.Option("--max-upload", help="Megabytes of pictures in one request.")] = 64,
    max_waiting: Annotated[
        int, typer.Option("--max-waiting", help="Searches that may wait for one another before more are refused.")
    ] = 64,
    workers: Annotated[
        int | None,
        typer.Option("--workers", help="Searches at one time; default: one for each processor, at most 4."),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    *,
    spread: ShardOptions,
    opened: EngineOptions,
) -> None:
    """Search in the browser: a page on this computer, and the same over HTTP.

    Drop or choose a picture, draw a region, see why a hit was found. The interface for programs is described at /docs.
    The server answers this computer alone; another --host needs a --token, or --no-auth. It shows pictures of the
    index only, and takes over what semret index adds meanwhile. Ctrl-C ends it. With --ray a cluster answers, with the
    same page and interface.
    """
    spread.check()
    if token is not None and no_auth:
        raise typer.BadParameter("a token is given, which --no-auth would not ask for", param_hint="--no-auth")
    with reported():
        from semret.server.settings import Settings, require_extra

        require_extra()
        settings = Settings(
            host=host,
            port=port,
            token=token,
            open_to_all=no_auth,
            names=tuple(name or ()),
            most_upload_bytes=max_upload * 10**6,
            most_waiting=max_waiting,
            workers=workers,
        )
        with rare_waits_drawn(progress_bar):
            engine = opened.open([])

        def ready(address: str) -> None:
            _tell(engine, settings, address)
            if open_:
                import webbrowser

                webbrowser.open(address)

        if spread.ray is not None:
            _serve_on_ray(spread, engine, settings, opened, ready)
            return
        # Only now: these need the extra.
        from semret.server.run import serve as library
        from semret.server.served import Served

        library(Served.open(lambda: engine), settings, ready)


def _serve_on_ray(
    spread: ShardOptions,
    engine: SearchEngine,
    settings: Settings,
    opened: EngineOptions,
    ready: Callable[[str], None],
) -> None:
    from semret.cluster.extra import require_cluster

    require_cluster("semret serve --ray")
    try:
        from semret.cluster.front import Plan
        from semret.cluster.serving import serve_on_ray
    except ImportError as error:
        raise MissingDependencyError(
            f"semret serve --ray needs ray[serve] as well: {cut_text(error)}; run pip install 'semret[cluster,server]'"
        ) from error

    weights = None if opened.weights is None else absolute(opened.weights)
    plan = Plan(
        index=engine.collection.path,
        settings=settings,
        layout=spread.layout(),
        name=f"semret-{sha256(os.fsencode(engine.collection.path)).hexdigest()[:16]}",
        weights=weights,
        device=opened.device,
    )
    # Those who answer open it themselves; held open here, it would keep segments from being deleted.
    engine.close()
    serve_on_ray(plan, spread.ray or "", ready, lambda line: say(f"semret: {line}"))


def _tell(engine: SearchEngine, settings: Settings, address: str) -> None:
    what = f"{amount(len(engine), 'image')} of {printable(engine.collection.name)}"
    say(f"semret: serving {what} at {address} (Ctrl-C ends it)")
    if settings.token is not None:
        say("semret: the page asks for the token")
