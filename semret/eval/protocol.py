"""What the paper did in each of its experiments: the one definition, to follow it and to say where a run differs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

Settings = TypeVar("Settings")

WINDOW = 512
"""Tokens in a window of the paper's matching (section 3.1.1); the default of solver ``batch-optimal``."""

EXACT = frozenset({"auction", "scipy", "ortools"})
"""Solvers that find the optimum, where the paper's protocol asks for it."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the paper ran one experiment.

    Attributes
    ----------
    choices : mapping of str to value
        Name of a setting to the paper's value; a frozenset holds several that the paper used, the first of them by
        `prefer`. A name is that of the settings' field and of the command's parameter alike.
    prefer : mapping of str to value
        For choices that are sets: what ``--paper-protocol`` takes.
    details : mapping of str to str
        Name of a setting to what differs although its value is the paper's.
    differences : tuple of str
        What differs from the paper whatever is chosen; whole sentences without a full stop.
    """

    choices: Mapping[str, Any]
    prefer: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    differences: tuple[str, ...] = ()

    def value_of(self, name: str) -> Any:
        """Return the value that ``--paper-protocol`` takes for a setting.

        Parameters
        ----------
        name : str
            A key of `choices`.

        Returns
        -------
        any
        """
        return self.prefer[name] if name in self.prefer else self.choices[name]


_MATCHING = (
    "batch-optimal cuts its short window among the smallest norms, the published code among the largest, and finds the "
    "optimum of each window, where the published code cuts affinities to thousandths first"
)
_RETRIEVAL = (
    "rbf has one bandwidth for all pairs, on which no order of answers depends; the paper took one for each mini-batch "
    "of pairs, of a size that it does not name, so that its order depended on the batches",
    "which pictures the paper drew is not known",
    "preprocessing is this program's own and pinned; the paper used that of the libraries of May 2024",
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "egoobjects": Protocol(
            choices={
                "queries": 2000,
                "database": frozenset({2500, 5000, 10000}),
                "subset": "test",
                "aspect": "16:9",
                "frame": (1080, 1920),
                "center": "position",
                "solver": "batch-optimal",
                "dtype": "float32",
            },
            prefer={"database": [5000]},
            details={
                "frame": "frames of another size are resized by Pillow's bicubic filter; the paper names none",
                "solver": _MATCHING,
            },
            differences=(
                "a video is taken to be a group and a condition; the paper does not say how it tells videos apart",
                *_RETRIEVAL,
            ),
        ),
        "cityscapes": Protocol(
            choices={"classes": "evaluated", "center": "position", "solver": "batch-optimal", "dtype": "float32"},
            details={"solver": _MATCHING},
            differences=_RETRIEVAL,
        ),
        "translation": Protocol(
            choices={"pairs": 10, "kernel": "rbf", "solver": EXACT},
            prefer={"solver": "auction"},
            differences=(
                "the paper used a ResNet18 on Tiny-ImageNet and torchvision's ViT-B/16 on ImageNet",
                "the paper shows distributions; the area under the ROC curve is this program's",
            ),
        ),
        "correlation": Protocol(
            choices={"count": 2000, "center": "position", "solver": "batch-optimal"},
            details={"solver": _MATCHING},
            differences=("which test pictures of ImageNet the paper drew is not known",),
        ),
        "cka": Protocol(
            choices={
                "batch": 250,
                "center": "position",
                "solver": "batch-optimal",
                "kernel": frozenset({"linear", "rbf"}),
                "estimator": "biased",
            },
            prefer={"kernel": "linear"},
            details={"solver": _MATCHING},
            differences=(
                "the paper trained its networks on CIFAR-100, Tiny-ImageNet and ImageNet itself, and matched CIFAR-100 "
                "exactly",
            ),
        ),
        "runtime": Protocol(
            choices={"sides": [512, 1024, 2048], "center": "none"},
            differences=(
                "the paper measured a ResNet101 on Tiny-ImageNet, 10,000 pairs a size, on a machine it does not name",
                _MATCHING,
            ),
        ),
        "approximation": Protocol(
            choices={"center": "none"},
            differences=("the paper measured a ResNet18 on Tiny-ImageNet", _MATCHING),
        ),
    }
)
"""Name of a command of ``semret eval`` to what the paper did."""


def follow(experiment: str, settings: Settings, given: Collection[str] = ()) -> Settings:
    """Return settings with the paper's value of every field that its protocol decides.

    Parameters
    ----------
    experiment : str
        A key of `PROTOCOLS`.
    settings : dataclass instance
        The paper's choices that it has no field for are ignored.
    given : collection of str
        Fields that the user has set: they stay, and `list_deviations` names them.

    Returns
    -------
    dataclass instance
        A copy with the paper's values.
    """
    protocol = PROTOCOLS[experiment]
    fields = {entry.name for entry in dataclasses.fields(settings)}  # type: ignore[arg-type]
    changes = {name: protocol.value_of(name) for name in protocol.choices if name in fields and name not in given}
    return dataclasses.replace(settings, **changes)  # type: ignore[type-var]


def list_deviations(experiment: str, settings: Mapping[str, Any]) -> list[str]:
    """List how a run differs from the paper: in its settings first, then in what always differs.

    Parameters
    ----------
    experiment : str
        A key of `PROTOCOLS`.
    settings : mapping of str to value
        Those of the run, as its report records them; settings that it does not have are not compared.

    Returns
    -------
    list of str
        Sentences without a full stop.
    """
    protocol = PROTOCOLS[experiment]
    found = []
    for name, paper in protocol.choices.items():
        if name not in settings:
            continue
        if _agrees(settings[name], paper):
            found += [protocol.details[name]] if name in protocol.details else []
            continue
        found.append(f"{name} is {_show(settings[name])}; the paper: {_show(paper)}{_remark(name, settings[name])}")
    return found + list(protocol.differences)


def _agrees(value: Any, paper: Any) -> bool:
    """Tell whether a setting, or each of several, is one of the paper's values."""
    if isinstance(paper, frozenset):
        return all(entry in paper for entry in value) if isinstance(value, list | tuple) else value in paper
    return bool(list(value) == list(paper)) if isinstance(value, list | tuple) else bool(value == paper)


def _show(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, frozenset):
        return " or ".join(str(entry) for entry in sorted(value))
    if isinstance(value, tuple):  # a height and a width
        return " x ".join(str(entry) for entry in value)
    return ", ".join(str(entry) for entry in value) if isinstance(value, list) else str(value)


def _remark(name: str, value: Any) -> str:
    if name == "solver" and value in EXACT:
        return f" with windows of {WINDOW}, which is the optimum too up to {WINDOW} positions"
    return ""
