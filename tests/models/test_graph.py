import numpy as np
import pytest
import torch
from torch import Tensor

from napari_nucleus.errors import UserError
from napari_nucleus.models.msanet.graph import (
    GraphClassifier,
    SentenceBank,
    describe_nuclei,
    graph_pieces,
    lattice_coordinates,
    neighbour_edges,
    nucleus_shapes,
    paint_nuclei,
    sentences,
    type_nuclei,
)
from napari_nucleus.models.msanet.graph.text import VOCABULARY
from napari_nucleus.models.pooling import pool_nuclei
from tests.graph_decoder import Words
from tests.tissue import tissue

PATCH = 64
EMPTY = torch.empty(2, 0, dtype=torch.long)


def points(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 300, (count, 2))


def ellipse(a: float, b: float, size: int = 80) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size // 2
    return ((x / a) ** 2 + (y / b) ** 2 <= 1).astype(np.int32)


def small_classifier(text: int = 8, spatial: bool = True) -> GraphClassifier:
    torch.manual_seed(0)
    return GraphClassifier(3, visual=4, text=text, spatial=spatial, width=16).eval()


def random_nodes(count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    return tuple(torch.rand(count, width, generator=generator) for width in (4, 2, 8))  # type: ignore[return-value]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7, 150])
def test_neighbours_are_the_nearest_of_all(count: int) -> None:
    centroids = points(count)
    edges = neighbour_edges(centroids)
    near = min(5, max(count - 1, 0))
    assert edges.shape == (2, count * near)
    assert edges.dtype == np.int64
    distance = np.linalg.norm(centroids[:, None] - centroids, axis=2)
    np.fill_diagonal(distance, np.inf)
    for nucleus in range(count):
        found = edges[0, edges[1] == nucleus]
        assert sorted(found) == sorted(np.argsort(distance[nucleus])[:near])


def test_nuclei_on_one_spot_are_neighbours_but_not_their_own() -> None:
    edges = neighbour_edges(np.zeros((9, 2)), k=3)
    assert np.bincount(edges[1]).tolist() == [3] * 9
    assert (edges[0] != edges[1]).all()
    assert len(np.unique(edges, axis=1).T) == 27


def test_images_of_a_batch_do_not_mix() -> None:
    image = np.repeat([0, 2, 3, 5], [4, 1, 8, 2])
    centroids = points(len(image))
    edges = neighbour_edges(centroids, image=image)
    assert (image[edges[0]] == image[edges[1]]).all()
    alone = neighbour_edges(centroids[image == 3])
    assert np.array_equal(edges[:, image[edges[1]] == 3], alone + 5)
    assert neighbour_edges(np.empty((0, 2)), image=[]).shape == (2, 0)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (ellipse(16, 16), "a label of round cell nucleus located at center with medium diameter"),
        (ellipse(30, 10), "a label of elongated cell nucleus located at center with medium"),
        (ellipse(20, 13), "a label of oval cell nucleus located at center with medium diameter"),
        (ellipse(38, 36), "a label of round cell nucleus located at center with very large"),
        (ellipse(9, 9), "a label of round cell nucleus located at center with very small"),
        (ellipse(0.5, 0.5), "a label of round cell nucleus located at center with very small"),
        (
            np.pad(np.tri(40, dtype=np.int32) + np.tri(40, dtype=np.int32)[::-1] > 0, 20),
            "a label of irregular cell nucleus",
        ),
    ],
    ids=["disc", "3:1", "3:2", "large", "small", "pixel", "notched"],
)
def test_sentence_says_what_a_nucleus_looks_like(labels: np.ndarray, words: str) -> None:
    (sentence,) = sentences(*nucleus_shapes(labels), mpp=0.25, patch=PATCH)
    assert sentence.startswith(words)


