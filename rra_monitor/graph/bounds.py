"""Bounds on rounding errors, from the significant bits of the formats: the basis of the certificates of exact graphs.

Standard model of floating-point arithmetic (Higham 2002, Accuracy and Stability of Numerical Algorithms, sections 2.2
and 3.1): rounding to nearest with p significant bits, the leading one counted, moves a number by at most 2^-p of it.
After m such roundings a sum of products is off by at most m 2^-p / (1 - m 2^-p) of the sum of their magnitudes, in any
order, with or without fused multiply-adds. By Cauchy and Schwarz that sum is at most |x| |y| for the inner product of x
and y, so its error is bounded by their norms. These are not averages: the errors of quantised features, which round the
same way in every feature, do add up to nearly that much.
"""

import torch

UNIT = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11, torch.float32: 2.0**-24, torch.float64: 2.0**-53}
"""Largest relative error of a number rounded to nearest: bfloat16 has 8 significant bits, of which it stores 7."""

FURTHER = 16
"""Roundings of |x|² + |y|² - 2 x·y beside those of the product's d terms, in units of |x|² + |y|²: one of the norms,
two of each of the two sums, which are at most twice that large, and four of the centring of x and y, which moves the
distance by at most a UNIT of |x| + |y|. The rest is a margin for second-order terms."""

SMALLEST = 2.0**-126
"""The smallest normal float32. Processors that multiply bfloat16 treat smaller values as 0."""


def squared_error(dim: int, dtype: torch.dtype) -> float:
    """Bound on the error of |x|² + |y|² - 2 x·y of d features, in units of |x|² + |y|², which is at least 2 |x| |y|.

    Samples were centred and the product is summed in `dtype`; the norms are exact but for one rounding to it.
    """
    roundings = (dim + FURTHER) * UNIT[dtype]
    return roundings / (1 - roundings) if roundings < 1 else float("inf")


def vanishing(dim: int) -> float:
    """Bound on the error of a squared distance from d products and sums below SMALLEST that are treated as 0."""
    return 4 * dim * SMALLEST


ACCURATE = 1e-6
"""Relative error of a squared distance that a product in float64 may leave, a twentieth of what counts as tied."""


def cancelling(dim: int) -> float:
    """Fraction of |x|² + |y|² below which a squared distance of d features is not ACCURATE by a product in float64."""
    return squared_error(dim, torch.float64) / ACCURATE


TOGETHER = 4096
"""Features whose products are summed on tensor cores; the sums of several such parts are added in float32."""


def tensor_core_error(dim: int) -> float:
    """Bound on the error of an inner product of d float16 features by tensor cores, in units of |x| |y|.

    Products are exact: 22 bits. Blocks of at least 4 of them (Volta; 8 on Ampere, 16 on Hopper) are added at once with
    the sum so far: each term is cut, not rounded, to 24 bits of the largest, and so is the result (Fasi et al. 2021,
    Numerical behavior of NVIDIA tensor cores). So a block of b costs b + 2 errors of at most 2^-23 of a term or a sum,
    none of which exceeds |x| |y|: 1.5 of them for each feature. Libraries sum parts of the features apart, of many more
    than 10 each; with one more rounding for each of these, 1.6. This code adds the sums of TOGETHER features.
    """
    error = (1.6 * min(dim, TOGETHER) + dim / TOGETHER + 2) * 2.0**-23
    return error / (1 - error) if error < 1 else float("inf")
