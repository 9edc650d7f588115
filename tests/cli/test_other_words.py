"""Words that other programs have for commands: one line names the command here."""

import re

import pytest
import typer

from semret.cli import app
from semret.commands.other_words import OTHER_WORDS
from tests.support.commands import invoke

COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize(
    ("word", "command"),
    [
        ("search", "semret query"),
        ("explain", "semret query IMAGE --explain"),
        ("match", "semret query"),
        ("add", "semret index"),
        ("Delete", "semret remove"),
        ("list", "semret info"),
        ("help", "semret --help"),
    ],
)
@pytest.mark.parametrize("more", [[], ["a.jpg", "-k", "3"], ["--help"]])
def test_a_word_of_other_programs_is_answered_in_one_line(word, command, more):
    done = invoke(app, word, *more)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"semret: there is no command {word}; {command} ")
    assert done.stderr.count("\n") == 1


def test_other_words_are_answered_as_before():
    assert "No such command 'quer'. Did you mean 'query'?" in invoke(app, "quer").stderr
    assert "No such command 'search'" in invoke(app, "eval", "search").stderr


@pytest.mark.parametrize("command", list(COMMANDS))
def test_a_command_is_no_other_word(command):
    assert command not in OTHER_WORDS


@pytest.mark.parametrize("answer", list(dict.fromkeys(OTHER_WORDS.values())))
def test_answers_name_commands_and_options_that_there_are(answer):
    named = re.findall(r"semret ([a-z]+|(?=-))((?: ?(?:[A-Z]+|--?[a-z]+))*)", answer)
    assert named
    for name, more in named:
        parameters = (COMMANDS[name] if name else typer.main.get_command(app)).params
        known = {option for parameter in parameters for option in parameter.opts} | {"--help"}
        assert {word for word in more.split() if word.startswith("-")} <= known
