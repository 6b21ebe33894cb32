"""MSA-Net: a ViT taught by CLIP, a ConvNeXt decoder, and types by a graph of nuclei.

Paper: Guan, Chu, Wang, Li, Yi. "Instance-level semantic segmentation of nuclei based on multimodal
structure encoding", BMC Bioinformatics 26, 42 (2025).

Weights, where they can be had, are timm's ViT-B/16 (Apache-2.0) and a CLIP of open_clip's (MIT);
see `napari_nucleus.models.msanet.clip` for the latter's names. CLIP never learns and is in no
checkpoint, which says instead with which it was trained, and is refused by another.

Settled where the paper is silent or contradicts itself:

- 270 px are no whole number of the ViT's 16 px: images are padded on the right and at the bottom to
  272, which makes the paper's 17 x 17, and maps are cropped back.
- An image larger than the patches trained with goes through ViT and CLIP in windows of that size,
  so that a place is seen with as much around it as in training; the decoder sees the whole.
- v_i meets x_i, and reaches its resolution by a learned "3D upsampling" (a transposed convolution):
  inside one token, a bilinear one cannot tell places apart.
- Volumes are pooled by 2 and 4 of their own cells. The "adaptive average pooling" of the fourth
  stage, of unnamed size, is left out.
- Stages keep 256 channels at strides 16 and 8, and have 128 at 4 and 2: with 256 throughout, two
  3x3 convolutions per block cost more than the published time allows.
- A nucleus's 256 visual features are those of the four volumes, 64 each, side by side.
- τ of the focal loss is the inverse share of a class among the nuclei seen in training, over K.
- CLIP's direct uses (Table 8) type nuclei by its features of the patches that a nucleus lies in:
  zero-shot by their likeness to the names of the types, by a linear layer, or by one while CLIP's
  image encoder learns as well.
- Types are learned on the annotated nuclei of a patch, and predicted for those found.

This network has 110 million parameters beside CLIP's 150, and takes 92 GMAC for 270 px, CLIP's 26
included. ``msanet_small`` is a compact variant of this project: the same code, for a processor.
"""

from copy import deepcopy
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from timm.data.constants import IMAGENET_INCEPTION_MEAN, IMAGENET_INCEPTION_STD
from torch import Tensor, nn

from napari_nucleus.errors import UserError
from napari_nucleus.instances import DISTANCE, distance_instances
from napari_nucleus.models import losses
from napari_nucleus.models.base import NucleusModel
from napari_nucleus.models.batch import Batch
from napari_nucleus.models.devices import with_cpu_fallback
from napari_nucleus.models.msanet.clip import PATCH, choose_clip, patch_features
from napari_nucleus.models.msanet.decoder import Decoder, Fusion, visual_features
from napari_nucleus.models.msanet.graph import (
    SHAPE_COLUMNS,
    GraphClassifier,
    SentenceBank,
    describe_nuclei,
    lattice_coordinates,
    neighbour_edges,
    nucleus_shapes,
    sentences,
    type_nuclei,
)
from napari_nucleus.models.msanet.losses import (
    TypeLoss,
    border_pixels,
    nucleus_types,
    type_loss,
)
from napari_nucleus.models.msanet.ppa_vit import Encoder, PyramidViT, load_from_hub
from napari_nucleus.models.msanet.sizes import SIZES
from napari_nucleus.models.msanet.windows import answer_windows, see_windows
from napari_nucleus.models.pooling import FEATURE_STRIDE, nucleus_context, pool_nuclei
from napari_nucleus.models.registry import register_model

Adaptation = Literal["distillation", "zero_shot", "linear_probe", "fine_tune"]
"""Uses of CLIP (Table 8); the first is the paper's own."""

Nodes = Literal["visual", "visual+spatial", "visual+text", "all"]
"""Features of the nodes of the graph (Table 9)."""

_EDGE = 2
"""Tokens at a window's edge whose answers are not kept where there are windows beside it."""

_MEMORY = 0.01
"""Weight of a batch in the running shares of the types."""

_LEAST_SHARE = 0.01
"""Rarer types weigh as if they were as frequent as this."""

_CLIP_SCALE = 100.0
"""By which CLIP multiplies likenesses of unit length."""


