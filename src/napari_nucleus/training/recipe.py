"""Recipe of a training run: settings as data, checked before anything is computed."""

import tomllib
from collections.abc import Mapping
from dataclasses import field
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from napari_nucleus.datasets import Source
from napari_nucleus.errors import UserError
from napari_nucleus.measure import DEFAULT_MPP
from napari_nucleus.slides import check_mpp

T = TypeVar("T")
Count = Annotated[int, Field(gt=0)]
Number = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Phase:
    """A stretch of a training run with an optimizer of its own.

    Attributes
    ----------
    epochs : Count
        How long it lasts.
    batch : Count
        Patches that a device sees at once.
    accumulate : Count
        Batches whose gradients make one optimizer step.
    lr : Positive
        Peak learning rate.
    train : {"all", "decoder", "types"}
        What is trained: ``"all"``, ``"decoder"`` (all but the encoder) or ``"types"`` (the type
        branch only). The rest is frozen and in evaluation mode.
    views : Number
        n > 0 draws from a fixed pool of n augmented views of every patch of an epoch, so that a
        frozen encoder sees each once: its features are kept on disk. 0 augments anew every time.
    """

    epochs: Count = 25
    batch: Count = 8
    accumulate: Count = 1
    lr: Positive = 1e-3
    train: Literal["all", "decoder", "types"] = "all"
    views: Number = 0


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """Everything about a training run but where the data lie.

    Attributes
    ----------
    model : str
        Name in the registry.
    options : dict of str to Any
        Options of the model's class.
    types : tuple of str or None
        Names of the nucleus types; empty learns segmentation only, None takes all that the data
        annotate.
    mpp : float
        Micrometres per pixel that the network is trained at.
    patch : Count
        Side of a patch in pixels.
    augment : {"none", "basic", "moderate", "strong", "full", "msanet", "eunet3plus", "any_lab"}
        Name of the augmentation: HistoNeXt's five strategies (its Table 1), the other papers' sets,
        or ``"any_lab"`` and ``"foreign_lab"``, made for tissue of laboratories that the training
        data do not show; the latter changes more.
    sampling : {"random", "uniform", "type_aware"}
        ``"random"`` draws datasets by their share and places by area, ``"uniform"`` every dominant
        type equally often, ``"type_aware"`` by `type_weights`.
    type_weights : dict of str to Positive
        Type name to how much more often patches that it dominates are drawn; by frequency and
        within 1 to 20 where none are given.
    np_loss, np_gamma : {"dice", "ce_dice", "focal_dice", "asymmetric", "asymmetric_dice"}
        Loss of the nucleus branch, and the focusing of those that have one.
    tp_loss, tp_gamma : {"dice", "ce_dice", "focal", "focal_dice"}
        Loss of the type branch, and the focal ones' focusing.
    tp_weights : dict of str to Positive
        Type name to how many times as much a pixel of it counts in the type branch's cross-entropy;
        1 where none is given.
    loss_weights : dict of str to Decay
        Name of a loss, as the log has it, to its weight in the sum; 1 where none is given.
    optimizer, weight_decay : {"adam", "adamw"}
        Betas are (0.9, 0.999).
    start_share : Share
        Weight-space interpolation towards the initial weights: saved = (1 - s) · trained +
        s · initial, against forgetting (WiSE-FT, Wortsman et al. 2022). Newly initialised weights
        are saved as trained.
    freeze_norm : bool
        Whether batch normalisation keeps its initial statistics, for data too few to estimate
        better ones.
    schedule : {"step", "cosine"}
        ``"step"`` multiplies the rate by 0.1 every 25 epochs of a phase, ``"cosine"`` lets it fall
        to 0 over a phase.
    warmup : Number
        Steps of a phase until the peak rate.
    ema : Share
        Decay of the moving average of the weights, which is what is kept; 0 keeps the weights
        themselves.
    validate_every : Count
        Epochs between validations, each of which makes a checkpoint.
    patience : Number
        Epochs without a better score after which a phase ends; 0 never ends one early.
    epoch : Number
        Patches in an epoch; 0 is as many as tile the training images once.
    seed : Number
        Of everything random.
    holdout : Share
        Share of a dataset kept for validation where the recipe names no images of it.
    phases
        One after the other.
    data : dict[str, dict of str to Any]
        Dataset folder name to how that folder is read; see `Source`.
    card : dict of str to str
        Further entries of the checkpoint's model card: licence, credit, command.
    """

    model: str = "histonext_atto"
    options: dict[str, Any] = field(default_factory=dict)
    types: tuple[str, ...] | None = None
    mpp: Annotated[float, AfterValidator(check_mpp)] = DEFAULT_MPP
    patch: Count = 192
    augment: Literal[
        "none",
        "basic",
        "moderate",
        "strong",
        "full",
        "msanet",
        "eunet3plus",
        "any_lab",
        "foreign_lab",
    ] = "any_lab"
    sampling: Literal["random", "uniform", "type_aware"] = "type_aware"
    type_weights: dict[str, Positive] = field(default_factory=dict)
    np_loss: Literal["dice", "ce_dice", "focal_dice", "asymmetric", "asymmetric_dice"] = "ce_dice"
    np_gamma: Decay = 1.0
    tp_loss: Literal["dice", "ce_dice", "focal", "focal_dice"] = "ce_dice"
    tp_gamma: Decay = 2.0
    tp_weights: dict[str, Positive] = field(default_factory=dict)
    loss_weights: dict[str, Decay] = field(default_factory=dict)
    optimizer: Literal["adam", "adamw"] = "adamw"
    weight_decay: Decay = 0.05
    start_share: Share = 0.0
    freeze_norm: bool = False
    schedule: Literal["step", "cosine"] = "cosine"
    warmup: Number = 200
    ema: Share = 0.998
    validate_every: Count = 5
    patience: Number = 0
    epoch: Number = 1000
    seed: Number = 0
    holdout: Share = 0.2
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)] = (Phase(),)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    card: dict[str, str] = field(default_factory=dict)

    def source(self, path: Path) -> Source:
        """Return how the dataset folder at `path` is read.

        Parameters
        ----------
        path : Path
            The folder, whose name the recipe may mention in `data`.

        Raises
        ------
        UserError
            As `load_recipe`.
        """
        options = {**self.data.get(path.name, {}), "path": path}
        return checked(Source, options, f"[data.{path.name}]")


