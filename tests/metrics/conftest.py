"""What the metrics' tests measure: labelled points, related layers, and points with golden values."""

import json
from pathlib import Path

import numpy as np
import pytest

import rra_monitor as rra
from tests.metrics.golden.points import POINTS

GOLDEN = json.loads((Path(__file__).parent / "golden" / "intrinsic_dimension.json").read_text())["estimates"]


@pytest.fixture(scope="session")
def classes():
    """Classes -3, 7 and 9 of 40, 15 and 5 samples, somewhat apart, in mixed order; k = 7 exceeds the last."""
    rng = np.random.default_rng(5)
    labels = rng.permutation(np.repeat([7, -3, 9], [15, 40, 5]))
    points = rng.normal(size=(60, 3)) + labels[:, None] / 6
    return points, labels, rra.knn_graph(points, 7)


@pytest.fixture(scope="session")
def layers():
    """Two related representations of 60 samples, with k = 9."""
    rng = np.random.default_rng(7)
    a = rng.normal(size=(60, 4))
    return a, a + 0.5 * rng.normal(size=a.shape)


@pytest.fixture(scope="session", params=list(POINTS))
def golden(request):
    """A graph, and what dadapy and scikit-dimension find for its points, by golden/make_golden.py."""
    return rra.knn_graph(POINTS[request.param](), 32), GOLDEN[request.param]
