"""What a monitor says of its measurements, each thing once."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from rra_monitor.capture.names import displayed
from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.utils.text import some


class Remarks:
    """Warns of what a user should know, once each: it often stays as it is in later snapshots."""

    def __init__(self) -> None:
        self._said: set[tuple[str, ...]] = set()

    def say(self, text: str) -> None:
        """Warn of the choice of layers."""
        if self._is_new(text):
            warnings.warn(text, stacklevel=7)

    def of_snapshot(self, snapshot: Snapshot, reasons: Mapping[tuple[str, str], str]) -> None:
        """Warn of what is undefined in a snapshot, with the reasons of a `Collector`, and of what is wrong with it."""
        self.undefined(snapshot.probe, snapshot.quantities, reasons)
        self.of_samples(snapshot)

    def undefined(self, probe: str, quantities: Sequence[Quantity], reasons: Mapping[tuple[str, str], str]) -> None:
        """Warn of quantities that are undefined in some layers.

        Args:
            probe: name of the probe.
            quantities: quantities of its snapshot.
            reasons: name of a quantity and layer to the reason, see `Collector`.
        """
        # A standard error or second estimate is undefined where its quantity is, whose warning gives the reason.
        symbols = {one.name: one.symbol for one in quantities if not one.error_of and not one.beside}
        alike: dict[tuple[str, str], list[str]] = {}
        for (name, layer), reason in reasons.items():
            if name in symbols and self._is_new(probe, name, layer):
                alike.setdefault((name, reason), []).append(layer)
        for (name, reason), layers in alike.items():
            where = f"layers {some(layers)}" if len(layers) > 1 else f"layer {layers[0]!r}"
            where = where if layers[0] else "pairs of layers"
            warnings.warn(f"{where} of probe {probe!r}: {symbols[name]} undefined: {reason}", stacklevel=5)

    def short_of_memory(self, budget: int, free: int) -> None:
        """Warn where less is free than the memory budget."""
        if free < budget and self._is_new("memory"):
            warnings.warn(
                f"{free / 2**30:.2g} GiB of memory are free now, less than memory_budget={budget / 2**30:.3g} GiB, to "
                "which the monitor keeps; lower it if a snapshot runs out of memory",
                stacklevel=6,
            )

    def of_samples(self, snapshot: Snapshot) -> None:
        """Warn of quantities that have a warning and are above 0 in some layer."""
        for quantity, curve in snapshot.measured():
            layers = [layer for layer, value in zip(displayed(snapshot.layers), curve, strict=True) if value > 0]
            if quantity.warning and layers and self._is_new(snapshot.probe, quantity.name):
                most = f"{quantity.symbol} up to {np.nanmax(curve):.3g}"
                warnings.warn(f"{some(layers)} of probe {snapshot.probe!r}: {quantity.warning} ({most})", stacklevel=5)

    def _is_new(self, *what: str) -> bool:
        known = what in self._said
        self._said.add(what)
        return not known
