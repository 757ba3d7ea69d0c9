"""Accuracy of a k-nearest-neighbour classifier on a layer's features, leaving each sample out."""

from typing import Any

import numpy as np

from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.settings import Settings

BLOCK = 1 << 24
"""Largest number of neighbours and votes held at once."""


def knn_accuracy(graph: Any, labels: Any) -> float:
    """The fraction of samples whose class is the most frequent one among their k neighbours.

    Formula: 1 / n sum_i [label of i = the most frequent label of its k neighbours]; of equally frequent classes the
    first in order counts, as in scikit-learn's `KNeighborsClassifier`. No sample is its own neighbour: it is left out.

    Args:
        graph: graph of n samples.
        labels: (n,) integer classes, in the order of the graph's samples.

    Returns:
        0 to 1; higher means better separated classes.

    Source: Fix and Hodges 1951; the k-NN evaluation of representations: Wu et al. 2018.
    """
    classes, codes = np.unique(labels, return_inverse=True)
    right, height = 0, max(1, BLOCK // (len(classes) + graph.k))
    for top in range(0, graph.n, height):
        neighbours = codes[graph.indices[top : top + height]]
        rows = np.arange(len(neighbours))[:, None] * len(classes)
        votes = np.bincount((neighbours + rows).ravel(), minlength=len(neighbours) * len(classes))
        most = votes.reshape(-1, len(classes)).argmax(axis=1)
        right += int((most == codes[top : top + height]).sum())
    return right / float(graph.n)


def _chance(settings: Settings) -> float:
    """The fraction of the largest class: the accuracy of always predicting it."""
    return float(np.unique(np.asarray(settings.labels), return_counts=True)[1].max() / settings.n)


QUANTITIES = (
    Quantity(
        "knn_accuracy",
        knn_accuracy,
        title="k-NN accuracy",
        unit="fraction of the samples",
        low=0,
        high=1,
        better="higher",
        chance=_chance,
        needs_labels=True,
    ),
)
