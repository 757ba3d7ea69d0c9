"""What a callback is asked to do in a fit, checked when it is made."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from rra_monitor.integrations.tensorboard.charts import Choice, checked_choice
from rra_monitor.measure.monitor import checked_probes
from rra_monitor.measure.options import MonitorOptions
from rra_monitor.measure.schedule import checked_share
from rra_monitor.runs.recorder import Align, Recorder
from rra_monitor.runs.store import KeepGraphs, RunStore
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.checks import whole_number
from rra_monitor.utils.text import brief


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """The options of `RRACallback`, which explains them.

    Raises:
        TypeError: an option of another type.
        ValueError: an option out of range.
    """

    probes: Mapping[str, FixedSample] | None
    every_n_epochs: int | None
    every_n_steps: int | None
    schedule: Callable[[int], bool] | None
    max_overhead: float | None
    references: Mapping[str, str]
    align: Align
    dirpath: str | os.PathLike[str] | None
    keep_graphs: KeepGraphs
    on_error: Literal["warn", "raise"]
    n: int
    seed: int
    averaged: bool
    artifacts: bool
    tensorboard_scalars: Choice
    measuring: MonitorOptions

    @property
    def epochs_between(self) -> int | None:
        """Number of epochs between two measurements; None if only steps are asked for."""
        by_steps = self.every_n_steps is not None or self.schedule is not None
        return self.every_n_epochs or (None if by_steps else 1)

    def __post_init__(self) -> None:
        for name in ("every_n_epochs", "every_n_steps"):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name), 1)
        if self.schedule is not None and not callable(self.schedule):
            raise TypeError(
                f"schedule={brief(self.schedule)}; expected a function of the optimiser step that returns True or False"
            )
        checked_share("max_overhead", self.max_overhead)
        whole_number("n", self.n, 3)
        whole_number("seed", self.seed, 0)
        if self.on_error not in ("warn", "raise"):
            raise ValueError(f"on_error={brief(self.on_error)}; expected 'warn' or 'raise'")
        if self.probes is not None:
            object.__setattr__(self, "probes", checked_probes(self.probes, self.measuring.k))
        object.__setattr__(self, "references", _checked_references(self.references))
        for name in ("averaged", "artifacts"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}={brief(getattr(self, name))}; expected True or False")
        if self.dirpath is not None and not isinstance(self.dirpath, (str, os.PathLike)):
            raise TypeError(f"dirpath={brief(self.dirpath)}; expected the path of a directory")
        checked_choice("tensorboard_scalars", self.tensorboard_scalars)
        # What these two would refuse at fit start. Nothing is opened.
        Recorder(None, align=self.align)
        RunStore("memory://", self.keep_graphs)


def _checked_references(references: Mapping[str, str]) -> dict[str, str]:
    """The directories by name; they are opened at fit start."""
    form = "expected a dictionary of names and directories of runs, as {'seed0': 'runs/seed0'}"
    if not isinstance(references, Mapping):
        raise TypeError(f"references={brief(references)}; {form}")
    for name, path in references.items():
        if not isinstance(name, str) or not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"references has {brief(name)}: {brief(path)}; {form}")
    return dict(references)
