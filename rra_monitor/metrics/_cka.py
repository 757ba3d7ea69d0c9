"""Linear centred kernel alignment (CKA): a similarity of representations that depends on all distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.graph.points import Points
from rra_monitor.metrics._estimate import Estimate, or_warning

CHUNK = 4096
"""Features read at once for a Gram matrix, at most."""

CHUNKED = 1 << 20
"""Features of all samples together that are read at once, but for 64 of each sample."""

ROUNDING = 1e-12
"""HSIC of a kernel with itself below this fraction of its squared trace counts as rounding."""


@dataclass(frozen=True, eq=False)
class LinearKernel:
    """The centred n × n Gram matrix of a layer's features, as n · min(n, d) numbers.

    Attributes:
        rows: (n, d) centred features where d <= n, else their (n, n) Gram matrix; double precision, divided by `scale`
            (the Gram matrix by its square).
        squares: (n,) squared norms of the centred features, divided by the square of `scale`.
        gram: whether `rows` is the Gram matrix.
        scale: power of two that keeps sums of squares in range.
    """

    rows: torch.Tensor
    squares: torch.Tensor
    gram: bool
    scale: float = 1.0

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.rows)

    def matrix(self) -> npt.NDArray[np.float64]:
        """(n, n) inner products of the centred features, K = A Aᵀ."""
        product = self.rows if self.gram else self.rows @ self.rows.T
        return np.asarray(product.cpu().numpy() * self.scale**2)

    def eigenvalues(self) -> npt.NDArray[np.float64]:
        """(min(n, d),) the largest eigenvalues of the Gram matrix, ascending; all others are 0.

        Where d < n these are the eigenvalues of the d × d matrix Aᵀ A, which takes less time.
        """
        product = self.rows if self.gram else self.rows.T @ self.rows
        return np.asarray(torch.linalg.eigvalsh(product).clamp(min=0).cpu().numpy() * self.scale**2)


def linear_kernel(features: Any) -> LinearKernel:
    """The linear kernel of a layer's features, in the smaller of its two forms.

    Neither a d × d matrix nor, where d < n, an n × n one is made. Wide features are read some at a time.

    Args:
        features: (n, …) array or tensor, n >= 2; trailing axes are flattened. The work is done on its device.

    Raises:
        TypeError: features that are not real numbers.
        ValueError: fewer than 2 samples, no features, NaN or infinite values.
    """
    points = Points(features)
    if points.dim <= points.n:
        rows = _centred(points, slice(None))
        return LinearKernel(rows, rows.square().sum(dim=1), gram=False, scale=float(points.scale))
    gram = torch.zeros((points.n, points.n), dtype=torch.float64, device=points.device)
    step = _step(points.n)
    for start in range(0, points.dim, step):
        chunk = _centred(points, slice(start, start + step))
        gram.addmm_(chunk, chunk.T)
    return LinearKernel(gram, gram.diagonal().clone(), gram=True, scale=float(points.scale))


def kernel_bytes(n: int, dim: int) -> tuple[int, int]:
    """Bytes of a linear kernel, and those that are taken in addition while it is made or its eigenvalues are found."""
    square = 8 * min(n, dim) ** 2
    made = 8 * n * dim if dim <= n else 16 * n * min(dim, _step(n))
    return 8 * n * min(n, dim) + 8 * n, max(made, 2 * square)


def _step(n: int) -> int:
    return min(CHUNK, max(64, CHUNKED // n))


def linear_cka(features_a: Any, features_b: Any, unbiased: bool = False) -> float:
    """The linear centred kernel alignment of two representations of the same samples.

    Formula: HSIC(A, B) / sqrt(HSIC(A, A) HSIC(B, B)), with HSIC(A, B) = tr(K L) = ||Aᵀ B||² for centred features A, B
    and K = A Aᵀ, L = B Bᵀ. Unbiased: HSIC is the estimator of Song et al., of the kernels without their diagonals,
    tr(K L) + (1ᵀK1)(1ᵀL1) / ((n - 1)(n - 2)) - 2 (1ᵀK L1) / (n - 2), up to a factor that cancels.

    Args:
        features_a: (n, …) array or tensor, or its `linear_kernel`.
        features_b: array, tensor or kernel of the same samples in the same order, with any number of features.
        unbiased: whether to use the unbiased estimator, which needs n >= 4. The biased value rises towards 1 if there
            are many more features than samples, related or not: two Gaussian draws of n = 100, d = 1000 give 0.91.
            The unbiased one is about 0 there.

    Returns:
        0 to 1, higher is more similar; 1 for features that differ by a shift, a rotation and a scale. Unbiased: at most
        1, about 0 for unrelated features, by chance negative. NaN, with a warning that states the reason, where all
        samples are equal (unbiased: where all are equally far from each other).

    Raises:
        TypeError: features that are not real numbers.
        ValueError: different n, NaN or infinite values; n < 4 for the unbiased value.

    Source: Kornblith et al. 2019, Similarity of Neural Network Representations Revisited; unbiased HSIC: Song et al.
    2012, Feature Selection via Dependence Maximization, Eq. 5.

    >>> points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
    >>> round(linear_cka(points, 5 - 2 * points), 9)
    1.0
    """
    return float(cka_matrix([features_a], [features_b], unbiased)[0, 0])


def cka_matrix(
    features_a: Sequence[Any], features_b: Sequence[Any] | None = None, unbiased: bool = False
) -> npt.NDArray[np.float64]:
    """The linear CKA of every representation in one list with every one in another.

    Args:
        features_a: la representations of the same n samples, or their kernels.
        features_b: lb more of them; the first list itself if None.
        unbiased: whether to use the unbiased estimator, see `linear_cka`.

    Returns:
        (la, lb) values of `linear_cka`, higher is more similar; symmetric with a diagonal of ones for one list.

    Raises:
        TypeError: features that are not real numbers.
        ValueError: an empty list; see also `linear_cka`.

    Source: see `linear_cka`.
    """
    kernels_a = [_as_kernel(features) for features in features_a]
    kernels_b = kernels_a if features_b is None else [_as_kernel(features) for features in features_b]
    _check(kernels_a, kernels_b, unbiased)
    own_a = [or_warning(_own(kernel, unbiased), "CKA undefined") for kernel in kernels_a]
    own_b = own_a
    if features_b is not None:
        own_b = [or_warning(_own(kernel, unbiased), "CKA undefined") for kernel in kernels_b]
    return _normalised(kernels_a, kernels_b, own_a, own_b, unbiased)


def alignments(kernels: Sequence[LinearKernel]) -> npt.NDArray[np.float64]:
    """(l, l) linear CKA of representations with each other, as `cka_matrix`, NaN without a warning."""
    own = [_own(kernel, unbiased=False).value for kernel in kernels]
    return _normalised(kernels, kernels, own, own, unbiased=False)


def _normalised(
    kernels_a: Sequence[LinearKernel],
    kernels_b: Sequence[LinearKernel],
    own_a: Sequence[float],
    own_b: Sequence[float],
    unbiased: bool,
) -> npt.NDArray[np.float64]:
    """HSIC of each pair over the root of the product of its kernels' own; in one list each pair is computed once."""
    matrix = np.empty((len(kernels_a), len(kernels_b)))
    for row, a in enumerate(kernels_a):
        for column, b in enumerate(kernels_b):
            if kernels_b is kernels_a and column < row:
                matrix[row, column] = matrix[column, row]
            else:
                matrix[row, column] = _dependence(a, b, unbiased) / math.sqrt(own_a[row] * own_b[column])
    return matrix


