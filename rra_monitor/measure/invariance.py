"""Variants of the data: one network on a sample and on a transformed copy of it, and where it becomes invariant."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from rra_monitor.capture.features import device_of
from rra_monitor.capture.undisturbed import undisturbed
from rra_monitor.measure.monitor import Monitor
from rra_monitor.measure.settings import Curve
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.metrics import nnls
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.trees import first_tensor, iter_tensors, map_tensors

Variant = Callable[[Any], Any]
"""Function of a batch of inputs on the model's device; returns as many transformed inputs in the same order."""

BATCH = 128


@dataclass(frozen=True, eq=False)
class Invariance:
    """How similarly each layer represents a sample and a variant of it.

    Attributes:
        layers: (L,) names in execution order, views among them.
        nnls: (L,) NNLS of the layer's graph of the sample with its graph of the variant, 0 to 1; 1 means that the
            variant changes no neighbourhood.
        chance: NNLS of unrelated graphs.
        snapshot: snapshot of the variant, with its ID and NNCS.
    """

    layers: tuple[str, ...]
    nnls: Curve
    chance: float
    snapshot: Snapshot

    def onset(self, least: float = 0.9) -> str | None:
        """The first layer from which every NNLS is at least `least`: where the network becomes invariant.

        Args:
            least: smallest NNLS that counts as invariant, 0 to 1.

        Returns:
            Name of the layer; None where the last layer is below `least`. Pooled views count as layers.
        """
        below = np.flatnonzero(~(self.nnls >= least))
        first = int(below[-1]) + 1 if below.size else 0
        return self.layers[first] if first < len(self.layers) else None


def invariance(
    model: nn.Module, sample: FixedSample, variants: Mapping[str, Variant], *, seed: int = 0, **options: Any
) -> dict[str, Invariance]:
    """The NNLS, in each layer, of a network's graph of a sample with its graph of a transformed copy of the sample.

    Formula: NNLS(H_l(x), H_l(variant(x))), layer l. It is low at the input if the variant moves pixels, and rises
    towards the layer at which the network becomes invariant to the variant.

    The network, its gradients and the random streams are left as they were. Variants are called in
    evaluation mode with gradients on, so that a variant can be an adversarial attack. Each variant's copy of the inputs
    is made once and kept while it is measured.

    Args:
        model: network, on any device.
        sample: inputs to transform.
        variants: name to function of a batch of inputs (a tensor, or a dictionary or tuple of them), given on the
            model's device; for noise `lambda x: x + 0.1 * torch.randn_like(x)`.
        seed: seed of the random streams of python, numpy and torch, set again before each variant.
        options: options of `Monitor`: layers, views, k, backend, forward, batch_size, memory_budget.

    Returns:
        Name to `Invariance`, in the order given.

    Raises:
        ValueError: no variants; one that returns another number of inputs, or none; see also `Monitor.measure`.

    Source: thesis, 3.1 (data sensitivity and adversarial analysis) and 4.2.

    Example::

        results = rra.invariance(model, sample, {"mirrored": lambda images: images.flip(-1)})
        results["mirrored"].onset()  # the name of a layer
    """
    if not variants:
        raise ValueError("variants is empty; pass at least one, as {'noise': lambda x: x + 0.1 * torch.randn_like(x)}")
    base = _snapshot(model, sample, options)
    results = {}
    for name, variant in variants.items():
        try:
            other = _snapshot(
                model, transformed(model, sample, variant, seed, options.get("batch_size", BATCH)), options
            )
        except ValueError as error:
            raise ValueError(f"variant {name!r}: {error}") from error
        layers = tuple(layer for layer in base.layers if layer in other.graphs)
        similarity = np.array([nnls(base.graphs[layer], other.graphs[layer]) for layer in layers])
        results[name] = Invariance(layers, similarity, base.nnls_chance, other)
    return results


def transformed(
    model: nn.Module, sample: FixedSample, variant: Variant, seed: int = 0, batch_size: int = BATCH
) -> FixedSample:
    """The sample with its inputs changed by a variant, with the same ids and labels; see `invariance`.

    Args:
        model: network. The variant is called on its device, in evaluation mode with gradients on.
        sample: inputs to transform.
        variant: function of a batch of inputs.
        seed: seed of the random streams of python, numpy and torch, which are restored afterwards.
        batch_size: number of inputs in a batch.

    Raises:
        ValueError: a variant that returns another number of inputs than it was given, or no tensors.
    """
    batches = []
    with undisturbed(model), _own_gradients(model), torch.enable_grad():
        random.seed(seed)
        np.random.seed(seed % (1 << 32))
        torch.manual_seed(seed)
        for batch in sample.batches(batch_size):
            # A copy even on the same device: the variant may work in place.
            given = map_tensors(lambda tensor: tensor.to(device_of(model), copy=True), batch)
            batches.append(_checked(variant(given), first_tensor(batch)))
    leaves = iter([torch.cat(parts) for parts in zip(*map(iter_tensors, batches), strict=True)])
    inputs = map_tensors(lambda _: next(leaves), batches[0])
    return FixedSample.from_tensors(inputs, sample.labels, sample.ids)


def _snapshot(model: nn.Module, sample: FixedSample, options: Mapping[str, Any]) -> Snapshot:
    return Monitor({"sample": sample}, **options).measure(model, step=0, epoch=0)["sample"]


def _checked(returned: Any, given: torch.Tensor | None) -> Any:
    """What a variant returned, on the CPU and detached."""
    tensors = list(iter_tensors(returned))
    if not tensors:
        raise ValueError(f"it returned {type(returned).__name__} without a tensor; return the transformed inputs")
    rows = 0 if given is None else len(given)
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if any(shape[:1] != (rows,) for shape in shapes):
        raise ValueError(f"it returned shapes {shapes} for {rows} inputs; return one row per input, in their order")
    return map_tensors(lambda tensor: tensor.detach().cpu(), returned)


@contextmanager
def _own_gradients(model: nn.Module) -> Iterator[None]:
    """Clear the gradients within the block and restore them after it: an attack must not add to them."""
    kept = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        for parameter, _ in kept:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in kept:
            parameter.grad = gradient
