"""The metrics: pure functions of neighbour graphs and labels."""

from rra_monitor.metrics.class_similarity import nncs, nncs_chance
from rra_monitor.metrics.intrinsic_dimension import twonn
from rra_monitor.metrics.layer_similarity import nnls, nnls_chance, nnls_matrix

__all__ = ["nncs", "nncs_chance", "nnls", "nnls_chance", "nnls_matrix", "twonn"]
