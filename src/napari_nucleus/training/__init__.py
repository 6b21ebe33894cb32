"""Training: from samples, by a recipe, to checkpoints."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_nucleus.training.loop import train, train_steps

__all__ = ["train", "train_steps"]


def __getattr__(name: str) -> Any:
    """Import what trains, and with it torch, when it is first asked for: recipes need none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from napari_nucleus.training import loop

    return getattr(loop, name)
