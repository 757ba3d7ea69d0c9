"""Number formats of the trials: how each rounds, multiplies, and how far its products may be off."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Format:
    """A way to multiply centred features of at most 1.

    Args:
        pieces: function from lifted features to pieces, whose sum is what the products see.
        relative: bound on the error of x·y from rounded operands, in units of |x| |y|.
        dropped: the part of it from products of low pieces that are left out.
        lift: power of two that features are multiplied by before they are rounded.
        tf32: whether float32 operands are multiplied in TF32.
    """

    pieces: Callable[[torch.Tensor], list[torch.Tensor]]
    relative: float
    dropped: float = 0.0
    lift: float = 1.0
    tf32: bool = False

    def sides(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows and columns of one product: high, high, low against high, low, high, if there are two pieces."""
        pieces = self.pieces(features * self.lift)
        if len(pieces) == 1:
            return pieces[0], pieces[0]
        high, low = pieces
        return torch.cat([high, high, low], dim=1), torch.cat([high, low, high], dim=1)

    def seen(self, features: torch.Tensor) -> torch.Tensor:
        """The features in float64 as the products see them."""
        return sum(piece.double() for piece in self.pieces(features * self.lift)) / self.lift  # type: ignore[return-value]

    def product(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Inner products of all pairs of two sides, summed and returned in float32, in units of lift²."""
        if rows.dtype == torch.float32:
            with tf32_products(self.tf32):
                return rows @ columns.T
        if rows.device.type == "cuda":
            return torch.mm(rows, columns.T, out_dtype=torch.float32)
        return rows.float() @ columns.float().T


@contextmanager
def tf32_products(allowed: bool) -> Iterator[None]:
    """Products of float32 matrices in TF32 on the tensor cores, or not."""
    # This flag sets torch's newer one, too; a mixture of both would be refused.
    backend = torch.backends.cuda.matmul
    before, backend.allow_tf32 = backend.allow_tf32, allowed
    try:
        yield
    finally:
        backend.allow_tf32 = before


def as_given(features: torch.Tensor) -> list[torch.Tensor]:
    return [features]


def to_tf32(features: torch.Tensor) -> list[torch.Tensor]:
    """Rounded to nearest with 11 significant bits, ties to even."""
    bits = features.contiguous().view(torch.int32)
    odd = bits.bitwise_right_shift(13).bitwise_and_(1)
    return [(bits + 0xFFF + odd).bitwise_and_(~0x1FFF).view(torch.float32)]


def to_float16(features: torch.Tensor) -> list[torch.Tensor]:
    return [features.half()]


def to_bfloat16(features: torch.Tensor) -> list[torch.Tensor]:
    return [features.bfloat16()]


def to_two_float16(features: torch.Tensor) -> list[torch.Tensor]:
    high = features.half()
    return [high, (features - high.float()).half()]


def to_two_bfloat16(features: torch.Tensor) -> list[torch.Tensor]:
    high = features.bfloat16()
    return [high, (features - high.float()).bfloat16()]


LIFT = 256.0
"""Keeps small features above the floor of float16 (2^-24), and the largest far from its limit."""

FORMATS = {
    "float32": Format(as_given, 0.0),
    "TF32": Format(as_given, 2.0**-9, tf32=True),
    "TF32, rounded first": Format(to_tf32, 2.0**-10, tf32=True),
    "float16": Format(to_float16, 2.0**-10, lift=LIFT),
    "bfloat16": Format(to_bfloat16, 2.0**-7),
    "two bfloat16": Format(to_two_bfloat16, 3 * 2.0**-16, dropped=2.0**-16),
    "two float16": Format(to_two_float16, 3 * 2.0**-22, dropped=2.0**-22, lift=LIFT),
}
"""Operands of p significant bits are off by 2^-p each, truncated ones (TF32) by 2^-10. Second-order terms are left out:
these are trials."""