class MSANet(NucleusModel):
    """ViT student, CLIP teacher, fusion, decoder, and a graph of nuclei for their types.

    Parameters
    ----------
    size : str
        A key of `SIZES`.
    types : tuple of str
        Names of the nucleus types; without them there is no graph.
    pretrained : bool
        Whether to fetch the weights of ViT and CLIP. Where the hub does not answer, the ViT starts
        from scratch, CLIP is untrained, and a log line for each says so.
    clip : str or None
        ``"ARCHITECTURE/WEIGHTS"``; None is the size's own.
    clip_sha256 : str
        SHA-256 that the file of CLIP's weights must have; empty where any will do.
    window : int
        Side in pixels of the patches that it is trained with.
    multi_scale : bool
        Whether four depths of the ViT are fused with CLIP, or the last alone.
    distill : tuple of int
        Which of the four depths CLIP teaches, from 1; none leaves out distillation.
    boundary : bool
        Whether a third channel predicts borders between nuclei, which split them.
    nodes : Nodes
        Features of the nodes of the graph (Table 9).
    edges : bool
        Whether it knows its neighbours.
    adaptation : Adaptation
        Use of CLIP (Table 8).
    drop_path : float
        Stochastic depth of the ViT while training.

    Raises
    ------
    UserError
        If an option has no such value, or there is no such CLIP.
    """

    mean: Tensor
    std: Tensor
    type_share: Tensor
    postprocessing = DISTANCE

    def __init__(
        self,
        size: str,
        types: tuple[str, ...] = (),
        pretrained: bool = True,
        clip: str | None = None,
        clip_sha256: str = "",
        window: int = 270,
        multi_scale: bool = True,
        distill: tuple[int, ...] = (1, 2, 3, 4),
        boundary: bool = False,
        nodes: Nodes = "all",
        edges: bool = True,
        adaptation: Adaptation = "distillation",
        drop_path: float = 0.0,
    ) -> None:
        about = SIZES[size]
        self.clip = choose_clip(clip, about.clip, clip_sha256, pretrained)
        super().__init__(
            types,
            {
                "clip": self.clip.name,
                "clip_sha256": self.clip.sha256,
                "window": window,
                "multi_scale": multi_scale,
                "distill": list(distill),
                "boundary": boundary,
                "nodes": nodes,
                "edges": edges,
                "adaptation": adaptation,
            },
        )
        _check("distill", set(distill), {1, 2, 3, 4})
        _check("nodes", {nodes}, set(Nodes.__args__))  # type: ignore[attr-defined]
        _check("adaptation", {adaptation}, set(Adaptation.__args__))  # type: ignore[attr-defined]
        self.window = window
        self.distill = tuple(sorted(distill))
        self.adaptation = adaptation
        tokens = -(-window // PATCH)
        vit = PyramidViT(about.width, about.depth, about.heads, tokens, drop_path)
        if pretrained and about.vit:
            load_from_hub(vit, about.vit)
        learner = deepcopy(self.clip.network.visual) if adaptation == "fine_tune" else None
        self.encoder = Encoder(vit, learner and learner.requires_grad_(True))
        self.project = nn.ModuleList(
            nn.Conv2d(about.width, self.clip.width, 1) for _ in self.distill
        )
        self.fusion = Fusion(about.width, self.clip.width, multi_scale)
        self.decoder = Decoder(about.width, about.widths, about.depths, about.volume, 2 + boundary)
        self._side = PATCH * self.encoder.vit.side
        self._edge = PATCH * min(_EDGE, self.encoder.vit.side // 4)
        self.stride = self._side - 2 * self._edge
        self.classifies_nuclei = bool(types)
        self.bank: SentenceBank | None = None
        self.tp = self._classifier(4 * about.volume, nodes, edges) if types else None
        self.register_buffer("type_share", torch.full((len(types),), 1 / max(len(types), 1)))
        self.register_buffer("mean", _column(IMAGENET_INCEPTION_MEAN), persistent=False)
        self.register_buffer("std", _column(IMAGENET_INCEPTION_STD), persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        # in use, images larger than a window are computed window by window
        if self.training or max(images.shape[-2:]) <= self._side:
            return super().forward(images)
        return answer_windows(images, self._side, self._edge, super().forward)

    def encode(self, images: Tensor) -> list[Tensor]:
        # v at four depths (B, C, h, w), then CLIP features (B, D, h, w): of the layers that teach,
        # while training, and of its last layer
        height, width = images.shape[-2:]
        x = F.pad(images, (0, -width % PATCH, 0, -height % PATCH), mode="replicate")
        return see_windows(x, self._side, PATCH, self._see)

    def _see(self, images: Tensor) -> list[Tensor]:
        """Encode images of no more than one window."""
        taps = self.encoder.vit((images - self.mean) / self.std)
        depth = self.clip.depth
        teaches = self.distill if self.training and self.adaptation == "distillation" else ()
        layers = tuple(sorted({*(depth * tap // 4 for tap in teaches), depth}))
        if self.encoder.clip is None:
            return taps + self.clip.patches(images, layers)
        return taps + patch_features(self.encoder.clip, images, layers)

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        # besides ``np``: ``boundary`` (B, 1, H, W), logits of borders between nuclei; while
        # training, ``distillation``, a loss, and ``features`` by which nuclei learn their types
        height, width = size
        taps, clip = features[:4], features[4:]
        logits, volumes = self.decoder(self.fusion(taps, clip[-1]))
        logits = F.interpolate(logits.float(), scale_factor=2, mode="bilinear")
        logits = logits[..., :height, :width]
        found = {"np": logits[:, :2]}
        if logits.shape[1] > 2:
            found["boundary"] = logits[:, 2:]
        if self.types or not self.training:
            by_clip = self.types and not isinstance(self.tp, GraphClassifier)
            visual = clip[-1] if by_clip else visual_features(volumes)
            stride = PATCH if by_clip else FEATURE_STRIDE
            found["features"] = visual[..., : -(-height // stride), : -(-width // stride)]
        if self.training and self.distill and self.adaptation == "distillation":
            found["distillation"] = losses.distillation(
                [
                    project(taps[depth - 1])
                    for project, depth in zip(self.project, self.distill, strict=True)
                ],
                clip[: len(self.distill)],
            )
        return found

    def maps(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = {"np": logits["np"].softmax(1)[:, 1]}
        if "boundary" in logits:
            maps["boundary"] = logits["boundary"][:, 0].sigmoid()
        if "features" in logits:
            maps["features"] = logits["features"].half()
        return maps

    def find(
        self, maps: dict[str, np.ndarray], threshold: float | None = None
    ) -> tuple[np.ndarray, pd.DataFrame]:
        arguments = self.postprocessing_arguments(threshold)
        labels, table = distance_instances(maps["np"], boundary=maps.get("boundary"), **arguments)
        if self.types:
            return labels, table.drop(columns=["type", "type_prob"])
        self.name_types(table)
        return labels, table

    def features(
        self, labels: NDArray[np.integer], maps: dict[str, np.ndarray]
    ) -> NDArray[np.float32]:
        cells = maps["features"]
        nodes, context = describe_nuclei(labels, cells), nucleus_context(labels, cells)
        return np.concatenate([nodes, context], axis=1)

    @with_cpu_fallback
    def classify(
        self, centroids: NDArray[np.float64], features: NDArray[np.float32]
    ) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        names = np.array(self.types)
        if isinstance(self.tp, GraphClassifier):
            nodes = features[:, : self.tp.visual_norm.normalized_shape[0] + len(SHAPE_COLUMNS)]
            probability = type_nuclei(self.tp, self.bank, centroids, nodes, self.mpp, self.window)
        else:
            visual = torch.from_numpy(np.asarray(features[:, : self.clip.width], np.float32))
            with torch.inference_mode():
                probability = self._likeness(visual.to(self.mean.device)).softmax(1).cpu().numpy()
        return names[probability.argmax(1)], probability.max(1, initial=0)

    def own_losses(
        self, logits: dict[str, Tensor], batch: Batch, tp_loss: str, tp_gamma: float
    ) -> dict[str, Tensor]:
        found = {}
        if "boundary" in logits:
            pair = torch.cat([torch.zeros_like(logits["boundary"]), logits["boundary"]], 1)
            found["boundary"] = losses.ce_dice(pair, border_pixels(batch.labels), batch.shaped)
        if self.types:
            loss = type_loss(tp_loss, tp_gamma)
            found["types"] = self._type_loss(logits["features"], batch, loss)
        if "distillation" in logits:
            found["distillation"] = logits["distillation"]
        return found

    def _type_loss(self, visual: Tensor, batch: Batch, loss: TypeLoss) -> Tensor:
        """Return how badly the true nuclei of patches are typed."""
        nuclei = pool_nuclei(visual, batch.labels)
        image, label = nuclei.image, nuclei.label
        target, typed = nucleus_types(batch.labels, batch.tp, batch.typed, image, label)
        if isinstance(self.tp, GraphClassifier):
            answer = self._graph(nuclei.visual, image, batch.labels)[typed]
        else:
            answer = self._likeness(nuclei.visual)[typed]
        target = target[typed]
        if len(target):
            share = F.one_hot(target, len(self.types)).float().mean(0)
            self.type_share.lerp_(share, _MEMORY)
        weights = 1 / (len(self.types) * self.type_share.clamp(min=_LEAST_SHARE))
        return loss(answer, target, weights)

    def _graph(self, visual: Tensor, image: Tensor, labels: Tensor) -> Tensor:
        """Return logits (N, K) of the nuclei of a batch."""
        assert isinstance(self.tp, GraphClassifier)
        measured = [nucleus_shapes(of_one.cpu().numpy()) for of_one in labels]
        centroids, shapes = (np.concatenate(parts) for parts in zip(*measured, strict=True))
        edges = torch.from_numpy(neighbour_edges(centroids, image=image.cpu().numpy()))
        text = None
        if self.bank is not None:
            text = self.bank(sentences(centroids, shapes, self.mpp, self.window))
            text = text.to(visual.device)
        coordinates = torch.from_numpy(lattice_coordinates(centroids, self.window))
        return self.tp(visual, coordinates.to(visual.device), text, edges.to(visual.device))

    def _likeness(self, visual: Tensor) -> Tensor:
        """Return logits (N, K) of nuclei by CLIP's features (N, D) of them."""
        if self.tp is not None:
            return self.tp(visual)
        names = [
            f"a histopathology image of a {name.replace('_', ' ')} nucleus" for name in self.types
        ]
        return _CLIP_SCALE * F.normalize(visual, dim=1) @ self.clip.sentences(names).T

    def _classifier(self, visual: int, nodes: Nodes, edges: bool) -> nn.Module | None:
        if self.adaptation == "zero_shot":
            return None
        if self.adaptation != "distillation":
            return nn.Linear(self.clip.width, len(self.types))
        text = nodes in ("visual+text", "all")
        if text:
            self.bank = SentenceBank(self.clip.sentences, self.clip.width)
        return GraphClassifier(
            len(self.types),
            visual,
            self.clip.width if text else 0,
            spatial=nodes in ("visual+spatial", "all"),
            edges=edges,
        )

    def get_extra_state(self) -> Tensor:
        """Return which CLIP it is, which `set_extra_state` holds weights to."""
        return torch.tensor(list(self._clip_identity.encode()), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse weights that were trained with another CLIP.

        Parameters
        ----------
        state : Tensor of uint8
            As `get_extra_state` returns it.

        Raises
        ------
        UserError
            Saying which CLIP they need.
        """
        needed = bytes(state.tolist()).decode()
        if needed != self._clip_identity:
            raise UserError(
                f"These weights were trained with the CLIP {needed}, and the model has "
                f"{self._clip_identity}: build it with the one they need."
            )

    @property
    def _clip_identity(self) -> str:
        """Architecture, and name of the weights without their place, or their SHA-256."""
        architecture, _, weights = self.clip.name.partition("/")
        sha256 = f" of SHA-256 {self.clip.sha256}" if self.clip.sha256 else ""
        return f"{architecture}/{weights.rpartition('/')[2]}{sha256}"


def _check(option: str, given: set[Any], known: set[Any]) -> None:
    if wrong := given - known:
        raise UserError(
            f"MSA-Net's option {option} knows {', '.join(map(str, sorted(known)))}, not "
            f"{', '.join(map(str, wrong))}."
        )


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


for _name in SIZES:
    register_model(_name, partial(MSANet, _name))
