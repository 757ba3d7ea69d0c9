"""A value, or the reason why there is none."""

import math
import warnings
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """The result of an estimate that may be undefined.

    Attributes:
        value: the number, NaN where undefined.
        reason: reason why it is undefined, as the end of a sentence; None where it is defined.
    """

    value: float
    reason: str | None = None

    @classmethod
    def undefined(cls, reason: str) -> "Estimate":
        """An estimate without a value."""
        return cls(math.nan, reason)


def or_warning(estimate: Estimate, what: str, stacklevel: int = 3) -> float:
    """The value, with a warning that states the reason where it is undefined.

    Args:
        estimate: value, or reason why there is none.
        what: beginning of the warning, such as "ID undefined".
        stacklevel: frame that the warning names; 3 is the caller of the function that calls this one.
    """
    if estimate.reason is not None:
        warnings.warn(f"{what}: {estimate.reason}", stacklevel=stacklevel)
    return estimate.value
