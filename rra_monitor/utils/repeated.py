"""Warnings of what fails again and again: said the first time, then the tenth, the hundredth, …"""

import re
import warnings
from collections import Counter


class Repeated:
    """Counts warnings, so that what fails at every snapshot of a training is not said at each.

    Texts that differ in numbers only, such as those of the moment, are one.
    """

    def __init__(self) -> None:
        self._counts = Counter[str]()

    def warn(self, text: str, stacklevel: int = 2) -> None:
        """Warn, if it is the first, tenth, hundredth, … time of this text.

        Args:
            text: what failed, when, and for which reason.
            stacklevel: see `warnings.warn`.
        """
        kind = re.sub(r"\d+", "#", text)
        self._counts[kind] += 1
        count = self._counts[kind]
        if re.fullmatch("10*", str(count)):
            times = "" if count == 1 else f" (for the {count}th time)"
            warnings.warn(f"{text}{times}", stacklevel=stacklevel + 1)
