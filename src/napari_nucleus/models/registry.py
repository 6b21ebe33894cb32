"""Names of models and how each is built."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from inspect import signature
from typing import Any

from napari_nucleus.errors import UserError
from napari_nucleus.models.base import NucleusModel


class NoSuchModel(UserError):
    """There is no model of that name, or it has no such options."""


_BUILDERS: dict[str, Callable[..., NucleusModel]] = {}


def register_model(name: str, build: Callable[..., NucleusModel]) -> None:
    """Make a model known by name.

    Parameters
    ----------
    name : str
        Name of the model.
    build : callable
        Takes ``types`` and the options as keyword arguments.
    """
    _BUILDERS[name] = build


def list_models() -> list[str]:
    """Return the names that `create_model` knows, smallest model of a family first."""
    return list(_BUILDERS)


def create_model(name: str, types: Iterable[str] = (), **options: Any) -> NucleusModel:
    """Build a model by name.

    Parameters
    ----------
    name : str
        One of `list_models`, in timm's style: ``"histonext_atto"``.
    types : iterable of str
        Names of the nucleus types, without background. Without types the model segments only.
    **options : Any
        Options of the model's class; they travel with its checkpoint.

    Returns
    -------
    NucleusModel
        In training mode, on the CPU.

    Raises
    ------
    UserError
        If the name is unknown (the message offers the nearest ones), or an option is.

    Examples
    --------
    >>> model = create_model("histonext_atto", types=["inflammatory"], pretrained=False)
    >>> model.types
    ('inflammatory',)
    """
    if name not in _BUILDERS:
        near = get_close_matches(name, _BUILDERS, n=3) or list(_BUILDERS)
        raise NoSuchModel(f"There is no model named {name!r}; did you mean {', '.join(near)}?")
    build = _BUILDERS[name]
    try:
        signature(build).bind(types=types, **options)
    except TypeError as error:
        raise NoSuchModel(f"{name} cannot be built with these options: {error}.") from error
    model = build(types=tuple(types), **options)
    model.name = name
    return model