def test_position_is_a_ninth_of_a_patch_wherever_the_patch_lies() -> None:
    shapes = np.tile([20.0, 1.0, 1.0], (9, 1))
    rows, columns = np.mgrid[:3, :3].reshape(2, -1)
    centres = (np.stack([columns, rows], 1) + 0.5) * PATCH / 3 - 0.5
    expected = ["top left", "top", "top right", "left", "center", "right"]
    expected += ["bottom left", "bottom", "bottom right"]
    for corner in ((0, 0), (PATCH, 5 * PATCH), (-2 * PATCH, 0)):
        found = sentences(centres + corner, shapes, 0.25, PATCH)
        places = [text.partition("located at ")[2].partition(" with")[0] for text in found]
        assert places == expected
        np.testing.assert_allclose(
            lattice_coordinates(centres + corner, PATCH),
            (np.stack([columns, rows], 1) + 0.5) / 3,
            atol=1e-6,
        )


def test_all_nuclei_are_described_in_the_vocabulary() -> None:
    random = np.random.default_rng(0)
    shapes = np.stack([random.uniform(0, 100, 3000), *random.uniform(0, 1, (2, 3000))], 1)
    edge = np.array([[-0.5, -0.5], [PATCH - 0.5 - 1e-12, np.nextafter(PATCH - 0.5, 0)]])
    centroids = np.concatenate([random.uniform(-500, 500, (2998, 2)), edge])
    found = sentences(centroids, shapes, 0.25, PATCH)
    assert set(found) <= set(VOCABULARY)
    assert len(set(VOCABULARY)) == 4 * 9 * 5
    assert lattice_coordinates(centroids, PATCH).max() < 1


def test_each_sentence_is_encoded_once() -> None:
    words = Words()
    bank = SentenceBank(words, 8)
    assert bank([]).shape == (0, 8)
    texts = [VOCABULARY[i] for i in (3, 3, 170, 3)]
    features = bank(texts)
    assert features.shape == (4, 8)
    assert features.dtype == torch.float32
    assert torch.equal(features[0], features[3])
    more = bank([*VOCABULARY, *texts])
    assert sorted(words.asked) == sorted(VOCABULARY)
    assert torch.equal(more[-4:], features)
    for row, text in zip(more, VOCABULARY, strict=False):
        np.testing.assert_allclose(row, Words()([text])[0], rtol=1e-6)


def labelled(height: int = 70, width: int = 51) -> np.ndarray:
    """Nuclei of all kinds: at the border, of one pixel, with a number left out."""
    labels = tissue(height, width, seed=4, density=0.02).labels
    labels[labels == 2] = 0
    labels[0, 0] = 77
    labels[-1, -1] = 80
    free = np.argwhere(labels == 0)[40]
    labels[tuple(free)] = 78
    return labels


