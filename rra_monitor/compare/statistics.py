"""Mean and standard deviation of the defined values over the runs of a group."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def mean(values: Floats) -> Floats:
    """The mean along the first axis of the values that are defined; NaN where none is."""
    count = (~np.isnan(values)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(values, axis=0) / count)


def deviation(values: Floats) -> Floats:
    """The standard deviation (N - 1) along the first axis of the values that are defined; NaN for fewer than two."""
    count = (~np.isnan(values)).sum(axis=0)
    squares = np.nansum((values - mean(values)) ** 2, axis=0)
    return np.asarray(np.sqrt(np.where(count > 1, squares / np.maximum(count - 1, 1), np.nan)))
