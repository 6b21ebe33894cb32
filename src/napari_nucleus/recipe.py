"""What a training run is told: a recipe, as data, checked on load."""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from napari_nucleus.datasets import Folder
from napari_nucleus.errors import UserError


@dataclass(frozen=True)
class Recipe:
    """Everything about a training run but where the data lie.

    Attributes
    ----------
    model
        Name in the registry.
    options
        Options of the model's class.
    types
        Names of the nucleus types; empty learns segmentation only.
    mpp
        Micrometres per pixel that the network is trained at.
    steps
        Optimizer steps.
    batch
        Patches in a step.
    patch
        Side of a patch in pixels, a multiple of 32.
    scale
        Patches are enlarged by a factor between 1 / scale and scale.
    lr, weight_decay, warmup
        Of AdamW: peak rate of a cosine schedule, decay, steps until the peak.
    np_loss
        ``"ce_dice"`` or ``"asymmetric"``, of the nucleus branch.
    tp_loss
        ``"ce_dice"`` or ``"focal"``, of the type branch.
    ema
        Decay of the moving average of the weights, which is what is kept.
    validate_every
        Steps between validations.
    seed
        Of everything random.
    holdout
        Share of a dataset kept for validation where the recipe names no images of it.
    data
        Dataset folder name to how that folder is read; see `Folder`.
    """

    model: str = "histonext_atto"
    options: dict[str, Any] = field(default_factory=dict)
    types: tuple[str, ...] = ()
    mpp: float = 0.25
    steps: int = 3000
    batch: int = 8
    patch: int = 192
    scale: float = 1.25
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 200
    np_loss: str = "ce_dice"
    tp_loss: str = "ce_dice"
    ema: float = 0.998
    validate_every: int = 250
    seed: int = 0
    holdout: float = 0.2
    data: dict[str, dict[str, Any]] = field(default_factory=dict)

    def folder(self, path: Path) -> Folder:
        """Return how the dataset folder at `path` is read."""
        options = dict(self.data.get(path.name, {}))
        _check(options, Folder, f"[data.{path.name}]")
        if options.get("mpp") == "nuclei":
            options["mpp"] = None
        if "holdout" in options:
            options["holdout"] = tuple(options["holdout"])
        return Folder(path, **options)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from a TOML file.

    Raises
    ------
    UserError
        If it is no TOML, or a key is unknown; the message names the nearest right one.
    """
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} cannot be read as a recipe: {error}") from error
    _check(values, Recipe, str(path))
    if "types" in values:
        values["types"] = tuple(values["types"])
    return Recipe(**values)


def _check(values: dict[str, Any], kind: type, where: str) -> None:
    known = [f.name for f in dataclasses.fields(kind)]
    for key in values:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
            raise UserError(f"{where} has no key {key!r}: {hint}")
