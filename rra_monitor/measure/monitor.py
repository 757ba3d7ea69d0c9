"""Monitor: from a network and fixed samples to snapshots, without a trainer."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from torch import nn

from rra_monitor.capture.features import Forward, call_model, device_of
from rra_monitor.capture.kept import most_copied, state_bytes
from rra_monitor.capture.layer import Layer
from rra_monitor.capture.memory import BatchSize, freed, is_out_of_memory
from rra_monitor.graph import default_k
from rra_monitor.measure.collector import Collector
from rra_monitor.measure.estimate import CostEstimate, stored_curves, stored_graphs
from rra_monitor.measure.layer_errors import named
from rra_monitor.measure.layer_graphs import iter_graphs
from rra_monitor.measure.memory_plan import Case, Wanted, passes_of, stages
from rra_monitor.measure.options import MonitorOptions, check_names
from rra_monitor.measure.remarks import Remarks
from rra_monitor.measure.settings import Settings
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.measure.trial import Graphs, graph_seconds, passes
from rra_monitor.measure.watched import WatchedLayers
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.checks import whole_number
from rra_monitor.utils.memory import free_memory
from rra_monitor.utils.repeated import Repeated
from rra_monitor.utils.rng import preserved_rng
from rra_monitor.utils.text import brief


class Monitor:
    """Measures every watched layer of a network on fixed samples, leaving the network as it was.

    Args:
        probes: name to sample, for example `{"train": sample}`.
        options: options of measuring; made from the keywords if None.
        on_error: effect of a failing measurement: an error ("raise"), or a warning and no snapshots ("warn").
        more: options of measuring by keyword, see `MonitorOptions`: layers, views, k, backend, forward, batch_size,
            memory_budget, cka, quantities, estimator. If `options` are given, too, these replace those of the same
            name.

    Raises:
        TypeError: probes that are not samples by name; options that are not `MonitorOptions`; an unknown keyword.
        ValueError: no probes, a probe's name that cannot be a key, k out of range, an unknown backend or view.

    Example, in any loop::

        monitor = rra.Monitor({"train": rra.FixedSample.from_dataset(dataset, n=2000)})
        snapshots = monitor.measure(model, step=0, epoch=0)
        snapshots["train"].id  # one intrinsic dimension per layer
    """

    def __init__(
        self,
        probes: Mapping[str, FixedSample],
        *,
        options: MonitorOptions | None = None,
        on_error: Literal["raise", "warn"] = "raise",
        **more: Any,
    ) -> None:
        check_names("Monitor", more, ("probes", "options", "on_error"))
        if on_error not in ("raise", "warn"):
            raise ValueError(f"on_error={brief(on_error)}; expected 'raise' or 'warn'")
        if options is None:
            options = MonitorOptions(**more)
        elif not isinstance(options, MonitorOptions):
            raise TypeError(f"options={brief(options)}; expected MonitorOptions(…), or options by keyword")
        else:
            options = replace(options, **more)
        self.probes = checked_probes(probes, options.k)
        self.options = options
        self.on_error = on_error
        self.quantities = options.measured()
        self._remarks = Remarks()
        self._watched = WatchedLayers(options, self._forward, self._remarks.say)
        self._failures = Repeated()
        self._batch_size = BatchSize(options.batch_size)

    def k(self, probe: str) -> int:
        """The number of neighbours used for a probe."""
        sample = self.probes[probe]
        return self.options.k or min(default_k(sample.n, sample.classes), sample.n - 1)

    @property
    def _forward(self) -> Forward:
        return self.options.forward or call_model

    def settings(self, probe: str) -> Settings:
        """The settings of the snapshots of a probe."""
        sample = self.probes[probe]
        return Settings(
            n=sample.n,
            k=self.k(probe),
            metric="euclidean",
            backend=self.options.backend,
            ids=sample.ids,
            labels=sample.labels,
            fingerprint=sample.fingerprint,
            views=tuple(self.options.views),
            estimator=self.options.estimator,
        )

    def measure(
        self, model: nn.Module, *, step: int, epoch: int, on_graph: Callable[[str, int, int], None] | None = None
    ) -> dict[str, Snapshot]:
        """A snapshot of every probe.

        The model's weights, buffers, attributes, training flags, random streams and grad mode, and torch's global
        switches, are the same afterwards (see docs/capture.md). A batch that does not fit in memory is halved, with a
        warning, and stays so.

        Args:
            model: network on any device, in any mode, compiled or not, also within `DistributedDataParallel`: then one
                process may measure alone.
            step: optimiser steps taken.
            epoch: epochs completed.
            on_graph: function for a progress bar, called before the first graph of a probe and after each graph, with
                the probe, the number of its graphs built so far, and their total number.

        Returns:
            Probe to snapshot; empty where measuring failed and `on_error` is "warn".

        Raises:
            ValueError: features without a graph (NaN, infinite), named by layer; unknown layers; views of no layer.
        """
        step, epoch = whole_number("step", step, 0), whole_number("epoch", epoch, 0)
        try:
            with preserved_rng():  # a user's quantity may draw from the global streams
                return {probe: self._snapshot(model, probe, step, epoch, on_graph) for probe in self.probes}
        except Exception as error:
            if self.on_error == "raise":
                raise
            self._failures.warn(f"no snapshot at epoch {epoch}, step {step}; training goes on: {error!r}")
        freed()  # the error held what had been collected
        return {}

    def plan(self, model: nn.Module) -> dict[str, CostEstimate]:
        """The layers that a snapshot of each probe will watch, and its estimated cost.

        Takes a tenth of a snapshot, or a second or two. Quantities of your own are called with made-up features.
        """
        with preserved_rng():
            return {probe: self._estimate(model, probe) for probe in self.probes}

    def _estimate(self, model: nn.Module, probe: str) -> CostEstimate:
        sample, k, budget = self.probes[probe], self.k(probe), self._budget(model)
        layers = self._watched.of(model, probe, sample)
        names = [name for layer in layers for name in layer.view_names.values()]
        case = self._case(model, probe, budget)
        ahead = passes_of(stages(layers, case, budget), case)
        tried = passes(model, sample, ahead, self._forward, self._batch_size)
        graphs = Graphs(sample.n, k, self.options.backend, sample.labels, self.quantities)
        return CostEstimate(
            layers=layers,
            graphs=len(names),
            n=sample.n,
            k=k,
            classes=sample.classes,
            passes=sum(each.through_network for each in ahead),
            memory_budget=budget,
            seconds=tried.seconds + graph_seconds(graphs, layers, tried.noise, device_of(model), budget),
            graph_bytes=stored_graphs(sample.n, k, names),
            curve_bytes=stored_curves(names, self.quantities),
        )

    def _case(self, model: nn.Module, probe: str, budget: int) -> Case:
        return Case(
            n=self.probes[probe].n,
            k=self.k(probe),
            backend=self.options.backend,
            device=device_of(model),
            wanted=Wanted.by(self.quantities),
            state=state_bytes(model, most_copied(budget)),
        )

    def _budget(self, model: nn.Module) -> int:
        """The memory budget; says where less is free."""
        device = device_of(model)
        budget = self.options.budget_on(device)
        self._remarks.short_of_memory(budget, free_memory(device))
        return budget

    def _snapshot(
        self, model: nn.Module, probe: str, step: int, epoch: int, on_graph: Callable[[str, int, int], None] | None
    ) -> Snapshot:
        started, sample = time.perf_counter(), self.probes[probe]
        if known := self._watched.known(model, probe):
            try:
                return self._measured(model, probe, known, started, step, epoch, on_graph)
            except Exception as error:
                # The same modules may run in another way than before.
                if is_out_of_memory(error) or self._watched.found(model, probe, sample) == known:
                    raise
        layers = self._watched.of(model, probe, sample)
        return self._measured(model, probe, layers, started, step, epoch, on_graph)

    def _measured(
        self,
        model: nn.Module,
        probe: str,
        layers: tuple[Layer, ...],
        started: float,
        step: int,
        epoch: int,
        on_graph: Callable[[str, int, int], None] | None,
    ) -> Snapshot:
        sample = self.probes[probe]
        total = sum(len(layer.view_names) for layer in layers)
        if on_graph:
            on_graph(probe, 0, total)
        budget, collector = self._budget(model), Collector(self.quantities, sample.labels)
        for found in iter_graphs(
            model,
            sample,
            layers,
            self._case(model, probe, budget),
            budget,
            forward=self._forward,
            batch_size=self._batch_size,
            probe=probe,
        ):
            with named(found.name, probe):
                collector.add(found.name, found.graph, found.features, found.kernel)
            if on_graph:
                on_graph(probe, len(collector.graphs), total)
        matrices = collector.matrices()
        self._remarks.undefined(probe, self.quantities, collector.reasons)
        snapshot = Snapshot(
            probe=probe,
            step=step,
            epoch=epoch,
            layers=tuple(collector.graphs),
            curves=collector.curves(),
            matrices=matrices,
            settings=self.settings(probe),
            quantities=self.quantities,
            graphs=collector.graphs,
            aliases={name: same for layer in layers for name, same in layer.aliases.items()},
            seconds=time.perf_counter() - started,
        )
        self._remarks.of_samples(snapshot)
        return snapshot


def checked_probes(probes: Mapping[str, FixedSample], k: int | None = None) -> dict[str, FixedSample]:
    """The samples by name.

    Raises:
        TypeError: anything but samples by name.
        ValueError: no sample, a name that cannot be a key, a k below 2 or too large for a sample.
    """
    if isinstance(probes, FixedSample):
        raise TypeError("probes is a FixedSample without a name; pass {'train': sample}")
    if not isinstance(probes, Mapping):
        raise TypeError(
            f"probes={brief(probes)}; expected names and samples, as {{'train': FixedSample.from_dataset(…)}}"
        )
    if not probes:
        raise ValueError("probes is empty; pass at least one sample, as {'train': FixedSample.from_dataset(…)}")
    for name, sample in probes.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(
                f"probe name {name!r:.80}: letters, digits, '_' and '-' only, since keys and files carry it"
            )
        if not isinstance(sample, FixedSample):
            raise TypeError(
                f"probe {name!r} is a {type(sample).__name__}, expected a FixedSample; make one with "
                "FixedSample.from_dataset(…) or FixedSample.from_tensors(…)"
            )
        if k is not None and not 2 <= whole_number("k", k) < sample.n:
            raise ValueError(f"k={k} for probe {name!r} of n={sample.n} samples; k must lie in 2 to {sample.n - 1}")
    return dict(probes)
