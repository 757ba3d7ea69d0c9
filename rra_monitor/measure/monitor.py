"""Monitor: from a network and fixed samples to snapshots, without a trainer."""

import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np
import torch
from torch import nn

from rra_monitor.capture.channels import view_dims, with_views
from rra_monitor.capture.features import Forward, call_model, collect, device_of, find_layers, iter_features
from rra_monitor.capture.layer import Layer
from rra_monitor.capture.names import FULL, split_view
from rra_monitor.capture.sample import FixedSample
from rra_monitor.capture.views import checked_views
from rra_monitor.graph import KnnGraph, default_k, knn_graph
from rra_monitor.graph.build import BACKENDS
from rra_monitor.graph.knn import graph_bytes
from rra_monitor.measure.estimate import CALIBRATION_DIMS, CALIBRATION_ROWS, CostEstimate, timed
from rra_monitor.measure.quantities import layer_curves
from rra_monitor.measure.snapshot import Settings, Snapshot
from rra_monitor.metrics import LinearKernel, cka_matrix, linear_kernel
from rra_monitor.utils.checks import whole_number


class Monitor:
    """Measures every watched layer of a network on fixed samples, leaving the network as it was.

    Args:
        probes: name to sample, for example `{"train": sample}`.
        layers: "auto" (input, stem, every block, pool, classifier), or module names and glob patterns.
        views: views of each layer: "full", and poolings such as "avg2", "max-global", see `pooled`. Each is
            measured like a layer, all from one pass; views with the same numbers are measured once.
        k: neighbours of each sample; n / (10 · classes) if None, at least 2.
        backend: backend of the graphs, see `knn_graph`.
        forward: function of the model and a batch of inputs, for networks that are not called with one tensor:
            `lambda model, batch: model(batch["image"], batch["mask"])`. The model is called with the batch if None.
        batch_size: samples per forward pass.
        memory_budget: bytes of features held at once, see `iter_features`.
        cka: whether to compute the linear CKA of all pairs of layers, too. Keeps n · min(n, d) numbers in double
            precision for each layer while it measures: 32 MB at n = 2,000, 1.8 GB at 15,000.

    Raises:
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
        layers: str | Iterable[str] = "auto",
        views: str | Iterable[str] = (FULL,),
        k: int | None = None,
        backend: str = "auto",
        forward: Forward | None = None,
        batch_size: int = 128,
        memory_budget: int = 4 << 30,
        cka: bool = False,
    ) -> None:
        self.probes = checked_probes(probes, k)
        self.layers = checked_layers(layers)
        self.views = checked_views(views)
        check_options(k=k, backend=backend, forward=forward, batch_size=batch_size, memory_budget=memory_budget)
        self.backend = backend
        self.forward = forward or call_model
        self.batch_size = batch_size
        self.memory_budget = memory_budget
        self.cka = cka
        self._k = k
        self._undefined: set[tuple[str, str]] = set()

    def k(self, probe: str) -> int:
        """The number of neighbours used for a probe."""
        sample = self.probes[probe]
        return self._k or min(default_k(sample.n, sample.classes), sample.n - 1)

    def settings(self, probe: str) -> Settings:
        """The settings of the snapshots of a probe."""
        sample = self.probes[probe]
        return Settings(
            n=sample.n,
            k=self.k(probe),
            metric="euclidean",
            backend=self.backend,
            ids=sample.ids,
            labels=sample.labels,
            fingerprint=sample.fingerprint,
            views=self.views,
        )

    def measure(
        self, model: nn.Module, *, step: int, epoch: int, on_graph: Callable[[str, int, int], None] | None = None
    ) -> dict[str, Snapshot]:
        """A snapshot of every probe.

        The model's weights, buffers, training flags, random streams and grad mode are the same afterwards.

        Args:
            model: network on any device, in any mode, compiled or not.
            step: optimiser steps taken.
            epoch: epochs completed.
            on_graph: function for a progress bar, called before the first graph of a probe and after each with the
                probe, the number of its graphs that are built, and the number of all.

        Raises:
            ValueError: features without a graph (NaN, infinite), named by layer; unknown layers; views of no layer.
        """
        step, epoch = whole_number("step", step, 0), whole_number("epoch", epoch, 0)
        return {probe: self._snapshot(model, probe, step, epoch, on_graph) for probe in self.probes}

    def plan(self, model: nn.Module) -> dict[str, CostEstimate]:
        """The layers that a snapshot of each probe will watch, and its estimated cost."""
        plans = {}
        for probe, sample in self.probes.items():
            layers = self._layers(model, sample)
            graphs = sum(len(layer.view_names) for layer in layers)
            k = self.k(probe)
            plans[probe] = CostEstimate(
                layers=layers,
                graphs=graphs,
                n=sample.n,
                k=k,
                classes=sample.classes,
                seconds=self._seconds(model, sample, layers),
                bytes=graph_bytes(sample.n, k, graphs),
            )
        return plans

    def _layers(self, model: nn.Module, sample: FixedSample) -> tuple[Layer, ...]:
        return with_views(model, find_layers(model, sample, self.layers, self.forward), self.views)

    def _snapshot(
        self, model: nn.Module, probe: str, step: int, epoch: int, on_graph: Callable[[str, int, int], None] | None
    ) -> Snapshot:
        started = time.perf_counter()
        sample, k = self.probes[probe], self.k(probe)
        layers = self._layers(model, sample)
        total = sum(len(layer.view_names) for layer in layers)
        if on_graph:
            on_graph(probe, 0, total)
        graphs: dict[str, KnnGraph] = {}
        kernels: list[LinearKernel] = []
        for layer, features in iter_features(
            model,
            sample,
            layers,
            views=self.views,
            forward=self.forward,
            batch_size=self.batch_size,
            memory_budget=self.memory_budget,
        ):
            try:
                graphs[layer] = knn_graph(features, k, self.backend)
                if self.cka and split_view(layer)[1] == FULL:
                    kernels.append(linear_kernel(features))
            except (ValueError, TypeError) as error:
                raise type(error)(f"layer {layer!r} of probe {probe!r}: {error}") from error
            if on_graph:
                on_graph(probe, len(graphs), total)
        curves, undefined = layer_curves(graphs, sample.labels)
        self._say_once(probe, undefined)
        return Snapshot(
            probe=probe,
            step=step,
            epoch=epoch,
            layers=tuple(graphs),
            **curves,
            cka=cka_matrix(kernels) if kernels else None,
            settings=self.settings(probe),
            graphs=graphs,
            aliases={name: same for layer in layers for name, same in layer.aliases.items()},
            seconds=time.perf_counter() - started,
        )

    def _say_once(self, probe: str, undefined: Mapping[str, str]) -> None:
        """Warn once for each layer whose ID is undefined: it often stays undefined in later snapshots."""
        for layer, reason in undefined.items():
            if (probe, layer) not in self._undefined:
                self._undefined.add((probe, layer))
                warnings.warn(f"layer {layer!r} of probe {probe!r}: {reason}", stacklevel=4)

    def _seconds(self, model: nn.Module, sample: FixedSample, layers: tuple[Layer, ...]) -> float:
        few = sample.head(min(self.batch_size, sample.n))
        watched = [layer for layer in layers if layer.module]
        passes = timed(lambda: collect(model, few, watched, self.forward, self.batch_size)) * sample.n / few.n
        rows = min(sample.n, CALIBRATION_ROWS)
        low, high = CALIBRATION_DIMS
        # A generator of its own: the global streams belong to the training.
        cloud = torch.rand(rows, high, generator=torch.Generator().manual_seed(0)).to(device_of(model))
        # Seconds of a graph = n² (base + slope · dim), from the two sizes.
        at_low, at_high = (timed(partial(knn_graph, cloud[:, :dim], 2)) for dim in CALIBRATION_DIMS)
        slope = max(at_high - at_low, 0.0) / (high - low)
        dims = [dim for layer in layers for dim in view_dims(layer).values()]
        return passes + sum((sample.n / rows) ** 2 * (at_low + slope * max(dim - low, 0)) for dim in dims)


def checked_probes(probes: Mapping[str, FixedSample], k: int | None = None) -> dict[str, FixedSample]:
    """The samples by name.

    Raises:
        TypeError: anything but samples by name.
        ValueError: none, a name that cannot be a key, a k that a sample is too small for.
    """
    if not isinstance(probes, Mapping):
        raise TypeError(
            f"probes={probes!r:.80}; expected names and samples, as {{'train': FixedSample.from_dataset(…)}}"
        )
    if not probes:
        raise ValueError("probes is empty; pass at least one sample, as {'train': FixedSample.from_dataset(…)}")
    for name, sample in probes.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"probe name {name!r}: letters, digits, '_' and '-' only, since keys and files carry it")
        if not isinstance(sample, FixedSample):
            raise TypeError(
                f"probe {name!r} is a {type(sample).__name__}, expected a FixedSample; make one with "
                "FixedSample.from_dataset(…) or FixedSample.from_tensors(…)"
            )
        if k is not None and not 2 <= whole_number("k", k) < sample.n:
            raise ValueError(f"k={k} for probe {name!r} of n={sample.n} samples; k must lie in 2 to {sample.n - 1}")
    return dict(probes)


def checked_layers(layers: str | Iterable[str]) -> str | tuple[str, ...]:
    """The layers to watch, as they were given.

    Raises:
        TypeError: no names.
        ValueError: none.
    """
    if not isinstance(layers, (str, Iterable)):
        raise TypeError(f"layers={layers!r:.80}; expected 'auto', or names and patterns of modules")
    layers = layers if isinstance(layers, str) else tuple(layers)
    if wrong := [layer for layer in layers if not isinstance(layer, str)]:
        raise TypeError(f"layers has {wrong[0]!r:.80}; expected names and patterns of modules")
    if not layers:
        raise ValueError("layers is empty; pass 'auto', or names and patterns of modules")
    return layers


def check_options(
    *,
    k: int | None = None,
    backend: str = "auto",
    forward: Forward | None = None,
    batch_size: int = 128,
    memory_budget: int = 4 << 30,
    cka: bool = False,
) -> None:
    """Refuse options of a `Monitor` that are wrong for any probe.

    Raises:
        TypeError: an option of another type.
        ValueError: one out of range.
    """
    if k is not None and whole_number("k", k) < 2:
        raise ValueError(f"k={k}; k must lie in 2 to n - 1")
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    if forward is not None and not callable(forward):
        raise TypeError(f"forward={forward!r:.80}; expected a function of the model and a batch")
    whole_number("batch_size", batch_size, 1)
    if isinstance(memory_budget, bool) or not isinstance(memory_budget, (int, float, np.number)) or memory_budget <= 0:
        raise ValueError(f"memory_budget={memory_budget!r:.80}; expected bytes, more than 0")
