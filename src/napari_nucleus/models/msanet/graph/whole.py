"""Types of all nuclei of a slide by one graph, in bounded memory."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_nucleus.models.msanet.graph.classifier import GraphClassifier
from napari_nucleus.models.msanet.graph.edges import neighbour_edges
from napari_nucleus.models.msanet.graph.shapes import SHAPE_COLUMNS
from napari_nucleus.models.msanet.graph.text import SentenceBank, lattice_coordinates, sentences

PIECE = 8192
"""Nuclei typed at once."""

_HOPS = 3
"""Two convolutions see neighbours of neighbours, weighed by how many neighbours those have."""


class Piece(NamedTuple):
    """Part of a graph that is enough to type some of its nodes.

    Attributes
    ----------
    nodes : ndarray of int64
        (M,), which nodes of the graph it holds, ascending.
    edges : (2, E) ndarray of int64
        Between places in `nodes`.
    core : ndarray of int64
        Places in `nodes` of those that it types.
    """

    nodes: NDArray[np.int64]
    edges: NDArray[np.int64]
    core: NDArray[np.int64]


def graph_pieces(edges: NDArray[np.int64], nodes: int, size: int = PIECE) -> Iterator[Piece]:
    """Part a graph so that two graph convolutions answer as they do on the whole.

    Nodes are taken as they come: where those beside each other are neighbours, as nuclei found tile
    by tile are, a piece is little larger than its core.

    Parameters
    ----------
    edges : (2, E) ndarray of int64
        Source and target.
    nodes : int
        Number of nodes.
    size : int
        Nodes in a core.

    Yields
    ------
    Piece
        Their cores, one after the other, are all nodes in order.
    """
    source, target = edges
    incoming = csr_array((np.ones(len(source), bool), (target, source)), shape=(nodes, nodes))
    for start in range(0, nodes, size):
        core = np.arange(start, min(start + size, nodes))
        inside = core
        for _ in range(_HOPS):
            inside = np.union1d(inside, incoming[inside].indices)
        within = incoming[inside][:, inside].tocoo()
        yield Piece(
            inside,
            np.stack([within.col, within.row]).astype(np.int64),
            np.searchsorted(inside, core),
        )


@torch.inference_mode()
def type_nuclei(
    classifier: GraphClassifier,
    bank: SentenceBank | None,
    centroids: NDArray[np.floating],
    features: NDArray[np.floating],
    mpp: float,
    patch: int,
    size: int = PIECE,
) -> NDArray[np.float32]:
    """Type the nuclei of an image by one graph of them all.

    Parameters
    ----------
    classifier : GraphClassifier
        In evaluation mode.
    bank : SentenceBank or None
        Of the sentences' features; None if the classifier has no text.
    centroids : ndarray of floating
        (N, 2), x and y in pixels of the network, from the first pixel of the slide.
    features : ndarray of floating
        (N, C + 3), as `describe_nuclei` returns them; read piece by piece.
    mpp : float
        µm per pixel of the network.
    patch : int
        Side of the training patches in pixels.
    size : int
        Nuclei typed at once, which does not change the result.

    Returns
    -------
    ndarray
        (N, K) probabilities of the types.
    """
    device = next(classifier.parameters()).device
    visual = features.shape[1] - len(SHAPE_COLUMNS)
    probabilities = np.empty((len(centroids), classifier.classify.out_features), np.float32)
    done = 0
    for nodes, edges, core in graph_pieces(neighbour_edges(centroids), len(centroids), size):
        rows = np.asarray(features[nodes], np.float32)
        where = centroids[nodes]
        text = None
        if bank is not None:
            text = bank(sentences(where, rows[:, visual:], mpp, patch)).to(device)
        logits = classifier(
            torch.from_numpy(rows[:, :visual]).to(device),
            torch.from_numpy(lattice_coordinates(where, patch)).to(device),
            text,
            torch.from_numpy(edges).to(device),
        )[torch.from_numpy(core).to(device)]
        probabilities[done : done + len(core)] = logits.float().softmax(1).cpu().numpy()
        done += len(core)
    return probabilities
