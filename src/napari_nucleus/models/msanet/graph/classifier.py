"""The network that types the nodes of a cell graph."""

import warnings

import torch
from torch import Tensor, nn


class GraphClassifier(nn.Module):
    """Two graph convolutions over nuclei and their neighbours, and a linear classifier.

    The paper's shapes: nodes (N, 256 + 2) and text (N, 512) are fused to (N, 256), which go through
    graph convolutions to 512 and 256 channels, each with layer normalisation and ReLU, to (N, K).
    Its text once calls the second convolution's output "the final classification space"; layer
    normalisation and ReLU of the logits themselves would make no sense, so that the fully connected
    layer, which the paper also has, comes after. Visual features and text are normalised before
    they are fused, as their scales have nothing to do with each other.

    Parameters
    ----------
    types : int
        K.
    visual : int
        Number of visual features of a nucleus.
    text : int
        Number of features of a sentence; 0 leaves text out.
    spatial : bool
        Whether a node's coordinates count.
    edges : bool
        Whether neighbours count; if not, a nucleus is on its own.
    width : int
        Channels of the fused features and of the second convolution; the first has twice as many.

    References
    ----------
    Kipf and Welling (2017), Semi-supervised classification with graph convolutional networks.
    """

    def __init__(
        self,
        types: int,
        visual: int = 256,
        text: int = 512,
        spatial: bool = True,
        edges: bool = True,
        width: int = 256,
    ) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # it still uses torch.jit.script
            from torch_geometric.nn import GCNConv  # takes seconds: other models need not wait

        self.spatial = spatial
        self.edges = edges
        self.visual_norm = nn.LayerNorm(visual)
        self.text_norm = nn.LayerNorm(text) if text else None
        self.fuse = nn.Linear(visual + 2 * spatial + text, width)
        self.fuse_norm = nn.LayerNorm(width)
        self.first = GCNConv(width, 2 * width)
        self.first_norm = nn.LayerNorm(2 * width)
        self.second = GCNConv(2 * width, width)
        self.second_norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, types)

    def forward(
        self, visual: Tensor, coordinates: Tensor, text: Tensor | None, edges: Tensor
    ) -> Tensor:
        """Type nuclei.

        Parameters
        ----------
        visual : Tensor
            (N, 256), pooled over each nucleus.
        coordinates : Tensor
            (N, 2), in [0, 1).
        text : Tensor or None
            (N, 512), features of each nucleus's sentence; None if text is left out.
        edges : (2, E) Tensor of int64
            Neighbour and nucleus.

        Returns
        -------
        Tensor
            (N, K) logits.
        """
        nodes = self.enhanced(visual, coordinates, text)
        if not self.edges:
            edges = edges[:, :0]
        hidden = self.first_norm(self.first(nodes, edges)).relu()
        hidden = self.second_norm(self.second(hidden, edges)).relu()
        return self.classify(hidden)

    def enhanced(self, visual: Tensor, coordinates: Tensor, text: Tensor | None) -> Tensor:
        """Fuse the features of nodes with text.

        Parameters
        ----------
        visual : (N, V) Tensor of float
            Pooled over each nucleus.
        coordinates : (N, 2) Tensor of float
            In [0, 1).
        text : (N, T) Tensor of float or None
            Features of each nucleus's sentence; None if text is left out.

        Returns
        -------
        (N, width) Tensor of float
            Nodes of the graph.
        """
        parts = [self.visual_norm(visual)]
        if self.spatial:
            parts.append(coordinates)
        if self.text_norm is not None:
            assert text is not None, "this classifier reads sentences"
            parts.append(self.text_norm(text))
        return self.fuse_norm(self.fuse(torch.cat(parts, 1))).relu()