def _as_kernel(features: Any) -> LinearKernel:
    return features if isinstance(features, LinearKernel) else linear_kernel(features)


def _check(kernels_a: list[LinearKernel], kernels_b: list[LinearKernel], unbiased: bool) -> None:
    if not kernels_a or not kernels_b:
        raise ValueError("a CKA matrix needs at least one representation on each side, got an empty list")
    sizes = sorted({kernel.n for kernel in (*kernels_a, *kernels_b)})
    if len(sizes) > 1:
        given = " and ".join(f"n={n}" for n in sizes)
        raise ValueError(f"CKA compares representations of the same samples, found {given}; pass the same samples")
    if unbiased and sizes[0] < 4:
        raise ValueError(f"the unbiased CKA needs at least 4 samples, got {sizes[0]}; take more, or unbiased=False")


def _own(kernel: LinearKernel, unbiased: bool) -> Estimate:
    """HSIC of a kernel with itself; undefined where it is only rounding."""
    own, scale = _dependence(kernel, kernel, unbiased), float(kernel.squares.sum()) ** 2
    if own <= ROUNDING * scale:
        why = "equally far from each other" if scale > 0 else "equal"
        return Estimate.undefined(f"all {kernel.n} samples are {why} in a representation")
    return Estimate(own)


def _dependence(a: LinearKernel, b: LinearKernel, unbiased: bool) -> float:
    """HSIC of two kernels, up to a factor of n."""
    total = _trace(a, b)
    if not unbiased:
        return total
    # Rows of a centred kernel sum to 0, so without its diagonal they sum to minus the diagonal.
    n, both = a.n, float(a.squares @ b.squares.to(a.squares.device))
    sums = float(a.squares.sum()) * float(b.squares.sum())
    return total - n / (n - 2) * both + sums / ((n - 1) * (n - 2))


def _trace(a: LinearKernel, b: LinearKernel) -> float:
    """tr(K L), from the given forms of both."""
    left, right = a.rows, b.rows.to(a.rows.device)
    if a.gram and b.gram:
        return float((left * right).sum())
    if a.gram or b.gram:
        gram, rows = (left, right) if a.gram else (right, left)
        return float((rows * (gram @ rows)).sum())
    return float((left.T @ right).square().sum())


def _centred(points: Points, columns: slice) -> torch.Tensor:
    """(n, columns) features minus their means, in double precision, scaled by a power of two."""
    chunk = points.matrix[:, columns].to(torch.float64, copy=True).div_(points.scale)
    chunk.sub_(chunk[0].clone())  # exactly 0 for equal samples, whose mean is rounded
    return chunk.sub_(chunk.mean(dim=0))