@pytest.mark.parametrize("stride", [1, 2, 16])
def test_pooling_is_the_mean_over_the_mask(stride: int) -> None:
    labels = np.stack([labelled(), np.zeros((70, 51), np.int32), labelled()[::-1]])
    labels[1, 10:13, 5:9] = 6
    labels[2, :, 40:] = -1
    size = [3, 5, -(-70 // stride), -(-51 // stride)]
    features = torch.randn(size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    pooled = pool_nuclei(features, torch.from_numpy(labels.copy()))
    expected, gradient, rows = [], np.zeros(size), []
    for image, of_image in enumerate(labels):
        for label in np.unique(of_image[of_image > 0]):
            pixels = np.argwhere(of_image == label)
            cells = pixels // stride
            values = [features[image, :, y, x].detach().numpy() for y, x in cells]
            expected.append(np.mean(values, axis=0))
            rows.append((image, label))
            for y, x in cells:
                gradient[image, :, y, x] += 1 / len(pixels)
    assert list(zip(pooled.image.tolist(), pooled.label.tolist(), strict=True)) == rows
    np.testing.assert_allclose(pooled.visual.detach(), expected, atol=1e-5)
    pooled.visual.sum().backward()
    assert features.grad is not None
    np.testing.assert_allclose(features.grad.numpy(), gradient, atol=1e-5)


def test_images_without_nuclei_pool_to_nothing() -> None:
    pooled = pool_nuclei(torch.ones(2, 3, 2, 2), torch.zeros(2, 32, 32, dtype=torch.int32))
    assert pooled.visual.shape == (0, 3)
    assert describe_nuclei(np.zeros((9, 9), np.int32), np.zeros((3, 1, 1), np.float16)).shape == (
        0,
        6,
    )


def test_half_precision_is_averaged_in_full() -> None:
    """2,048 + 1 is 2,048 in float16."""
    features = torch.tensor([2048.0, 1.0]).half().reshape(1, 1, 1, 2)
    pooled = pool_nuclei(features, torch.ones(1, 16, 32, dtype=torch.int32))
    assert pooled.visual.item() == 1024.5


def test_description_has_a_row_per_label() -> None:
    labels = labelled()
    features = np.random.default_rng(0).normal(size=(4, 5, 4)).astype(np.float16)
    described = describe_nuclei(labels, features)
    ids = np.unique(labels)[1:]
    assert described.shape == (len(ids), 7)
    assert described.dtype == np.float32
    diameter, ratio, solidity = described[:, 4:].T
    area = np.bincount(labels.ravel())[ids]
    np.testing.assert_allclose(diameter, np.sqrt(4 * area / np.pi), rtol=1e-3)
    assert (ratio[area == 1] == 1).all()
    assert (ratio >= 0).all()
    assert ((solidity > 0) & (solidity <= 1)).all()
    pixel = np.argwhere(labels == 78)[0] // 16
    np.testing.assert_array_equal(described[ids == 78, :4][0], features[:, *pixel])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e6])
def test_features_that_are_no_numbers_are_told(bad: float) -> None:
    features = np.zeros((2, 5, 4), np.float32)
    features[1, 0, 0] = bad
    with pytest.raises(UserError, match=r"of 1 nuclei are not finite.*use another checkpoint"):
        describe_nuclei(np.eye(70, 51, dtype=np.int32), features)


def test_nuclei_are_painted_back() -> None:
    labels = torch.from_numpy(np.stack([labelled(), labelled()[::-1].copy()]))
    labels[1, :, 40:] = -1
    pooled = pool_nuclei(torch.zeros(2, 1, 5, 4), labels)
    values = torch.randn(len(pooled.label), 3, requires_grad=True)
    painted = paint_nuclei(values, pooled.image, pooled.label, labels)
    assert painted.shape == (2, 3, 70, 51)
    assert not painted.movedim(1, -1)[labels <= 0].any()
    for row, image, label in zip(values, pooled.image, pooled.label, strict=True):
        inside = painted[image].movedim(0, -1)[labels[image] == label]
        assert (inside == row).all()
    painted.sum().backward()
    assert values.grad is not None
    areas = [int((labels[i] == n).sum()) for _, i, n in zip(*pooled, strict=True)]
    assert values.grad[:, 2].tolist() == areas


def test_classifier_has_the_shapes_of_the_paper() -> None:
    torch.manual_seed(0)
    classifier = GraphClassifier(3)
    edges = torch.from_numpy(neighbour_edges(points(20)))
    visual, coordinates, text = torch.rand(20, 256), torch.rand(20, 2), torch.rand(20, 512)
    assert classifier.fuse.in_features == 258 + 512
    assert classifier.enhanced(visual, coordinates, text).shape == (20, 256)
    assert classifier.first(torch.rand(20, 256), edges).shape == (20, 512)
    assert classifier(visual, coordinates, text, edges).shape == (20, 3)


def test_graph_convolutions_weigh_by_degree() -> None:
    """Against Kipf and Welling's formula with whole matrices."""
    classifier = small_classifier()
    nodes = random_nodes(30)
    edges = neighbour_edges(points(30))
    with torch.no_grad():
        adjacency = torch.eye(30)
        adjacency[edges[1], edges[0]] = 1
        scale = adjacency.sum(1).rsqrt()
        adjacency = scale[:, None] * adjacency * scale
        x = classifier.enhanced(*nodes)
        for layer, norm in (
            (classifier.first, classifier.first_norm),
            (classifier.second, classifier.second_norm),
        ):
            x = norm(adjacency @ x @ layer.lin.weight.T + layer.bias).relu()
        expected = classifier.classify(x)
        found = classifier(*nodes, torch.from_numpy(edges))
    torch.testing.assert_close(found, expected)


def test_neighbours_of_neighbours_count_and_no_others() -> None:
    """A line of nuclei, each of which hears from the one before."""
    classifier = small_classifier()
    nodes = random_nodes(6)
    edges = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])
    before = classifier(*nodes, edges)
    nodes[0][1] = nodes[0][1].flip(0)
    changed = (classifier(*nodes, edges) - before).abs().amax(1) > 1e-6
    assert changed.tolist() == [False, True, True, True, False, False]
    without = classifier.__class__(3, visual=4, text=8, width=16, edges=False).eval()
    without.load_state_dict(classifier.state_dict())
    torch.testing.assert_close(without(*nodes, edges), classifier(*nodes, EMPTY))


