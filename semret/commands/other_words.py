"""What is said where somebody types a word that other programs have for a command of this one."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from semret.commands.output import say

_ANSWERS = {
    "search find similar ask lookup": "semret query IMAGE finds the pictures most like one",
    "explain why draw": "semret query IMAGE --explain --open shows which patches of pictures met",
    "match compare score similarity": "semret query IMAGE matches a picture with those of the index, "
    "semret rsm FEATURES -o FILE representations with one another",
    "add update sync build create init scan reindex": "semret index PATH makes the index, and brings it up to date",
    "watch follow": "semret index PATH --watch follows folders",
    "delete del rm forget drop": "semret remove PATH takes pictures out of the index, and leaves their files alone",
    "prune": "semret index PATH --prune removes the images of folders that are gone",
    "clean gc vacuum shrink optimize optimise": "semret compact frees the space of pictures that were removed",
    "list ls show status stat stats describe count": "semret info describes the index",
    "dedup dedupe dupes copies": "semret duplicates finds copies and near-copies",
    "server web http browse browser ui gui": "semret serve answers in the browser",
    "check fsck validate test": "semret verify checks the index",
    "repair fix": "semret verify --repair rebuilds what can be rebuilt",
    "convert recode": "semret compact --codec stores tokens more coarsely",
    "backup save pack": "semret export FILE writes the index to one file",
    "restore load unpack": "semret import FILE makes an index from an exported file",
    "embed encode features vectors dump": "semret tokens -o FILE writes what is stored of pictures",
    "networks backbones": "semret models lists the networks",
    "benchmark bench evaluate evaluation experiment experiments": "semret eval runs benchmarks and experiments",
    "help": "semret --help lists the commands",
    "version": "semret --version prints the version",
}
OTHER_WORDS = {word: answer for words, answer in _ANSWERS.items() for word in words.split()}
"""For each word the sentence that names the command."""


class Group(TyperGroup):
    """The commands; where a word that other programs have for one is typed, a line names it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that was typed.

        Parameters
        ----------
        ctx : click.Context
        args : list of str
            What was typed, the command first.

        Returns
        -------
        (str, click.Command, list of str)
            Its name, itself, and what was typed for it.

        Raises
        ------
        typer.Exit
            With status 2, as of other wrong usage, if the command is called otherwise here.
        click.UsageError
            If there is no such command.
        """
        answer = OTHER_WORDS.get(args[0].lower())
        if answer is not None and self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            say(f"semret: there is no command {args[0]}; {answer}")
            raise typer.Exit(2)
        return super().resolve_command(ctx, args)
