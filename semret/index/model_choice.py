"""Which network is asked for, and whether it is the one that an index was made with, told without loading it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from semret.arrays import require_text
from semret.errors import IncompatibleIndexError, UnknownNameError, WeightsNotFoundError
from semret.index.backbones import registry
from semret.index.backbones.spec import OWN_FEATURES, Backbone
from semret.index.store.manifest import MANIFEST_NAME, Manifest, read_manifest
from semret.paths import PathLike, require_path


@dataclass(frozen=True)
class NetworkLoader:
    """Loads a network when called.

    Attributes
    ----------
    model : str
        Its name, known before it is loaded.
    load : callable
        Returns the network.
    """

    model: str
    load: Callable[[], Backbone]

    def __call__(self) -> Backbone:
        """Load the network.

        Returns
        -------
        Backbone

        Raises
        ------
        WeightsNotFoundError, BackboneError, MissingDependencyError
            If it cannot be had.
        """
        return self.load()


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which network the user asks for, with which settings.

    None stands for what the index was made with, and for a new index for what the model prescribes.

    Attributes
    ----------
    model : str or None
        A name of the registry; None stands for the index's model, ``efficientnet-lite0`` for a new index.
    weights : path or None
        Checkpoint to load instead of the one that the name stands for.
    size : (int, int) or None
        Input height and width.
    geometry, layer, device, autocast
        See `semret.index.backbones.registry.create_backbone`.
    """

    model: str | None = None
    weights: PathLike | None = None
    size: tuple[int, int] | None = None
    geometry: str | None = None
    layer: str | int | None = None
    device: str | None = None
    autocast: str | None = None

    def __post_init__(self) -> None:
        if self.model is not None:
            require_text(self.model, "model")
        if self.weights is not None:
            require_path(self.weights, "weights")
        registry.check_options(
            size=self.size, geometry=self.geometry, layer=self.layer, device=self.device, precision=self.autocast
        )

    def loader(self, index: Path) -> NetworkLoader:
        """Return what loads the network for an index.

        Parameters
        ----------
        index : Path
            Index directory; it need not exist yet.

        Returns
        -------
        NetworkLoader

        Raises
        ------
        IncompatibleIndexError
            If the index was made with another model, size, geometry, layer or precision.
        UnknownNameError
            If there is no such model.
        WeightsNotFoundError
            If `weights` does not exist, which would otherwise show only once a picture is to be embedded.
        """
        if self.weights is not None and not Path(self.weights).exists():
            raise WeightsNotFoundError(f"cannot read the weights {self.weights}: there is no such file or folder")
        manifest = read_manifest(index) if (index / MANIFEST_NAME).exists() else None
        if manifest is None:
            return self._loader_for_new()
        if manifest.identity.family == OWN_FEATURES:
            raise IncompatibleIndexError(
                f"{index} holds features that were given to it, and knows no network to make others with; search it by "
                "id, by a picture that is in it, or by features: engine.query(tokens=...)"
            )
        self._compare(manifest, index)
        return self._loader_for(manifest)

    def _loader_for_new(self) -> NetworkLoader:
        name = self.model or registry.DEFAULT_BACKBONE
        registry.spec_of(name)
        return NetworkLoader(
            name,
            lambda: registry.create_backbone(
                name,
                weights=self.weights,
                size=self.size,
                geometry=self.geometry,
                layer=self.layer,
                device=self.device,
                dtype=self.autocast,
            ),
        )

    def _loader_for(self, manifest: Manifest) -> NetworkLoader:
        identity = manifest.identity

        def load() -> Backbone:
            return registry.create_backbone(
                identity.backbone,
                weights=self.weights,
                size=identity.preprocessing.size,
                geometry=identity.preprocessing.geometry,
                layer=identity.layer,
                device=self.device,
                dtype=identity.autocast,
                pooled=identity.pooled,
            )

        return NetworkLoader(identity.backbone, load)

    def _compare(self, manifest: Manifest, index: Path) -> None:
        identity = manifest.identity
        pairs = {
            "model": (_full_name(self.model), identity.backbone),
            "size": (self.size and "{}x{}".format(*self.size), "{}x{}".format(*identity.preprocessing.size)),
            "geometry": (self.geometry, identity.preprocessing.geometry),
            "layer": (None if self.layer is None else str(self.layer), str(identity.layer)),
            "precision": (self.autocast, identity.autocast or "float32"),
        }
        different = [
            f"{name} is {stored} in the index, {wanted} was asked for"
            for name, (wanted, stored) in pairs.items()
            if wanted is not None and wanted != stored
        ]
        if different:
            raise IncompatibleIndexError(
                f"{index} was made otherwise: {'; '.join(different)}; "
                "leave the option out, or index into another directory with --index"
            )


def _full_name(model: str | None) -> str | None:
    """Return the name that an index has for a model: the file of ``onnx:FILE`` by its absolute path."""
    return registry.spec_of(model).name if model is not None and model.startswith("onnx:") else model


def may_have_text(model: str) -> bool:
    """Tell whether sentences may be compared with the pooled embeddings of a model, without loading it.

    Parameters
    ----------
    model : str
        Name of the backbone, as a manifest has it.

    Returns
    -------
    bool
        True also for a name that is not known.
    """
    try:
        return registry.spec_of(model).text
    except UnknownNameError:
        return True
