"""The distribution of r2 / r1 beside the one that TwoNN assumes (Fig. 5.1 of the thesis)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
import numpy.typing as npt

from rra_monitor.metrics._ratios import log_ratios
from rra_monitor.metrics._reduction import Graph, sums_over_samples
from rra_monitor.utils.checks import whole_number


@dataclass(frozen=True, eq=False)
class RatioHistogram:
    """The histogram of the ratios r2 / r1.

    Attributes:
        edges: (bins + 1,) edges of the bins, from 1; the last edge belongs to the last bin.
        counts: (bins,) number of samples in each bin.
        beyond: number of samples with a larger ratio; samples with a duplicate have no ratio and are not counted.
        dimension: maximum-likelihood estimate of the ID from all ratios, NaN where undefined.
    """

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    beyond: int
    dimension: float

    @property
    def density(self) -> npt.NDArray[np.float64]:
        """(bins,) fraction of all ratios per unit of the ratio; NaN without any."""
        total = self.counts.sum() + self.beyond
        return np.asarray(self.counts / (total or math.nan) / np.diff(self.edges))

    @property
    def pareto(self) -> npt.NDArray[np.float64]:
        """(bins,) the density expected of a Pareto distribution with the same ID: ID mu^-(ID + 1), averaged over a bin.

        Where the measured density lies below it at ratios near 1 and above it in the tail, near-duplicates or a
        mixture of dimensions bias the ID.
        """
        return np.asarray(-np.diff(self.edges**-self.dimension) / np.diff(self.edges))


def ratio_histogram(graph: Graph, bins: int = 50, upper: float = 1.05) -> RatioHistogram:
    """The histogram of mu = r2 / r1 over the samples without a duplicate, in equal bins from 1 to `upper`.

    Args:
        graph: a graph with k >= 2.
        bins: number of bins, at least 1.
        upper: end of the last bin, above 1. The thesis draws to 1.05, beyond which a fraction of 1.05^-ID is expected,
            0.31 at an ID of 24. Use one value for all layers to compare them.

    Returns:
        Counts, and the density beside the Pareto density of the same ID.

    Raises:
        ValueError: k < 2; less than one bin; an upper end not above 1.

    Source: Fig. 5.1 of the thesis; the Pareto distribution from Facco et al. 2017.

    >>> from rra_monitor import knn_graph
    >>> ratio_histogram(knn_graph([0.0, 1.0, 3.0, 7.0], k=2), bins=3, upper=2.5).counts  # ratios 3, 2, 1.5, 1.5
    array([0, 2, 1])
    """
    if whole_number("bins", bins) < 1 or not isinstance(upper, Real) or not 1 < upper < math.inf:
        raise ValueError(f"bins={bins} must be at least 1 and upper={upper} above 1, where ratios begin")
    edges = np.linspace(1, upper, bins + 1)

    def find() -> npt.NDArray[np.float64]:
        logs = log_ratios(graph, 1, 2)
        counts, _ = np.histogram(np.exp(logs), edges)
        return np.array([*counts, len(logs), logs.sum()])

    *counts, usable, total = sums_over_samples(find, graph)
    inside = np.array(counts, dtype=np.int64)
    return RatioHistogram(edges, inside, int(usable) - int(inside.sum()), usable / total if total > 0 else math.nan)
