"""Contract of all models: images to maps, maps to nuclei."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_nucleus.instances import PostprocessingParameters
from napari_nucleus.measure import DEFAULT_MPP
from napari_nucleus.models.batch import Batch
from napari_nucleus.models.devices import half_precision, memory_format, with_cpu_fallback
from napari_nucleus.models.feature_cache import FeatureCache
from napari_nucleus.models.pooling import nucleus_context
from napari_nucleus.nucleus_types import UNTYPED
from napari_nucleus.slides.tiles import STRIDE


class NucleusModel(nn.Module, ABC):
    """A network with its post-processing.

    Training knows the submodule ``encoder`` as the encoder and ``tp`` as the type branch;
    parameters that are never trained require no gradient from the start.

    Parameters
    ----------
    types : tuple of str
        Names of the nucleus types, without background.
    options : dict of str to Any
        Keyword arguments that rebuild the same architecture through `create_model`.

    Attributes
    ----------
    name : str
        Name in the registry, set by `create_model`.
    types : tuple of str
        Names of the nucleus types, without background; empty if the model only segments.
    options : dict of str to Any
        Keyword arguments that rebuild the same architecture through `create_model`.
    mpp : float
        Micrometres per pixel that the network expects.
    postprocessing : ClassVar[PostprocessingParameters]
        Post-processing parameters that can be fitted, of the class.
    instances : dict of str to Any
        Post-processing parameters, fitted on validation images; those that are left out have
        their published values.
    card : dict of str to Any
        Model card: data, licence, scores, version, command.
    sha256 : str
        Of the checkpoint that it was loaded from; empty where there is none.
    cache : FeatureCache or None
        Features of frozen parts, kept while training repeats the same patches; None where it does
        not.
    classifies_nuclei : bool
        Whether `classify` types all nuclei of an image at once, and not `find` those of a window.
    stride : int
        Pixels to whose multiples the corners of tiles are aligned, so that the maps do not depend
        on the tiles.
    tile, margin : int
        Side of the tiles that slides are computed in, and how far the network sees around them, in
        pixels. They belong to the model as its weights do: other tiles, other nuclei at their
        seams.
    """

    name: str
    types: tuple[str, ...]
    options: dict[str, Any]
    mpp: float
    postprocessing: ClassVar[PostprocessingParameters]
    instances: dict[str, Any]
    card: dict[str, Any]
    sha256: str
    cache: FeatureCache | None
    stride: int
    classifies_nuclei: bool
    tile: int = 640
    margin: int = 64

    def __init__(self, types: tuple[str, ...], options: dict[str, Any]) -> None:
        super().__init__()
        self.types = types
        self.options = options
        self.mpp = DEFAULT_MPP
        self.instances = {}
        self.card = {}
        self.sha256 = ""
        self.cache = None
        self.stride = STRIDE
        self.classifies_nuclei = False

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images to logits.

        Parameters
        ----------
        images : (B, 3, H, W) Tensor of float
            In [0, 1]. RGB, any H and W.

        Returns
        -------
        dict
            ``np`` (B, 2, H, W) logits of background and nucleus; where the paper has them ``hv``
            (B, 2, H, W), horizontal and vertical distance in [-1, 1], and ``tp``
            (B, K + 1, H, W), logits of background and the types. In use, ``features``
            (B, F, H / 4, W / 4), the layer before the types, or before ``np`` of a model without
            types. While training, deeper
            supervision adds keys that begin with ``np_`` or ``tp_``, of the same shapes, and what
            else `own_losses` needs.
        """
        height, width = images.shape[-2:]
        return self.decode(self.encode(images), (height, width))

    @abstractmethod
    def encode(self, images: Tensor) -> list[Tensor]:
        """Map images to what the decoder needs, the part that training may keep frozen.

        Parameters
        ----------
        images : Tensor
            As `forward` takes them.

        Returns
        -------
        list of Tensor
            (B, ...) each; what they hold is the model's own affair.
        """

    @abstractmethod
    def decode(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """Map features to logits.

        Parameters
        ----------
        features : list of Tensor
            As `encode` returns them.
        size : tuple of 2 int
            Height and width of the images in pixels.

        Returns
        -------
        dict
            As `forward` returns.
        """

    @abstractmethod
    def maps(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        """Reduce logits to what `nuclei` needs, still on the device.

        Parameters
        ----------
        logits : dict of str to Tensor
            As `forward` returns them.

        Returns
        -------
        dict
            ``np`` (B, H, W) float probability of nucleus, ``features`` (B, F, h, w) in half
            precision, at a stride that `map_stride` finds, and what else the paper has.
        """

    @abstractmethod
    def find(
        self, maps: dict[str, np.ndarray], threshold: float | None = None
    ) -> tuple[np.ndarray, pd.DataFrame]:
        """Turn the maps of one window into nuclei: the post-processing of this model.

        Parameters
        ----------
        maps : dict of str to ndarray
            As `maps` gives them, without the batch axis.
        threshold : float or None
            Probability from which on a pixel belongs to a nucleus, however low the mean
            probability of the nucleus; None is `threshold` of the model, and nuclei are dropped
            whose mean probability is too low for its parameters.

        Returns
        -------
        labels : (H, W) ndarray of int32
            0 is background.
        table : DataFrame
            One row per nucleus; at least ``label``, ``centroid_x``, ``centroid_y`` (pixels of the
            window), and, of models that classify pixels, ``type`` (name) and ``type_prob``.
        """

    def postprocessing_arguments(self, threshold: float | None) -> dict[str, Any]:
        """Return the keyword arguments with which `find` calls its post-processing.

        Parameters
        ----------
        threshold : float or None
            As `find` takes it.

        Returns
        -------
        dict
            The fitted parameters, with the threshold in place of theirs.
        """
        if threshold is None:
            return self.instances
        return {**self.instances, "np_threshold": threshold, "min_probability": 0.0}

    def name_types(self, table: pd.DataFrame) -> None:
        """Replace the type indices of a table of nuclei by names, in place.

        Parameters
        ----------
        table : DataFrame
            With ``type``, 1 to K; 0 where no pixel of a nucleus has a type.
        """
        names = np.array(self.types or (UNTYPED,), dtype=object)
        table["type"] = names[table["type"].to_numpy() - 1] if self.types else UNTYPED

    def features(
        self, labels: NDArray[np.integer], maps: dict[str, np.ndarray]
    ) -> NDArray[np.float32]:
        """Return the network's features of each nucleus of a window, on which classes are taught.

        Of a model that classifies nuclei, they are also what `classify` takes.

        Parameters
        ----------
        labels : (H, W) ndarray of int
            Nuclei of the window, found by `find` or drawn by hand; 0 is background.
        maps : dict of str to ndarray
            As `find` takes them.

        Returns
        -------
        (N, F) ndarray of float32
            One row per label, in ascending order, rounded to half precision.

        Raises
        ------
        UserError
            If they are not finite.
        """
        return nucleus_context(labels, maps["features"])

    def classify(
        self, centroids: NDArray[np.float64], features: NDArray[np.floating]
    ) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """Type nuclei by what surrounds them, all nuclei of an image at once.

        Parameters
        ----------
        centroids : ndarray of float64
            (N, 2), x and y in pixels of the network, from the first of the image, whatever region
            of it is looked at.
        features : ndarray of floating
            (N, F) as `features` returns them; of a slide in half precision, on disk: to be read
            piece by piece.

        Returns
        -------
        types
            (N,) names.
        probabilities
            (N,) of these types.
        """
        raise NotImplementedError(f"{self.name} classifies pixels, not nuclei.")

    def nuclei(self, maps: dict[str, np.ndarray]) -> tuple[np.ndarray, pd.DataFrame]:
        """Turn the maps of one whole image into typed nuclei.

        Parameters
        ----------
        maps : dict of str to ndarray
            As `find` takes them.

        Returns
        -------
        labels : (H, W) ndarray of int32
            0 is background.
        table : DataFrame
            As `find` returns it, always with ``type`` and ``type_prob``.
        """
        labels, table = self.find(maps)
        if self.classifies_nuclei:
            centroids = table[["centroid_x", "centroid_y"]].to_numpy(float)
            features = self.features(labels, maps)
            table["type"], table["type_prob"] = self.classify(centroids, features)
        return labels, table

    def own_losses(
        self, logits: dict[str, Tensor], batch: Batch, tp_loss: str, tp_gamma: float
    ) -> dict[str, Tensor]:
        """Return losses that only this model has; called while training.

        Parameters
        ----------
        logits : dict of str to Tensor
            As `forward` returns them.
        batch : Batch
            The targets.
        tp_loss : str
            Name of the loss of the types, as a recipe has it.
        tp_gamma : float
            Focusing of that loss.

        Returns
        -------
        dict of str to Tensor
            Scalars by name.
        """
        return {}

    @property
    def threshold(self) -> float:
        """Probability from which on a pixel belongs to a nucleus."""
        return float(self.instances.get("np_threshold", 0.5))

    @with_cpu_fallback
    @torch.inference_mode()
    def predict(self, images: Tensor) -> list[dict[str, np.ndarray]]:
        """Compute the maps of each image of a batch, in mixed precision.

        Parameters
        ----------
        images : (B, 3, H, W) Tensor of uint8
            On any device.

        Returns
        -------
        list of dict
            For every image what `nuclei` takes.
        """
        device = next(self.parameters()).device
        pixels = images.to(device).float().div_(255)
        half = half_precision(device)
        with torch.autocast(device.type, half, enabled=half is not None):
            logits = self(pixels.contiguous(memory_format=memory_format(device)))
        maps = {key: value.cpu().numpy() for key, value in self.maps(logits).items()}
        return [{key: value[i] for key, value in maps.items()} for i in range(len(images))]
