"""The model that a retraining starts from."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from napari_nucleus.models import NucleusModel, create_model


def with_types(model: NucleusModel, types: Sequence[str]) -> tuple[NucleusModel, frozenset[str]]:
    """Give a model other types, and keep of its weights what does not depend on them.

    In weights with a row for every type, a type that the model knew keeps its own.

    Parameters
    ----------
    model : NucleusModel
        The model; it is left as it was.
    types : sequence of str
        Names of the types of the new one.

    Returns
    -------
    model
        The new one, in evaluation mode.
    fresh
        Names of weights that are newly initialised, in part or as a whole.
    """
    types = tuple(types)
    if types == model.types:
        return deepcopy(model), frozenset()
    new = _build(model, types)
    other = _build(model, (*types, "one more")).state_dict()
    old, fresh = model.state_dict(), set()
    state = new.state_dict()
    for name, value in state.items():
        axis = _differing_axis(value, other[name])
        if name in old and axis is None and old[name].shape == value.shape:
            state[name] = old[name]
            continue
        fresh.add(name)
        if name in old and axis is not None:
            _copy_rows(old[name].movedim(axis, 0), value.movedim(axis, 0), model.types, types)
    new.load_state_dict(state)
    new.mpp = model.mpp
    new.instances = dict(model.instances)
    new.card = dict(model.card)
    new.sha256 = model.sha256
    return new.eval(), frozenset(fresh)


def freeze_types(model: NucleusModel) -> None:
    """Freeze the type branch, if any: training on background only would spoil it.

    Parameters
    ----------
    model : NucleusModel
        The model.
    """
    if (branch := type_branch(model)) is not None:
        branch.requires_grad_(False)


def type_branch(model: NucleusModel) -> nn.Module | None:
    """Return the branch that predicts types only, None if there is none (`NucleusModel`).

    Parameters
    ----------
    model : NucleusModel
        The model.
    """
    return dict(model.named_children()).get("tp")


def _build(model: NucleusModel, types: Sequence[str]) -> NucleusModel:
    return create_model(model.name, types, pretrained=False, **model.options)


def _differing_axis(one: Tensor, other: Tensor) -> int | None:
    """Return the axis in which shapes differ, that of the types."""
    sizes = zip(one.shape, other.shape, strict=True)
    return next((axis for axis, (a, b) in enumerate(sizes) if a != b), None)


def _copy_rows(
    old: Tensor, new: Tensor, old_types: Sequence[str], new_types: Sequence[str]
) -> None:
    """Copy the rows of the types that both have, and those before the first type's."""
    before = len(new) - len(new_types)
    if len(old) - len(old_types) != before:
        return
    with torch.no_grad():
        new[:before] = old[:before]
        for row, name in enumerate(new_types, before):
            if name in old_types:
                new[row] = old[before + old_types.index(name)]
