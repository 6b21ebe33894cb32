"""eU-Net3+, guided by a frozen SAM, and U-Net 3+, which it grew from.

Paper: "SAM guided task-specific enhanced nuclei segmentation in digital pathology" (so the authors'
repository, CVPR-KIT/SAM-Guided-Enhanced-Nuclei-Segmentation, names it): U-Net 3+ (Huang et al.,
ICASSP 2020) with gated linear units (Dauphin et al., ICML 2017), whose bottleneck the Enhanced
Fusion Block fuses with the image embedding of the Segment Anything Model (Kirillov et al., ICCV
2023). No weights are published; SAM's: see `napari_nucleus.weights.sam`.

Settled, with the authors' released code, where the paper is silent:

- Five levels of 32 to 512 channels; gated linear units in the encoder, while the decoder, with
  skips of 32 channels, keeps ReLU. Maximum and blur for downsampling, dropout of 0.3 at the
  bottleneck.
- Its 13.0 million parameters and 54 GMAC at 256 px are those of all but SAM: 11.5 million of
  eU-Net3+, 1.1 of the Enhanced Fusion Block (`napari_nucleus.models.eunet3plus.fusion`), and 0.46
  of layers for gates at the finer levels, which the released class holds and does not use. These
  are left out here.
- The paper has deep supervision, the code has not: here it is, while training.
- Images are padded to a multiple of 16 px by repeating their edge, and logits cropped back, so that
  predictions lie on their pixels.
- Stain normalisation (Reinhard) is the network's own affair, so that it sees in use what it was
  trained with.
- SAM looks at the image at the network's resolution, where one of its cells is a cell of the
  bottleneck; the authors enlarge each patch of 256 px to SAM's 1024, which costs 16 times as much.
- With K types there are K + 1 outputs, and the probability of a nucleus is that of not being
  background. It is a semantic network: nuclei are separated by the distance watershed.

``eunet3plus_small`` is a compact variant of this project: the same code at a quarter of the widths.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_nucleus.errors import UserError
from napari_nucleus.instances import DISTANCE, distance_instances
from napari_nucleus.models.base import NucleusModel
from napari_nucleus.models.eunet3plus.fusion import Concatenation, EnhancedFusion
from napari_nucleus.models.eunet3plus.unet3plus import ACTIVATIONS, Decoder, Encoder
from napari_nucleus.models.pooling import feature_cells
from napari_nucleus.models.registry import register_model
from napari_nucleus.models.sam.model import CELL, SamGuide
from napari_nucleus.models.stain_normalization import StainNormalization

_DROPOUT = 0.3


class UNet3Plus(NucleusModel):
    """U-Net 3+ for nuclei.

    Parameters
    ----------
    widths : tuple of int
        Channels of the five levels, finest first.
    skip : int
        Channels of every full-scale skip.
    types : tuple of str
        Names of the nucleus types.
    pretrained : bool
        Without effect: there are no weights for parts of it.
    activation : {"relu", "leaky_relu", "swish", "glu"}
        Of the encoder: ``"relu"``, ``"leaky_relu"``, ``"swish"`` or ``"glu"`` (the paper's Table
        2).
    normalize : bool
        Whether images are stain-normalised.
    """

    postprocessing = DISTANCE

    def __init__(
        self,
        widths: tuple[int, ...],
        skip: int,
        types: tuple[str, ...] = (),
        pretrained: bool = False,
        activation: Literal["relu", "leaky_relu", "swish", "glu"] = "glu",
        normalize: bool = True,
    ) -> None:
        _check(activation=(activation, ACTIVATIONS))
        super().__init__(types, {"activation": activation, "normalize": normalize})
        self.normalize = StainNormalization() if normalize else nn.Identity()
        self.encoder = Encoder(widths, activation)
        self.dropout = nn.Dropout2d(_DROPOUT)
        self.decoder = Decoder(widths, skip, len(types) + 1 if types else 2)

    def encode(self, images: Tensor) -> list[Tensor]:
        return self.encoder(2 * self._padded(images) - 1)

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        *finer, bottleneck = features
        finest, levels = self.decoder([*finer, self.dropout(bottleneck)])
        logits = {} if self.training else {"features": feature_cells(finest, size)}
        for i, level in enumerate(levels):
            suffix = f"_{i + 1}" if i else ""
            whole = F.interpolate(level.float(), scale_factor=2**i, mode="bilinear") if i else level
            answer = whole.float()[..., : size[0], : size[1]]
            if self.types:
                logits[f"np{suffix}"] = _of_nucleus(answer)
                logits[f"tp{suffix}"] = answer
            else:
                logits[f"np{suffix}"] = answer
        return logits

    def maps(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = {"np": logits["np"].softmax(1)[:, 1]}
        if "features" in logits:
            maps["features"] = logits["features"].half()
        if "tp" in logits:
            maps["tp"] = logits["tp"][:, 1:].argmax(1).to(torch.uint8) + 1
        return maps

    def find(
        self, maps: dict[str, np.ndarray], threshold: float | None = None
    ) -> tuple[np.ndarray, pd.DataFrame]:
        arguments = self.postprocessing_arguments(threshold)
        labels, table = distance_instances(maps["np"], maps.get("tp"), **arguments)
        self.name_types(table)
        return labels, table

    def _padded(self, images: Tensor) -> Tensor:
        """Normalise images, and pad them to whole cells of the bottleneck."""
        height, width = images.shape[-2:]
        pad = (0, -width % CELL, 0, -height % CELL)
        return F.pad(self.normalize(images), pad, mode="replicate")


class SamUNet3Plus(UNet3Plus):
    """U-Net 3+ whose bottleneck is fused with the embedding of a frozen SAM.

    Parameters
    ----------
    widths : tuple of int
        Channels of the five levels, finest first.
    skip : int
        Channels of every full-scale skip.
    kind : str
        Name of SAM's image encoder; see `napari_nucleus.models.sam.model.build_sam`.
    types : tuple of str
        Names of the nucleus types.
    pretrained : bool
        Without effect, as in `UNet3Plus`.
    activation : {"relu", "leaky_relu", "swish", "glu"}
        Of the encoder.
    normalize : bool
        Whether images are stain-normalised.
    fusion : {"efb", "concat"}
        ``"efb"`` is the Enhanced Fusion Block, ``"concat"`` plain concatenation. (Without fusion it
        is `UNet3Plus`.)
    gate, glu, attention : bool
        Parts of the block; see `EnhancedFusion`.
    kv : {"local", "sam"}
        Keys and values of its attention; see `EnhancedFusion`.
    sam : str or dict of str to str
        File of SAM's weights, or, as a checkpoint has it, their ``kind`` and ``sha256``; empty for
        the official ones.

    Attributes
    ----------
    guide
        SAM, loaded when it is first needed.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        skip: int,
        kind: str,
        types: tuple[str, ...] = (),
        pretrained: bool = False,
        activation: Literal["relu", "leaky_relu", "swish", "glu"] = "glu",
        normalize: bool = True,
        fusion: Literal["efb", "concat"] = "efb",
        gate: bool = True,
        glu: bool = True,
        attention: bool = True,
        kv: Literal["local", "sam"] = "local",
        sam: str | dict[str, str] = "",
    ) -> None:
        _check(fusion=(fusion, ("efb", "concat")), kv=(kv, ("local", "sam")))
        super().__init__(widths, skip, types, pretrained, activation, normalize)
        self.guide = SamGuide(kind, sam)
        parts: dict[str, Any] = {"gate": gate, "glu": glu, "attention": attention, "kv": kv}
        self.options |= {"fusion": fusion, **parts, "sam": self.guide.about}
        self.fusion = (
            EnhancedFusion(widths[-1], **parts) if fusion == "efb" else Concatenation(widths[-1])
        )

    def encode(self, images: Tensor) -> list[Tensor]:
        padded = self._padded(images)
        cache = self.cache if self.training else None
        return [*self.encoder(2 * padded - 1), self.guide.embed(padded, cache)]

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        *finer, bottleneck, guide = features
        return super().decode([*finer, self.fusion(bottleneck, guide)], size)


def _check(**options: tuple[str, Iterable[str]]) -> None:
    """Refuse values that are not among those known."""
    for name, (value, known) in options.items():
        if value not in known:
            raise UserError(f"{name} = {value!r}: give one of {', '.join(known)}.")


def _of_nucleus(logits: Tensor) -> Tensor:
    """Return logits of background and of any type, from those of background and each type."""
    return torch.stack([logits[:, 0], logits[:, 1:].logsumexp(1)], 1)


_WIDE = (64, 128, 256, 512, 1024)
_RELEASED = (32, 64, 128, 256, 512)
_SMALL = (8, 16, 32, 64, 128)

register_model("eunet3plus_small", partial(UNet3Plus, _SMALL, 8))
register_model("eunet3plus", partial(UNet3Plus, _RELEASED, 32))
register_model("unet3plus", partial(UNet3Plus, _WIDE, 64, activation="relu"))
register_model("sam_eunet3plus_small", partial(SamUNet3Plus, _SMALL, 8, "vit_t"))
for _kind in ("t", "b", "l", "h"):
    register_model(f"sam_eunet3plus_{_kind}", partial(SamUNet3Plus, _RELEASED, 32, f"vit_{_kind}"))