def load_recipe(path: Path, **defaults: Any) -> Recipe:
    """Read a recipe from a TOML file.

    Parameters
    ----------
    path : Path
        The file. With ``extends = "other.toml"``, a path relative to the file, it says only what
        differs from another: its keys take the place of the other's, tables are merged.
    **defaults : Any
        Attributes of `Recipe` that hold where the file says nothing.

    Raises
    ------
    UserError
        If it is not valid TOML, or a key is unknown (the message suggests the nearest one), or a
        value has the wrong type or is out of range.
    """
    recipe = checked(Recipe, {**defaults, **_read(path, ())}, str(path))
    for name in recipe.data:
        recipe.source(Path(name))
    return recipe


def _read(path: Path, readers: tuple[Path, ...]) -> dict[str, Any]:
    """Return what a file says, with what it extends; `readers` are those that extend it."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a recipe: {error}") from error
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise UserError(f"{path}: extends = {base!r}: give the name of another recipe's file.")
    readers = (*readers, path.resolve())
    other = path.parent / base
    if other.resolve() in readers:
        raise UserError(f"{path} extends {base}, which extends it again: take one of them out.")
    return _merged(_read(other, readers), values)


def _merged(base: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def checked(settings: type[T], values: dict[str, Any], where: str) -> T:
    """Create settings from values that a user has given.

    Parameters
    ----------
    settings : type
        `Recipe`, `Source` or another dataclass that checks its values.
    values : dict of str to Any
        Name of an attribute to its value.
    where : str
        What the message begins with.

    Raises
    ------
    UserError
        If a name is unknown (the message suggests the nearest one), or a value has the wrong type
        or is out of range.
    """
    try:
        return settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        *table, wrong = first["loc"]
        table_name = ": ".join([where, ".".join(map(str, table))] if table else [where])
        if first["type"] != "unexpected_keyword_argument":
            path = ".".join(map(str, first["loc"]))
            raise UserError(f"{where}: {path} = {first['input']!r}: {first['msg']}.") from None
        keys = signature(Phase if table else settings).parameters
        known = [key for key in keys if key != "path"] + ["extends"] * (settings is Recipe)
        near = get_close_matches(str(wrong), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
        raise UserError(f"{table_name} has no key {wrong!r}: {hint}") from None