@pytest.mark.parametrize("spatial", [False, True])
@pytest.mark.parametrize("text", [0, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 6])
def test_node_features_are_switched(spatial: bool, text: int, count: int) -> None:
    classifier = small_classifier(spatial=spatial, text=text)
    visual, coordinates, words = (part.requires_grad_() for part in random_nodes(count))
    edges = torch.from_numpy(neighbour_edges(points(count)))
    logits = classifier(visual, coordinates, words if text else None, edges)
    assert logits.shape == (count, 3)
    logits.square().sum().backward()
    for part, counts in ((visual, True), (coordinates, spatial), (words, text > 0)):
        reached = part.grad is not None and bool(part.grad.any())
        assert reached == (counts and count > 0)
    if count:
        assert all(parameter.grad.any() for parameter in classifier.parameters())  # type: ignore[union-attr]


@pytest.mark.parametrize("ordered", [False, True])
def test_pieces_answer_as_the_whole(ordered: bool) -> None:
    centroids = points(120)
    if ordered:
        centroids = centroids[np.argsort(centroids[:, 0])]
    edges = neighbour_edges(centroids, k=3)
    edges = edges[:, np.random.default_rng(0).random(edges.shape[1]) < 0.7]  # of several degrees
    classifier, nodes = small_classifier(), random_nodes(120)
    with torch.no_grad():
        whole = classifier(*nodes, torch.from_numpy(edges))
        parts = []
        for piece in graph_pieces(edges, 120, size=25):
            own = [part[torch.from_numpy(piece.nodes)] for part in nodes]
            parts.append(classifier(*own, torch.from_numpy(piece.edges))[piece.core])
            assert not ordered or len(piece.nodes) < 100
    torch.testing.assert_close(torch.cat(parts), whole)


@pytest.mark.parametrize("text", [0, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 6, 90])
def test_nuclei_of_an_image_are_typed(count: int, text: int) -> None:
    centroids = points(count)
    random = np.random.default_rng(1)
    shapes = np.stack([random.uniform(10, 60, count), *random.uniform(0, 1, (2, count))], 1)
    features = np.concatenate([random.normal(size=(count, 4)), shapes], 1).astype(np.float16)
    classifier = small_classifier(text=text)
    bank = SentenceBank(Words(), 8) if text else None
    found = type_nuclei(classifier, bank, centroids, features, 0.25, PATCH, size=20)
    words = sentences(centroids, features[:, 4:], 0.25, PATCH)
    with torch.no_grad():
        expected = classifier(
            torch.from_numpy(features[:, :4]).float(),
            torch.from_numpy(lattice_coordinates(centroids, PATCH)),
            bank(words) if bank else None,
            torch.from_numpy(neighbour_edges(centroids)),
        ).softmax(1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
