"""Optimisation of a model in a phase, step by step."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from napari_nucleus.errors import UserError
from napari_nucleus.models import NucleusModel
from napari_nucleus.models.batch import Batch
from napari_nucleus.models.devices import memory_format
from napari_nucleus.models.feature_cache import FeatureCache, weights_hash
from napari_nucleus.training.branch_losses import branch_losses
from napari_nucleus.training.recipe import Phase, Recipe

_HIGHEST_NORM = 1.0
"""Longer gradients are shortened to this."""

_FRESH = 10.0
"""Factor of the learning rate of newly initialised parameters among trained ones."""


class Diverged(Exception):
    """The loss or its gradient is not a number; the arguments name the images of the batch."""


class Learner:
    """A model, the part of it that learns, and an optimizer.

    Parameters
    ----------
    fabric : Fabric
        Where and how precisely to compute.
    model : NucleusModel
        On the device.
    recipe, phase : Recipe
        What is minimised and how, and what learns.
    learnable : frozenset of str
        Names of the parameters that may learn at all.
    fresh : frozenset of str
        Names of newly initialised parameters.

    Attributes
    ----------
    optimizer
        Of what learns.
    network_seconds
        Time spent in forward and backward passes and in the optimizer.

    Raises
    ------
    UserError
        If there is nothing to learn.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: NucleusModel,
        recipe: Recipe,
        phase: Phase,
        learnable: frozenset[str],
        fresh: frozenset[str] = frozenset(),
    ) -> None:
        self.fabric = fabric
        self.model = model
        self.recipe = recipe
        self.phase = phase
        self.network_seconds = 0.0
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in learnable and self._learns(name.partition(".")[0]))
            parameter.grad = None
        learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not learning:
            raise UserError(
                f"Nothing of this {model.name} learns with train = {phase.train!r}: name another "
                "part in the recipe's phases."
            )
        parts = {1.0: learning.keys() - fresh, _FRESH: learning.keys() & fresh}
        self._times = [times for times, names in parts.items() if names]
        groups = [
            {"params": [parameter for name, parameter in learning.items() if name in parts[times]]}
            for times in self._times
        ]
        optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
        self.optimizer = optimizer(groups, phase.lr, weight_decay=recipe.weight_decay)
        self._wrapped, self._stepper = fabric.setup(model, self.optimizer)
        self._wrapped.mark_forward_method("decode")
        cache = FeatureCache() if phase.views else None
        self._cache = cache if phase.train != "all" else None
        model.cache = cache if phase.train == "all" else None
        self._frozen = ""
        if self._cache:
            about = [model.name, model.options]
            self._frozen = weights_hash(model.get_submodule("encoder"), about)

    def step(self, batches: Iterable[Batch], rate: float) -> dict[str, float]:
        """Take an optimizer step.

        Parameters
        ----------
        batches : iterable of Batch
            Their gradients are averaged.
        rate : float
            Learning rate.

        Returns
        -------
        dict
            Loss of every branch, averaged over batches and processes.

        Raises
        ------
        Diverged
            Before any weight has changed.
        UserError
            If the GPU's memory is too small, or it lacks an operation.
        """
        self._set_mode()
        for group, times in zip(self.optimizer.param_groups, self._times, strict=True):
            group["lr"] = rate * times
        names: list[str] = []
        found: list[dict[str, Tensor]] = []
        try:
            for number, batch in enumerate(batches, 1):
                names.extend(batch.names)
                with self._network():
                    found.append(self._backward(batch, last=number == self.phase.accumulate))
            with self._network():
                self._descend()
                return self._mean(found)
        except FloatingPointError:
            raise Diverged(*dict.fromkeys(names)) from None
        except NotImplementedError as error:
            raise UserError(
                f"{self.fabric.device} lacks an operation that this training needs: train on the "
                "CPU.",
                setting="device",
            ) from error
        except torch.OutOfMemoryError as error:
            raise UserError(
                "The GPU's memory does not hold a batch: lower batch or patch in the recipe."
            ) from error

    def _learns(self, child: str) -> bool:
        """Return whether a direct child of the model is trained."""
        return {"all": True, "decoder": child != "encoder", "types": child == "tp"}[
            self.phase.train
        ]

    def _set_mode(self) -> None:
        self.model.train()
        for name, child in self.model.named_children():
            if not self._learns(name):
                child.eval()
        if self.recipe.freeze_norm:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _backward(self, batch: Batch, last: bool) -> dict[str, Tensor]:
        """Add a batch's gradients, and return the loss of every branch."""
        with self.fabric.no_backward_sync(self._wrapped, enabled=not last):
            parts = branch_losses(self.model, self._logits(batch.images), batch, self.recipe)
            total = torch.stack(list(parts.values())).sum()
            if not torch.isfinite(total):
                raise FloatingPointError
            self.fabric.backward(total / self.phase.accumulate, model=self._wrapped)
        return {key: value.detach() for key, value in parts.items()}

    def _logits(self, images: Tensor) -> dict[str, Tensor]:
        images = images.contiguous(memory_format=memory_format(images.device))
        with self.fabric.autocast():
            if self.phase.train == "all":
                return self._wrapped(images)
            with torch.no_grad():
                features = self._features(images)
            height, width = images.shape[-2:]
            return self._wrapped.decode(features, (height, width))

    def _features(self, images: Tensor) -> list[Tensor]:
        if self._cache is None:
            return self.model.encode(images)
        return self._cache.features(images, self.model.encode, self._frozen)

    def _descend(self) -> None:
        norm = self.fabric.clip_gradients(
            self._wrapped, self._stepper, max_norm=_HIGHEST_NORM, error_if_nonfinite=False
        )
        # in 16 bits, gradients overflow now and then, and Fabric's scaler leaves out that step
        scaled = bool(self.fabric.strategy.precision.state_dict())
        if not scaled and norm is not None and not torch.isfinite(norm):
            raise FloatingPointError
        self._stepper.step()
        self._stepper.zero_grad()

    def _mean(self, found: list[dict[str, Tensor]]) -> dict[str, float]:
        mean = torch.stack([torch.stack(list(parts.values())) for parts in found]).mean(0)
        mean = self.fabric.all_reduce(mean, reduce_op="mean")  # type: ignore[assignment]
        return dict(zip(found[0], mean.tolist(), strict=True))

    @contextmanager
    def _network(self) -> Iterator[None]:
        self._wait()
        start = perf_counter()
        yield
        self._wait()
        self.network_seconds += perf_counter() - start

    def _wait(self) -> None:
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize(self.fabric.device)
