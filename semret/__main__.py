"""Where the program starts: ``semret``, and ``python -m semret`` where its script is not on the path."""

import sys

# Nothing large is imported before Ctrl-C is understood.
from semret.commands import interrupt


def main() -> None:
    """Run the command line."""
    interrupt.watch()
    from semret import cli

    cli.run()


if __name__ == "__main__":
    if not sys.flags.safe_path:
        # Python puts the current folder first: a typing.py or torch.py among somebody's pictures would be imported.
        del sys.path[0]
    main()
