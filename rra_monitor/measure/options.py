"""The options of measuring, which a `Monitor` and all callbacks share."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from rra_monitor.capture.features import Forward
from rra_monitor.capture.names import FULL
from rra_monitor.capture.views import checked_views
from rra_monitor.graph.build import BACKENDS
from rra_monitor.measure.quantities import with_standard
from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.settings import ESTIMATORS, check_estimator
from rra_monitor.utils.byte_count import byte_count
from rra_monitor.utils.checks import whole_number
from rra_monitor.utils.memory import total_memory
from rra_monitor.utils.nearest import nearest
from rra_monitor.utils.text import brief

LARGEST_BUDGET, BUDGET_SHARE = 4 << 30, 4
"""The default memory budget: so many bytes at most, and such a part of all memory, whatever is in use."""


@dataclass(frozen=True, kw_only=True)
class MonitorOptions:
    """The options of measuring, checked when they are made.

    Args:
        layers: "auto" (input, stem, every block, pool, classifier), or module names and glob patterns.
        views: views of each layer: "full", and poolings such as "avg2", "max-global", see `pooled`. Each is
            measured like a layer, all from one pass; views with the same numbers are measured once.
        k: number of neighbours of each sample; n / (10 · classes) if None, at least 2.
        backend: backend of the graphs, see `knn_graph`.
        forward: function of the model and a batch of inputs, for networks that are not called with one tensor:
            `lambda model, batch: model(batch["image"], batch["mask"])`. The model is called with the batch if None.
        batch_size: number of samples in a forward pass; halved, with a warning, where memory runs out.
        memory_budget: bytes that a snapshot may take on the network's device beyond what the network takes for a batch:
            features, graphs, kernels (docs/capture.md); a number, or a text such as "4GB", which is 4 · 10^9, or
            "4GiB", which is 4 · 2^30. If None, a quarter of the memory of the device or container, at most 4 GiB.
        cka: whether to compute the linear CKA of all pairs of layers, too; the same as "cka" among the `quantities`.
            Keeps n · min(n, d) numbers in double precision for each layer while it measures, within the memory budget:
            32 MB at n = 2,000, 1.8 GB at 15,000.
        quantities: quantities in addition to the standard ones: names such as "knn_accuracy" (docs/quantities.md), or
            a `Quantity` of your own.
        estimator: method by which the ID is estimated: "ml", maximum likelihood as in the thesis; "regression" or
            "censored", which near-duplicates among the samples do not lower. See `twonn`.

    Raises:
        TypeError: an option of another type.
        ValueError: an option out of range, an unknown backend, view, quantity or estimator; two quantities of one name.
    """

    layers: str | Iterable[str] = "auto"
    views: str | Iterable[str] = (FULL,)
    k: int | None = None
    backend: str = "auto"
    forward: Forward | None = None
    batch_size: int = 128
    memory_budget: int | str | None = None
    cka: bool = False
    quantities: Iterable[str | Quantity] = ()
    estimator: str = ESTIMATORS[0]

    def __post_init__(self) -> None:
        if self.k is not None and whole_number("k", self.k) < 2:
            raise ValueError(f"k={self.k}; k must lie in 2 to n - 1")
        if self.backend not in BACKENDS:
            raise ValueError(f"unknown backend {brief(self.backend)}; choose one of {', '.join(BACKENDS)}")
        if self.forward is not None and not callable(self.forward):
            raise TypeError(f"forward={brief(self.forward)}; expected a function of the model and a batch")
        whole_number("batch_size", self.batch_size, 1)
        if self.memory_budget is not None:
            object.__setattr__(self, "memory_budget", byte_count("memory_budget", self.memory_budget))
        if not isinstance(self.cka, bool):
            raise TypeError(f"cka={brief(self.cka)}; expected True or False")
        for name, value in (("layers", _checked_layers(self.layers)), ("views", checked_views(self.views))):
            object.__setattr__(self, name, value)
        if not isinstance(self.quantities, (str, Quantity)) and isinstance(self.quantities, Iterable):
            object.__setattr__(self, "quantities", tuple(self.quantities))
        check_estimator(self.estimator)
        self.measured()

    def budget_on(self, device: torch.device) -> int:
        """The memory budget in bytes, of a network on some device."""
        if self.memory_budget is None:
            return min(LARGEST_BUDGET, total_memory(device) // BUDGET_SHARE)
        return int(byte_count("memory_budget", self.memory_budget))

    def measured(self) -> tuple[Quantity, ...]:
        """The quantities of a snapshot: the standard ones, then those asked for."""
        asked = with_standard(self.quantities, self.estimator)
        return with_standard([*asked, "cka"], self.estimator) if self.cka else asked


ELSEWHERE = {
    **dict.fromkeys(("every_n_epochs", "every_n_steps", "schedule", "max_overhead"), "RRACallback"),
    **dict.fromkeys(("dirpath", "n", "seed", "averaged", "artifacts", "tensorboard_scalars"), "RRACallback"),
    **dict.fromkeys(("references", "align"), "RRACallback and of Recorder"),
    "keep_graphs": "RRACallback and of RunStore",
    "options": "Monitor",
}
"""Options that are none of measuring, and what has them."""


def check_names(owner: str, options: Iterable[str], own: Iterable[str]) -> None:
    """Refuse keywords that are no `MonitorOptions`.

    Args:
        owner: name of the class that they were given to, for the error.
        options: the keywords.
        own: its own options, which are not among them.

    Raises:
        TypeError: the first such keyword, with the nearest option or all of them.
    """
    known = [*own, *(field.name for field in dataclasses.fields(MonitorOptions))]
    for name in options:
        if name in known:
            continue
        near = name if name in ELSEWHERE else nearest(name, known) or nearest(name, ELSEWHERE)
        if near is None:
            hint = f"it takes {', '.join(known)}"
        elif near in known:
            hint = f"did you mean {near}?"
        else:
            hint = f"{near} is an option of {ELSEWHERE[near]}"
        raise TypeError(f"{owner} has no option {name}; {hint}")


def _checked_layers(layers: str | Iterable[str]) -> str | tuple[str, ...]:
    """The layers to watch, as they were given."""
    if not isinstance(layers, (str, Iterable)):
        raise TypeError(f"layers={brief(layers)}; expected 'auto', or names and patterns of modules")
    layers = layers if isinstance(layers, str) else tuple(layers)
    if wrong := [layer for layer in layers if not isinstance(layer, str)]:
        raise TypeError(f"layers has {brief(wrong[0])}; expected names and patterns of modules")
    if not layers:
        raise ValueError("layers is empty; pass 'auto', or names and patterns of modules")
    return layers
