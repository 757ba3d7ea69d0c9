"""Monitor: from a network and fixed samples to snapshots, without a trainer."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from rra_monitor.capture.features import Forward, call_model, device_of
from rra_monitor.capture.kept import most_copied, state_bytes
from rra_monitor.capture.layer import Layer
from rra_monitor.capture.memory import BatchSize, freed, is_out_of_memory
from rra_monitor.capture.spread import is_sharded, is_tensor_parallel
from rra_monitor.graph import default_k
from rra_monitor.measure.collector import Collector
from rra_monitor.measure.estimate import CostEstimate, stored_curves, stored_graphs
from rra_monitor.measure.layer_errors import named
from rra_monitor.measure.layer_graphs import LayerGraph, iter_graphs
from rra_monitor.measure.memory_plan import Case, Wanted, passes_of, stages
from rra_monitor.measure.options import MonitorOptions, check_names
from rra_monitor.measure.remarks import Remarks
from rra_monitor.measure.replicas import first_buffers, with_buffers
from rra_monitor.measure.settings import Settings
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.measure.trial import Graphs, graph_seconds, passes
from rra_monitor.measure.watched import WatchedLayers
from rra_monitor.samples.drawing import fingerprint
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.checks import whole_number
from rra_monitor.utils.memory import free_memory
from rra_monitor.utils.ranks import Ranks
from rra_monitor.utils.repeated import Repeated
from rra_monitor.utils.rng import preserved_rng
from rra_monitor.utils.text import brief

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

OnGraph = Callable[[str, int, int], None]
"""Function for a progress bar, see `Monitor.measure`."""


@dataclass(frozen=True)
class Moment:
    """A moment of a training: optimiser steps taken, and epochs completed."""

    step: int
    epoch: int


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
        self._watched = WatchedLayers(options, self._forward)
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
        self,
        model: nn.Module,
        *,
        step: int,
        epoch: int,
        group: "ProcessGroup | None" = None,
        on_graph: OnGraph | None = None,
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
            group: torch.distributed process group whose ranks share the work: each passes its part of the samples
                through its replica of the network, and all build the graphs together. All must call this, and what
                fails on one fails on all. The snapshot is that of one process; rank 0 alone has its graphs.
            on_graph: function for a progress bar, called before the first graph of a probe and after each graph, with
                the probe, the number of its graphs built so far, and their total number.

        Returns:
            Probe to snapshot, on every rank; empty where measuring failed and `on_error` is "warn".

        Raises:
            ValueError: features without a graph (NaN, infinite), named by layer; unknown layers; views of no layer;
                samples, options, steps, epochs or weights that differ between ranks.
            RankError: any other error of a rank of the group, on all ranks.
        """
        ranks = Ranks.of(group)
        moment = ranks.agreed(lambda: Moment(whole_number("step", step, 0), whole_number("epoch", epoch, 0)))
        try:
            ranks.agree({"step": step, "epoch": epoch, **self._facts()})
            self._prepare(model, ranks)
            with preserved_rng():  # a user's quantity may draw from the global streams
                return {probe: self._snapshot(model, probe, moment, ranks, on_graph) for probe in self.probes}
        except Exception as error:
            if self.on_error == "raise":
                raise
            if ranks.rank == 0:
                self._failures.warn(f"no snapshot at epoch {epoch}, step {step}; training goes on: {error!r}")
        freed()  # the error held what had been collected
        return {}

    def plan(self, model: nn.Module, group: "ProcessGroup | None" = None) -> dict[str, CostEstimate]:
        """The layers that a snapshot of each probe will watch, and its estimated cost.

        Takes a tenth of a snapshot, or a second or two. Quantities of your own are called with made-up features.

        Args:
            model: network, see `measure`.
            group: process group whose ranks are to measure together, all of which must call this.
        """
        ranks = Ranks.of(group)
        ranks.agree(self._facts())
        self._prepare(model, ranks)
        with preserved_rng():
            return {probe: self._estimate(model, probe, ranks) for probe in self.probes}

    def _estimate(self, model: nn.Module, probe: str, ranks: Ranks) -> CostEstimate:
        sample, k, budget = self.probes[probe], self.k(probe), self._budget(model, ranks)
        layers = self._layers(model, probe, ranks)
        names = [name for layer in layers for name in layer.view_names.values()]
        case = self._case(model, probe, budget, ranks)
        ahead = ranks.agreed(lambda: passes_of(stages(layers, case, budget), case))
        tried = passes(model, sample, ahead, self._forward, self._batch_size, ranks)
        graphs = Graphs(sample.n, k, self.options.backend, sample.labels, self.quantities)
        of_graphs = ranks.values(lambda: graph_seconds(graphs, layers, tried.noise, device_of(model), budget))
        return CostEstimate(
            layers=layers,
            graphs=len(names),
            n=sample.n,
            k=k,
            classes=sample.classes,
            passes=sum(each.through_network for each in ahead),
            memory_budget=budget,
            seconds=tried.seconds + max(of_graphs) / ranks.size,
            graph_bytes=stored_graphs(sample.n, k, names),
            curve_bytes=stored_curves(names, self.quantities),
        )

    def _case(self, model: nn.Module, probe: str, budget: int, ranks: Ranks) -> Case:
        return Case(
            n=self.probes[probe].n,
            k=self.k(probe),
            backend=self.options.backend,
            device=device_of(model),
            wanted=Wanted.by(self.quantities),
            state=max(ranks.values(lambda: state_bytes(model, most_copied(budget)))),
            ranks=ranks.size,
        )

    def _budget(self, model: nn.Module, ranks: Ranks) -> int:
        """The memory budget, the least of all ranks; says where less is free."""

        def of_this_rank() -> int:
            device = device_of(model)
            budget = self.options.budget_on(device)
            self._remarks.short_of_memory(budget, free_memory(device))
            return budget

        return min(ranks.values(of_this_rank))

    def _prepare(self, model: nn.Module, ranks: Ranks) -> None:
        """Settle with the other ranks how samples pass the network.

        Raises:
            ValueError: layers are split over ranks, which then cannot pass samples of their own.
        """
        if ranks.group is not None and any(ranks.values(lambda: is_tensor_parallel(model))):
            raise ValueError(
                "layers of the network are split over ranks (tensor parallel), which have to pass the same samples "
                "together. Leave out the group: then each rank measures all samples, and one stores them"
            )
        if is_sharded(model):
            self._batch_size.size = min(ranks.values(lambda: self._batch_size.size))

    def _facts(self) -> dict[str, Any]:
        """What must be the same on all ranks."""
        samples = {
            f"probe {name!r}": f"n={sample.n}, fingerprint {sample.fingerprint}, ids and labels {_hash(sample)}"
            for name, sample in self.probes.items()
        }
        options = {name: getattr(self.options, name) for name in ("layers", "views", "k", "backend", "estimator")}
        names = tuple(one.name for one in self.quantities)
        return {"probes": tuple(self.probes), **samples, **options, "quantities": names}

    def _snapshot(
        self, model: nn.Module, probe: str, moment: Moment, ranks: Ranks, on_graph: OnGraph | None
    ) -> Snapshot:
        started = time.perf_counter()
        known = all(ranks.values(lambda: bool(self._watched.known(model, probe))))
        layers = self._layers(model, probe, ranks)
        try:
            return self._measured(model, probe, layers, started, moment, ranks, on_graph)
        except Exception as error:
            # The same modules may run in another way than before.
            if not known or is_out_of_memory(error) or not self._changed(model, probe, layers, ranks):
                raise
        return self._measured(model, probe, self._layers(model, probe, ranks), started, moment, ranks, on_graph)

    def _layers(self, model: nn.Module, probe: str, ranks: Ranks) -> tuple[Layer, ...]:
        """The layers to watch, found now unless every rank knows them: the same, also after one failed to find them."""
        known = self._watched.known(model, probe)
        everyone = ranks.values(lambda: _outlines(known))
        same = all(each == everyone[0] for each in everyone)
        return known if known and same else self._found(model, probe, ranks)

    def _found(self, model: nn.Module, probe: str, ranks: Ranks) -> tuple[Layer, ...]:
        say = self._remarks.say if ranks.rank == 0 else _silently
        found = ranks.agreed(lambda: self._watched.found(model, probe, self.probes[probe], say))
        ranks.agree({"watched layers": _outlines(found)})
        return found

    def _changed(self, model: nn.Module, probe: str, known: tuple[Layer, ...], ranks: Ranks) -> bool:
        """Whether other layers than those known are found now on some rank; not where none can be found."""
        try:
            found = self._found(model, probe, ranks)
        except Exception:  # the error of the measurement tells more
            return False
        return any(ranks.values(lambda: found != known))

    def _measured(
        self,
        model: nn.Module,
        probe: str,
        layers: tuple[Layer, ...],
        started: float,
        moment: Moment,
        ranks: Ranks,
        on_graph: OnGraph | None,
    ) -> Snapshot:
        sample = self.probes[probe]
        total = sum(len(layer.view_names) for layer in layers)
        budget, collector = self._budget(model, ranks), Collector(self.quantities, sample.labels, ranks)

        def collect(found: LayerGraph | None) -> None:
            if found:
                collector.add(found.name, found.graph, found.features, found.kernel)
            if on_graph:
                on_graph(probe, len(collector.graphs), total)

        ranks.agreed(lambda: collect(None))
        buffers = first_buffers(model, ranks)
        for found in iter_graphs(
            model,
            sample,
            layers,
            self._case(model, probe, budget, ranks),
            budget,
            forward=with_buffers(self._forward, buffers),
            batch_size=self._batch_size,
            probe=probe,
            ranks=ranks,
        ):
            with named(found.name, probe):
                ranks.agreed(partial(collect, found))
        collector.exchange()
        matrices = collector.matrices()
        snapshot = Snapshot(
            probe=probe,
            step=moment.step,
            epoch=moment.epoch,
            layers=tuple(collector.graphs),
            curves=collector.curves(),
            matrices=matrices,
            settings=self.settings(probe),
            quantities=self.quantities,
            graphs=collector.graphs if ranks.rank == 0 else {},
            aliases={name: same for layer in layers for name, same in layer.aliases.items()},
            seconds=time.perf_counter() - started,
        )
        ranks.first(lambda: self._remarks.of_snapshot(snapshot, collector.reasons))
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


def _hash(sample: FixedSample) -> str:
    arrays = (sample.ids, sample.labels)
    return fingerprint([torch.from_numpy(each) for each in arrays if each is not None])[:8]


def _outlines(layers: tuple[Layer, ...]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The names and shapes of layers, by which ranks compare theirs."""
    return tuple((layer.name, layer.shape) for layer in layers)


def _silently(text: str) -> None:
    """Say nothing: another rank does."""
