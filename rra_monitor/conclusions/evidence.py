"""Evidence: a finding, and its confidence given that the samples are a random draw.

The factors of the standard errors are measured. Over 60 draws of 250 digits, four kinds of features and k = 2, 5, 20,
the standard deviation of the NNCS was 0.5 to 1.2 times sqrt(p (1 - p) / n), that of a paired difference 1.3 to 1.6
times the standard error of its samples. The standard error of an ID is the snapshot's own, a bootstrap over samples,
which underestimates by up to a quarter on CIFAR-10's pixels (docs/metrics.md); a finding also needs a difference of a
tenth.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.metrics import nncs_per_sample

SURE = 0.99
"""Smallest confidence of a finding."""

TIED = 0.5
"""Fraction of tied samples above which NNCS and NNLS mean little and are ignored."""

ID_FACTOR, FRACTION_FACTOR, PAIRED_FACTOR = 4 / 3, math.sqrt(2), 2.0


@dataclass(frozen=True)
class Finding:
    """One thing that the curves show.

    Attributes:
        kind: `id_peak`, `hunchback`, `double_hunchback`, `initial_contraction`, `cluster_spike`, `overfitting`,
            `drift`, `redundant_layers`, `collapse`, `unsettled`, `pooling_window`,
            `near_duplicates`; or `not_comparable`, a note on
            two probes.
        probe: probe in which it was found; of a comparison the one that is not `train`.
        layers: layers concerned, in execution order.
        sentence: one sentence with the numbers in it.
        confidence: confidence, 0.99 to 1, that it does not result from the draw of the samples; other seeds of the
            network are not covered.
        values: the numbers by name.
    """

    kind: str
    probe: str
    layers: tuple[str, ...]
    sentence: str
    confidence: float
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """A difference between two measured values.

    Attributes:
        value: the second minus the first; of IDs, the difference of their natural logarithms.
        error: its standard error over draws of the samples.
    """

    value: float
    error: float

    def confidence(self, tries: int = 1, at_least: float = 0.0) -> float:
        """Confidence that the change does not result from the draw of the samples.

        Formula: 1 - tries P(a standard normal exceeds value / error), not below 0.

        Args:
            tries: number of places tested; the probability of a false finding grows with it.
            at_least: smallest change that counts.

        Returns:
            0 to 1; 0 where the value is undefined or less than `at_least`.
        """
        if not self.value >= at_least or self.value <= 0:
            return 0.0
        if self.error == 0:
            return 1.0
        return max(0.0, 1 - tries * math.erfc(self.value / self.error / math.sqrt(2)) / 2)


def log_id_difference(here: Snapshot, a: int, there: Snapshot, b: int) -> Difference:
    """The change from the ID of layer a to that of layer b, of one snapshot or two, as a difference of logarithms.

    Formula: ln(ID_b / ID_a), with the error 4/3 sqrt((e_a / ID_a)² + (e_b / ID_b)²), e the standard errors of the
    snapshots. Two layers of one snapshot are correlated, so their true error is smaller.
    """
    values = here.id[a], there.id[b]
    errors = here.id_error[a], there.id_error[b]
    if not (min(values) > 0 and min(errors) >= 0):
        return Difference(math.nan, math.inf)
    relative = (error / value for error, value in zip(errors, values, strict=True))
    return Difference(math.log(values[1] / values[0]), ID_FACTOR * math.hypot(*relative))


def fraction_error(fraction: float, n: int) -> float:
    """The standard error of an NNCS or NNLS, the n samples (not their n k pairs) as the unit.

    Formula: sqrt(2 p (1 - p) / n), p = (n fraction + 1) / (n + 2), which leaves an error at fractions of 0 and 1.
    """
    p = (n * fraction + 1) / (n + 2)
    return FRACTION_FACTOR * math.sqrt(p * (1 - p) / n)


def fraction_difference(fraction_a: float, n_a: int, fraction_b: float, n_b: int) -> Difference:
    """The change from one NNCS, NNLS or other fraction of samples to another, as for independent samples."""
    error = math.hypot(fraction_error(fraction_a, n_a), fraction_error(fraction_b, n_b))
    return Difference(fraction_b - fraction_a, error)


def nncs_difference(snapshot: Snapshot, a: int, b: int) -> Difference:
    """The change from the NNCS of layer a to that of layer b of one snapshot.

    Formula: with graphs, the error is twice the standard error of the samples' differences, at least one sample's;
    without them that of independent samples, which is several times larger for similar layers.
    """
    assert snapshot.nncs is not None
    n, labels = snapshot.settings.n, snapshot.settings.labels
    graphs = [snapshot.graphs.get(snapshot.layers[row]) for row in (a, b)]
    if labels is None or graphs[0] is None or graphs[1] is None:
        return fraction_difference(snapshot.nncs[a], n, snapshot.nncs[b], n)
    differences = nncs_per_sample(graphs[1], labels) - nncs_per_sample(graphs[0], labels)
    return Difference(
        float(snapshot.nncs[b] - snapshot.nncs[a]),
        PAIRED_FACTOR * math.sqrt(max(float(np.var(differences)), 1 / n) / n),
    )
