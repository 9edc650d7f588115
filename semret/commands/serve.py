"""``semret serve``."""

from __future__ import annotations

from typing import Annotated

import typer

from semret.commands.output import printable, progress_bar, reported, say
from semret.commands.query import EngineOptions
from semret.names import amount
from semret.progress import rare_waits_drawn


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
    opened: EngineOptions,
) -> None:
    """Search in the browser: a page on this computer, and the same over HTTP.

    Drop or choose a picture, draw a region, see why a hit was found. The interface for programs is described at /docs.
    The server answers this computer alone; another --host needs a --token, or --no-auth. It shows pictures of the
    index only, and takes over what semret index adds meanwhile. Ctrl-C ends it.
    """
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
        # Only now: these need the extra.
        from semret.server.run import serve as library
        from semret.server.served import Served

        with rare_waits_drawn(progress_bar):
            served = Served.open(lambda: opened.open([]))

        def ready(address: str) -> None:
            collection = served.view.collection
            what = f"{amount(len(collection), 'image')} of {printable(str(collection.path))}"
            say(f"semret: serving {what} at {address} (Ctrl-C ends it)")
            if settings.token is not None:
                say("semret: the page asks for the token")
            if open_:
                import webbrowser

                webbrowser.open(address)

        library(served, settings, ready)
