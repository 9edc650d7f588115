"""What pyproject.toml cannot say: the README as a package index shows it, without links into the repository."""

import re
from pathlib import Path

from setuptools import setup

_PICTURE = re.compile(r"!\[([^]]*)\]\((?!https?:)[^)]*\)")
_LINK = re.compile(r"\[([^]]*)\]\((?!https?:)[^)]*\)")


def portable(text: str) -> str:
    """Return Markdown whose links into the repository are their words alone, and its pictures their descriptions."""
    return _LINK.sub(r"\1", _PICTURE.sub(r"*\1*", text))


setup(
    long_description=portable(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
