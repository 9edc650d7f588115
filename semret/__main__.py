"""``python -m semret``: the command line, where its script is not on the path."""

from semret.cli import main

if __name__ == "__main__":
    main()
