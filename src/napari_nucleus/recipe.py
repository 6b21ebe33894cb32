"""What a training run is told: a recipe, as data, checked before anything is computed."""

import tomllib
from dataclasses import field
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from napari_nucleus.datasets import Source
from napari_nucleus.errors import UserError

T = TypeVar("T")
Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """Everything about a training run but where the data lie.

    Attributes
    ----------
    model
        Name in the registry.
    options
        Options of the model's class.
    types
        Names of the nucleus types; empty learns segmentation only, None takes all that the data
        annotate.
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
        Dataset folder name to how that folder is read; see `Source`.
    card
        What the checkpoint's model card shall say besides: licence, credit, command.
    """

    model: str = "histonext_atto"
    options: dict[str, Any] = field(default_factory=dict)
    types: tuple[str, ...] | None = None
    mpp: Positive = 0.25
    steps: Count = 3000
    batch: Count = 8
    patch: Annotated[Count, Field(multiple_of=32)] = 192
    scale: Annotated[float, Field(ge=1)] = 1.25
    lr: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup: Annotated[int, Field(ge=0)] = 200
    np_loss: Literal["ce_dice", "asymmetric"] = "ce_dice"
    tp_loss: Literal["ce_dice", "focal"] = "ce_dice"
    ema: Share = 0.998
    validate_every: Count = 250
    seed: Annotated[int, Field(ge=0)] = 0
    holdout: Share = 0.2
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    card: dict[str, str] = field(default_factory=dict)

    def folder(self, path: Path) -> Source:
        """Return how the dataset folder at `path` is read.

        Raises
        ------
        UserError
            As `load_recipe`.
        """
        options = {**self.data.get(path.name, {}), "path": path}
        return _checked(Source, options, f"[data.{path.name}]")


def load_recipe(path: Path, **defaults: Any) -> Recipe:
    """Read a recipe from a TOML file.

    Parameters
    ----------
    path
        The file.
    **defaults
        Attributes of `Recipe` that hold where the file says nothing.

    Raises
    ------
    UserError
        If it is no TOML, or a key is unknown (the message names the nearest right one), or a value
        is of the wrong kind or out of range.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a recipe: {error}") from error
    return _checked(Recipe, {**defaults, **values}, str(path))


def _checked(kind: type[T], values: dict[str, Any], where: str) -> T:
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        wrong = ".".join(map(str, first["loc"]))
        if first["type"] != "unexpected_keyword_argument":
            raise UserError(f"{where}: {wrong} = {first['input']!r}: {first['msg']}.") from None
        known = [key for key in signature(kind).parameters if key != "path"]
        near = get_close_matches(wrong, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
        raise UserError(f"{where} has no key {wrong!r}: {hint}") from None
