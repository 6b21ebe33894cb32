"""Nuclei as the nodes of a graph that knows their neighbours and their looks in words.

The paper is Guan et al. (2025), "Instance-level semantic segmentation of nuclei based on multimodal
structure encoding": a nucleus is typed by visual features pooled over its mask, by its place, by a
sentence that describes it, and by its nearest neighbours, through two graph convolutions. On a
slide there is one graph of all nuclei, worked through in pieces.
"""

from napari_nucleus.models.msanet.graph.classifier import GraphClassifier
from napari_nucleus.models.msanet.graph.edges import neighbour_edges
from napari_nucleus.models.msanet.graph.pooling import describe_nuclei, paint_nuclei
from napari_nucleus.models.msanet.graph.shapes import SHAPE_COLUMNS, nucleus_shapes
from napari_nucleus.models.msanet.graph.text import SentenceBank, lattice_coordinates, sentences
from napari_nucleus.models.msanet.graph.whole import graph_pieces, type_nuclei

__all__ = [
    "SHAPE_COLUMNS",
    "GraphClassifier",
    "SentenceBank",
    "describe_nuclei",
    "graph_pieces",
    "lattice_coordinates",
    "neighbour_edges",
    "nucleus_shapes",
    "paint_nuclei",
    "sentences",
    "type_nuclei",
]
