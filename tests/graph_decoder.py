"""A network that types the nuclei of `Tissue.coded` by their cell graph."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from napari_nucleus.instances import hover_instances
from napari_nucleus.models.msanet.graph import (
    GraphClassifier,
    SentenceBank,
    describe_nuclei,
    type_nuclei,
)
from tests.tissue import TYPES, Decoder

STRIDE, PATCH = 16, 96


class Words:
    """Text encoder: random features, the same for the same sentence; knows what it was asked."""

    def __init__(self, width: int = 8) -> None:
        self.asked: list[str] = []
        self.width = width

    def __call__(self, texts: list[str]) -> Tensor:
        self.asked += texts
        seeds = [np.random.default_rng(list(text.encode())) for text in texts]
        return torch.tensor(np.array([seed.normal(size=self.width) for seed in seeds]))


class GraphDecoder(Decoder):
    """Finds nuclei as `Decoder` does, sees colours 16 px at a time, and has learnt nothing yet."""

    def __init__(self, types: tuple[str, ...] = TYPES, mpp: float = 0.25) -> None:
        super().__init__(types, mpp)
        self.name = "graph_decoder"
        self.classifies_nuclei = True
        torch.manual_seed(26)
        self.tp = GraphClassifier(len(types), visual=3, text=8, width=16)
        with torch.no_grad():
            self.tp.classify.weight *= 4  # both types, and some of them surely
        self.bank = SentenceBank(Words(), 8)
        self.eval()

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        visual = avg_pool2d(features[0], STRIDE, ceil_mode=True)
        return {**super().decode(features, size), "features": visual}

    def maps(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        nuclei, hv = logits["np"][:, 1], logits["hv"]
        return {"np": nuclei, "hv": hv, "features": logits["features"].half()}

    def find(
        self, maps: dict[str, np.ndarray], threshold: float | None = None
    ) -> tuple[np.ndarray, pd.DataFrame]:
        arguments = self.postprocessing_arguments(threshold)
        labels, table = hover_instances(maps["np"], maps["hv"], **arguments)
        return labels, table[["label", "centroid_x", "centroid_y"]]

    def features(
        self, labels: NDArray[np.integer], maps: dict[str, np.ndarray]
    ) -> NDArray[np.float32]:
        return describe_nuclei(labels, maps["features"])

    def classify(
        self, centroids: NDArray[np.float64], features: NDArray[np.floating]
    ) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        found = type_nuclei(self.tp, self.bank, centroids, features, self.mpp, PATCH, size=50)
        return np.array(self.types)[found.argmax(1)], found.max(1)
