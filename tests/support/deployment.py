"""The files of `deploy` and the pages about them, and the commands that they hold."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml

from tests.support.places import ROOT

DEPLOY = ROOT / "deploy"
PAGES = (ROOT / "docs" / "cluster.md", ROOT / "docs" / "cluster-search.md")
SHARED = "/mnt/shared"


def documents(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text("utf-8")))


def one(name, kind):
    (found,) = [document for document in documents(name) if document["kind"] == kind]
    return found


AWS, MACHINES = documents("ray-up-aws.yaml")[0], documents("ray-up-machines.yaml")[0]
JOB = one("kuberay-index.yaml", "RayJob")
CLUSTER = one("kuberay-serve.yaml", "RayCluster")
SERVE = one("kuberay-serve.yaml", "Deployment")
SERVICE = one("kuberay-serve.yaml", "Service")
CLUSTERS = {"kuberay-index.yaml": JOB["spec"]["rayClusterSpec"], "kuberay-serve.yaml": CLUSTER["spec"]}


def lines_of_blocks(page):
    for body in re.findall(r"^```\w*\n(.*?)^```", page.read_text("utf-8"), flags=re.M | re.S):
        yield from body.splitlines()


def commands_in(line, program):
    """Return what a line of a shell has a program do: by itself, after another program, or as that one's argument."""
    if not re.search(rf"(^|[\s\"'(]){program} [a-z-]", line):
        return []
    words = shlex.split(line, comments=True)
    inner = [shlex.split(word, comments=True) for word in words if word.startswith(f"{program} ")]
    found = [words[words.index(program) :]] if program in words else inner
    return [] if f"semret {program}" in line else found


def written(program):
    """Give every command of a program that the pages and the files hold, with where it stands."""
    sources = {page.name: list(lines_of_blocks(page)) for page in PAGES}
    sources["kuberay-index.yaml"] = [JOB["spec"]["entrypoint"]]
    sources["kuberay-serve.yaml"] = SERVE["spec"]["template"]["spec"]["containers"][0]["args"][0].splitlines()
    for name in ("ray-up-aws.yaml", "ray-up-machines.yaml"):
        sources[name] = [
            line for key, lines in documents(name)[0].items() if key.endswith("commands") for line in lines
        ]
    for name, lines in sources.items():
        for line in lines:
            for piece in re.split(r"\|\||&&|;", line) if program != "semret" else [line]:
                for words in commands_in(piece, program):
                    yield pytest.param(words, id=f"{name}: {' '.join(words)}")


def of(name, program, *beginning):
    (found,) = [
        param.values[0]
        for param in written(program)
        if param.id.startswith(f"{name}:") and param.values[0][: len(beginning)] == list(beginning)
    ]
    return found


def parsed(words):
    """Read a command of semret as the command line does, and run nothing."""
    import typer

    from semret.cli import app

    group = typer.main.get_command(app)
    context = group.make_context("semret", list(words[1:]))
    name, command, rest = group.resolve_command(context, [*getattr(context, "_protected_args", []), *context.args])
    return command.make_context(name, rest, parent=context).params


def taken(words):
    """What a worker takes, and how many there are at most."""
    from semret.commands.cluster_options import parse_actors

    options = parsed(words)
    return {"CPU": options["actor_cpus"], "GPU": options["actor_gpus"]}, parse_actors(options["actors"])


def fit(amounts, there):
    """How many workers a computer holds."""
    return min(int(there.get(name, 0) // amount) for name, amount in amounts.items() if amount)
