"""knn_graph: check the features, choose a backend, build the graph."""

import math
from typing import Any

import numpy as np
import torch

from rra_monitor.graph.exact import exact_graph
from rra_monitor.graph.knn import KnnGraph

BACKENDS = ("auto", "exact")


def knn_graph(features: Any, k: int = 20, backend: str = "auto") -> KnnGraph:
    """The directed graph of the k nearest neighbours under the Euclidean distance.

    Distances are those of the vectorised samples in float32, whatever the input's type; the nearest eight of each
    sample are settled by direct difference, so that r1 and r2 are good to 1e-5. The sample itself is excluded by its
    index. The work is done where the features lie.

    Args:
        features: (n, …) array or tensor; trailing axes are flattened. Integers and half precision are cast.
        k: neighbours of each sample, 1 to n-1.
        backend: "exact", or "auto", which takes the exact one.

    Returns:
        A KnnGraph of numpy arrays.

    Raises:
        TypeError: features that are no real numbers.
        ValueError: fewer than 2 samples, no features, NaN or infinite values, k out of range, an unknown backend.

    Source: section 3.2.1 of the thesis.

    >>> graph = knn_graph(np.array([[0.0], [1.0], [3.0], [7.0]]), k=2)
    >>> graph.indices.tolist()
    [[1, 2], [0, 2], [1, 0], [2, 1]]
    >>> graph.distances.tolist()
    [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0], [4.0, 6.0]]
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    matrix = _as_matrix(features)
    n = len(matrix)
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise TypeError(f"k must be an integer, got {k!r}")
    if not 1 <= k < n:
        raise ValueError(
            f"k={k} for n={n} samples: each has {n - 1} others, so k must lie in 1 to {n - 1}. "
            f"Lower k, or take more samples (default_k gives n / (10 · classes))."
        )
    return exact_graph(matrix, int(k))


def _as_matrix(features: Any) -> torch.Tensor:
    """The features as a finite (n, d) tensor of real floats, in their own precision and place."""
    tensor = features.detach() if isinstance(features, torch.Tensor) else _from_array(features)
    if tensor.is_complex():
        raise TypeError(f"features are {tensor.dtype}; split real and imaginary parts into two features")
    if tensor.ndim == 0 or len(tensor) < 2:
        raise ValueError(
            f"features of shape {tuple(tensor.shape)} hold fewer than 2 samples; expected (n, …) with n >= 2"
        )
    matrix = tensor.reshape(len(tensor), -1)
    if matrix.shape[1] == 0:
        raise ValueError(f"features of shape {tuple(tensor.shape)} are empty: no feature per sample")
    if not matrix.is_floating_point():
        matrix = matrix.float()
    # A finite sum has finite terms; only an odd sum needs the slow look.
    if not math.isfinite(float(matrix.sum())) and (count := int((broken := ~torch.isfinite(matrix).all(dim=1)).sum())):
        raise ValueError(
            f"{count} of {len(matrix)} samples have NaN or infinite features (the first is sample "
            f"{int(broken.nonzero()[0, 0])}). Has the training diverged, or does this layer overflow in half precision?"
        )
    return matrix


def _from_array(features: Any) -> torch.Tensor:
    array = np.asarray(features)
    if array.dtype == object or not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise TypeError(f"features are an array of {array.dtype}, expected real numbers in an array or tensor (n, …)")
    if array.dtype.byteorder not in "=|" or array.dtype in (np.uint16, np.uint32, np.uint64, np.longdouble):
        array = array.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(array))
