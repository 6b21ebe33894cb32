"""Settings of a retraining, and the recipe that makes it quick."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from napari_nucleus.training.recipe import Phase, Recipe
from napari_nucleus.weights.store import DEFAULT_MODEL

if TYPE_CHECKING:
    from napari_nucleus.models import NucleusModel

LEARNING_RATES = {"types": 1e-3, "decoder": 1e-4, "all": 5e-5}
"""Peak learning rate by what is trained."""

EPOCHS = 10

PATCH = 128
"""Side of a patch in pixels of the network."""
_BATCH = 4
_EPOCH = 64
"""Patches in an epoch, where fewer would cover the images once."""
_VIEWS = 4
"""Augmented views of a patch: each passes a frozen encoder once."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Retraining:
    """Settings of a retraining.

    Attributes
    ----------
    data : tuple of Path
        Result folders with reviewed regions, dataset folders, QuPath GeoJSON files beside their
        images.
    model : str
        Name or file of the checkpoint to start from.
    types : tuple of str or None
        Names of the types that the new model knows; None keeps those of the old one. The type
        branch is newly initialised for types that differ.
    train : {"types", "decoder", "all"}
        What is trained: ``"types"`` (the type branch), ``"decoder"`` (all but the encoder, whose
        features are computed once) or ``"all"``.
    epochs : int
        Epochs, of at least 64 patches, and of as many as cover the images once.
    lr : float or None
        Peak learning rate; None takes the one of `LEARNING_RATES`.
    device : str or None
        ``"cpu"``, ``"cuda"``, ``"mps"``, …; None takes the GPU where there is one.

    Examples
    --------
    >>> job = Retraining(data=("slide.nucleus",), epochs=5)
    >>> job.model, job.train, job.epochs
    ('histonext_atto_he', 'decoder', 5)
    """

    data: tuple[Path, ...]
    model: str = DEFAULT_MODEL
    types: tuple[str, ...] | None = None
    train: Literal["types", "decoder", "all"] = "decoder"
    epochs: Annotated[int, Field(gt=0)] = EPOCHS
    lr: Annotated[float, Field(gt=0)] | None = None
    device: str | None = None

    def recipe(self, model: "NucleusModel", tiles: int) -> Recipe:
        """Return the recipe of the training run.

        Parameters
        ----------
        model : NucleusModel
            What is trained.
        tiles : int
            Patches that cover the training images once.
        """
        lr = self.lr or LEARNING_RATES[self.train]
        phase = Phase(
            epochs=self.epochs,
            batch=_BATCH,
            lr=lr,
            train=self.train,
            views=0 if self.train == "all" else _VIEWS,
        )
        return Recipe(
            model=model.name,
            options=model.options,
            types=model.types,
            mpp=model.mpp,
            patch=PATCH,
            augment="moderate",
            sampling="random",
            tp_loss="focal",
            warmup=10,
            weight_decay=0,
            start_share=0.5,
            freeze_norm=True,
            ema=0.98,
            validate_every=1,
            epoch=max(_EPOCH, tiles),
            phases=(phase,),
        )


def parse_types(text: str) -> tuple[str, ...]:
    """Return the type names in a list with commas, each once.

    Parameters
    ----------
    text : str
        The list; empty for segmentation only.

    Returns
    -------
    tuple of str
        The names.

    Examples
    --------
    >>> parse_types("tumour, stroma,tumour")
    ('tumour', 'stroma')
    """
    names = (name.strip() for name in text.split(","))
    return tuple(dict.fromkeys(filter(None, names)))
