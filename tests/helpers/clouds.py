"""Point clouds on which rounding errors show, and what is truly nearest in them."""

import numpy as np
from scipy.spatial.distance import cdist

TIED = 1e-5


def clusters(rng, n, dim, classes, spread):
    """`spread` times further apart than wide, as the last layers of a trained network are."""
    return (rng.standard_normal((classes, dim)) * spread)[labels(rng, n, classes)] + rng.standard_normal((n, dim))


def offset(rng, n, dim, classes, spread):
    return rng.standard_normal((n, dim)) + rng.standard_normal(dim) * spread


def heavy_channels(rng, n, dim, classes, spread):
    """A few channels, as of transformers, that outweigh the others."""
    scales = np.exp(2 * rng.standard_normal(dim))
    scales[: max(1, dim // 50)] *= spread
    return rng.standard_normal((n, dim)) * scales


def relu(rng, n, dim, classes, spread):
    centres = (rng.standard_normal((classes, dim)) - 0.5) * spread
    return np.maximum(rng.standard_normal((n, dim)) + centres[labels(rng, n, classes)], 0)


def quantised(rng, n, dim, classes, spread):
    centres = rng.standard_normal((classes, dim)) * 3
    return np.round((rng.standard_normal((n, dim)) + centres[labels(rng, n, classes)]) * 4)


def two_values(rng, n, dim, classes, spread):
    """Products whose last bits are lost alike, feature after feature."""
    centres = rng.standard_normal((classes, dim)) * 2
    return np.sign(rng.standard_normal((n, dim)) + centres[labels(rng, n, classes)]) * (1 + 2.0**-7)


def near_ties(rng, n, dim, classes, spread):
    """Points on spheres around their centres, whose distances hardly differ."""
    around = rng.standard_normal((n, dim))
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    return (rng.standard_normal((classes, dim)) * 10)[labels(rng, n, classes)] + around / spread


def duplicates(rng, n, dim, classes, spread):
    return clusters(rng, n, dim, classes, spread)[rng.integers(0, n, n) // 3 * 3]


def constant(rng, n, dim, classes, spread):
    """All features but the first of one value each, up to 1e30."""
    cloud = np.tile(rng.standard_normal(dim) * spread**6, (n, 1))
    cloud[:, 0] += rng.standard_normal(n) * np.abs(cloud[0, 0]) / 100
    return cloud


KINDS = [clusters, offset, heavy_channels, relu, quantised, two_values, near_ties, duplicates, constant]


def labels(rng, n, classes):
    return rng.integers(0, classes, n)


def cloud_of(kind, seed, n, dim, classes=10, spread=100.0):
    return kind(np.random.default_rng(seed), n, dim, classes, spread).astype(np.float32)


def true_distances(points):
    """(n, n) in double precision, by difference; infinite to themselves."""
    distances = cdist(*[points.reshape(len(points), -1).astype(np.float64)] * 2)
    np.fill_diagonal(distances, np.inf)
    return distances


def assert_exact(graph, distances):
    """Every row holds k different others, none farther than the k-th true one, but for ties."""
    n, k = graph.indices.shape
    assert (np.sort(graph.indices, axis=1)[:, 1:] != np.sort(graph.indices, axis=1)[:, :-1]).all()
    assert (graph.indices != np.arange(n)[:, None]).all()
    nearest = np.sort(np.partition(distances, k - 1, axis=1)[:, :k], axis=1)
    found = np.take_along_axis(distances, graph.indices.astype(np.int64), axis=1)
    wrong = (found > nearest[:, -1:] * (1 + TIED)).any(axis=1)
    assert not wrong.any(), f"{wrong.sum()} of {n} rows are wrong, the first is {wrong.nonzero()[0][0]}"
    np.testing.assert_allclose(graph.distances, nearest, rtol=TIED, atol=0)
    assert graph.failed == 0
