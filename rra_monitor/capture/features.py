"""The features of chosen layers for every sample, recorded by forward hooks."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import nn

from rra_monitor.capture.calls import Trace, trace
from rra_monitor.capture.channels import view_dims, with_views
from rra_monitor.capture.hooks import Capture
from rra_monitor.capture.layer import Layer, is_of_fabric, network_of
from rra_monitor.capture.layers import LayerNameError, choose_layers, warn
from rra_monitor.capture.left_out import agreed, nothing_left, refusal, remark, varying, without, without_values
from rra_monitor.capture.memory import BatchSize, fitted, is_out_of_memory
from rra_monitor.capture.names import FULL
from rra_monitor.capture.outputs import LeftOut, dense
from rra_monitor.capture.padding import trial_positions
from rra_monitor.capture.passes import grouped
from rra_monitor.capture.repeatable import OF_THE_BATCH, RANDOM, Differing, differing
from rra_monitor.capture.split import split_layers
from rra_monitor.capture.spread import check_whole, is_sharded, is_tensor_parallel
from rra_monitor.capture.together import entered_together
from rra_monitor.capture.undisturbed import NotInitialisedError, undisturbed
from rra_monitor.capture.views import checked_views, pooled
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.trees import first_tensor, map_tensors

Forward = Callable[[nn.Module, Any], Any]

TRACED_SAMPLES = 5
"""Number of samples in the pass that finds the layers; a second one has about half of them, to tell an axis of samples
from one that has the same length."""

STRIP_BYTES = 16 << 20
"""Bytes of a layer's output of which views or parts are taken at once, but for a sample."""


def call_model(model: nn.Module, batch: Any) -> Any:
    """The default forward: the model called with the batch; of a distributed one the network within it."""
    if not is_of_fabric(model):
        return network_of(model)(batch)
    precision = vars(model)["_strategy"].precision
    with precision.forward_context():
        return network_of(model)(precision.convert_input(batch))


class _PassServed(BaseException):
    """Ends a forward pass that has given all that was asked of it; no `except Exception` of a network keeps it."""


class CallError(ValueError):
    """The network does not run on the sample; the cause is the error that it raised."""


def find_layers(
    model: nn.Module,
    sample: FixedSample,
    layers: str | Iterable[str] = "auto",
    forward: Forward = call_model,
    say: Callable[[str], None] = warn,
) -> tuple[Layer, ...]:
    """The layers to watch and their shapes, from two forward passes of a few samples.

    Of a network that is spread over processes all ranks call this together, with the same sample. Layers of a
    tensor-parallel one that return a part of their features are left out. Where two passes give the same samples other
    features, that is said; it takes a third pass.

    Args:
        model: the network.
        sample: inputs to pass through it.
        layers: layers to watch, see `choose_layers`.
        forward: function of the model and a batch on the model's device.
        say: function for a remark on the choice, such as layers that are left out.

    Raises:
        CallError: the network does not run on the sample.
        NotInitialisedError: it has lazy modules that have not seen a batch.
        ValueError: no layer can be measured, or the model is one stage of a pipeline; see also `choose_layers`.
    """
    check_whole(model)
    # Of a sharded network the ranks make the same number of passes, also where memory runs out on one.
    least = TRACED_SAMPLES if is_sharded(model) else 2
    (traced, differ), _ = fitted(TRACED_SAMPLES, lambda size: _traced(model, sample, size, forward), least)
    asked = [layers] if isinstance(layers, str) else list(layers)
    if layers == "auto" and (reason := nothing_left(traced)):
        raise ValueError(reason)
    try:
        chosen = choose_layers(model, traced, layers, say)
    except LayerNameError as error:
        if reason := refusal(asked, traced):
            raise LayerNameError(reason) from error
        raise
    if said := remark(model, traced, chosen, None if layers == "auto" else asked):
        say(said)
    if said := differ.remark(chosen):
        say(said)
    return chosen


def _traced(model: nn.Module, sample: FixedSample, size: int, forward: Forward) -> tuple[Trace, Differing]:
    """The calls that can be measured in a pass of few samples and in one of fewer, and the others with the reason.

    And those whose features differ between the two.
    """
    trials = trial_positions(sample.inputs, sample.n, min(size, sample.n))
    with undisturbed(model, copy_all=True):
        try:
            batches = [sample.read(positions) for positions in trials]
            # A rank that fails must know how many passes the others make, whatever these find.
            with entered_together(model, 2 * len(trials)) as end_pass:
                larger = trace(model, _to_device(batches[0], model), forward)
                end_pass()
                smaller = trace(model, _to_device(batches[1], model), forward)
                end_pass()
                found = agreed(larger, smaller)
                averaged = [layer for layer in found.layers if layer.token_axis is not None]
                for batch in batches if averaged else ():
                    found = without(found, _unmasked(model, averaged, _to_device(batch, model), forward))
                    end_pass()
            found = without(found, split_layers(model, found))
            rows = _same_rows(trials, batches)
            differ = Differing(differing(found, smaller, rows))
            # Where ranks pass together, all would have to find the same before one more pass.
            alone = not (is_sharded(model) or is_tensor_parallel(model))
            if alone and (differ.shares or not rows):
                differ = _explained(differ, found, trace(model, _to_device(batches[0], model), forward))
        except NotInitialisedError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise CallError(
                f"the network does not run on the sample: {error}. {without_values(model)}If it is not called with one "
                "float32 tensor of inputs, pass forward=lambda model, batch: …"
            ) from error
    return found, differ


def _explained(differ: Differing, found: Trace, again: Trace) -> Differing:
    """The difference with its cause, which a second pass of the same batch tells."""
    random = differing(found, again, [(row, row) for row in range(found.rows)])
    return Differing(random, RANDOM) if random else replace(differ, meaning=OF_THE_BATCH)


def _same_rows(trials: Sequence[Sequence[int]], batches: Sequence[Any]) -> list[tuple[int, int]]:
    """The places of each sample that two batches have; none where the inputs themselves differ."""
    larger, smaller = trials
    rows = [(larger.index(position), place) for place, position in enumerate(smaller) if position in larger]
    one, other = map(first_tensor, batches)
    if one is None or other is None or one.shape[1:] != other.shape[1:]:
        return []
    return rows if all(torch.equal(one[here], other[there]) for here, there in rows) else []


def _unmasked(model: nn.Module, layers: Sequence[Layer], batch: Any, forward: Forward) -> dict[str, LeftOut]:
    """Those of the layers with varying tokens of which it is not known which tokens are a sample's own."""
    left_out: dict[str, LeftOut] = {}

    def receive(name: str, found: torch.Tensor | LeftOut) -> None:
        if isinstance(found, LeftOut):
            left_out[name] = found

    with Capture(model, layers, receive) as capture:
        capture.start_pass(batch)
        forward(model, batch)
    return left_out


def collect(
    model: nn.Module,
    sample: FixedSample,
    layers: Sequence[Layer],
    forward: Forward = call_model,
    batch_size: int | BatchSize = 128,
    parts: Mapping[str, slice] | None = None,
    rows: int | None = None,
    most_copied: int | None = None,
) -> dict[str, torch.Tensor]:
    """The features of all samples in every view of the given layers, from one pass.

    Name to (n, …) tensor on the model's device, in its precision where it is not pooled. The model is left
    unchanged (see `undisturbed`). Where memory runs out the pass starts anew with half the batch. With `parts`, name
    of a view to some of its flattened features, these alone are kept, as (n, features). Each batch leaves the network
    at the last layer that serves. Up to `most_copied` bytes of parameters are copied meanwhile, see `recorded`.

    A network that is sharded over processes is entered by all ranks together: each batch passes all of it, `rows` is
    the largest number of samples of a rank, and where memory runs out the next call takes half the batch.

    Raises:
        RuntimeError: a layer did not run, or returned another number of rows than samples, in some batch.
    """
    size = batch_size if isinstance(batch_size, BatchSize) else BatchSize(batch_size)
    if parts is not None:
        layers = [layer for layer in layers if not parts.keys().isdisjoint(layer.view_names.values())]

    def collected(size: int) -> dict[str, torch.Tensor]:
        passes = -(-(sample.n if rows is None else rows) // size)
        return _collected(model, sample, layers, forward, size, parts, passes, most_copied)

    if not is_sharded(model):
        return size.fitted(collected)
    # Without `rows` nobody settles with the other ranks how many samples a batch has from now on.
    return collected(size.size) if rows is None else size.fitted_later(collected)


def _collected(
    model: nn.Module,
    sample: FixedSample,
    layers: Sequence[Layer],
    forward: Forward,
    batch_size: int,
    parts: Mapping[str, slice] | None,
    passes: int,
    most_copied: int | None,
) -> dict[str, torch.Tensor]:
    features: dict[str, torch.Tensor] = {}
    missing: set[str] = set()
    start = stop = 0

    def receive(name: str, output: torch.Tensor | LeftOut) -> None:
        if isinstance(output, LeftOut):
            raise RuntimeError(f"layer {name!r} cannot be measured: it returns {output}")
        if output.shape[:1] != (stop - start,):
            raise RuntimeError(
                f"layer {name!r} returned shape {tuple(output.shape)} for a batch of {stop - start} samples"
            )
        layer = by_name[name]
        if tuple(output.shape[1:]) != layer.shape:
            shapes = varying(layer.shape, tuple(output.shape[1:]))
            raise RuntimeError(f"layer {name!r} cannot be measured: it returns {shapes}")
        for view, key in layer.view_names.items():
            if parts is not None and key not in parts:
                continue
            for first, some in _strips(output.detach()):
                values = pooled(some, view, layer.channels_last)
                if parts is not None:
                    values = values.flatten(1)[:, parts[key]]
                if key not in features:
                    features[key] = torch.empty((sample.n, *values.shape[1:]), dtype=values.dtype, device=values.device)
                features[key][start + first : start + first + len(values)] = values
        arrived[name] += stop - start
        missing.discard(name)
        if cut and not missing and layer.module:
            raise _PassServed

    by_name = {layer.name: layer for layer in layers}
    arrived = Counter[str]()
    raw = [layer.name for layer in layers if not layer.module]
    cut = not is_sharded(model)
    with (
        undisturbed(model, most_copied=most_copied),
        entered_together(model, passes if len(raw) < len(layers) else 0) as end_pass,
        Capture(model, layers, receive) as capture,
    ):
        for batch in sample.batches(batch_size):
            start, stop = stop, stop + _rows(batch)
            batch = _to_device(batch, model)
            capture.start_pass(batch)
            missing.update(by_name)
            for name in raw:
                receive(name, dense(batch))
            if len(raw) < len(layers):
                with suppress(_PassServed):
                    forward(model, batch)
                end_pass()
    for layer in layers:
        if arrived[layer.name] != sample.n:
            raise RuntimeError(f"layer {layer.name!r} ran for {arrived[layer.name]} of {sample.n} samples")
    for layer in layers if not sample.n else ():  # of one of more ranks than samples
        for view, dim in view_dims(layer).items():
            key = layer.view_names[view]
            if parts is None or key in parts:
                width = dim if parts is None else parts[key].stop - parts[key].start
                features[key] = torch.empty((0, width), device=device_of(model))
    return features


def iter_features(
    model: nn.Module,
    sample: FixedSample,
    layers: str | Iterable[str] | Sequence[Layer] = "auto",
    *,
    views: str | Iterable[str] = (FULL,),
    forward: Forward = call_model,
    batch_size: int | BatchSize = 128,
    memory_budget: int = 4 << 30,
) -> Iterator[tuple[str, torch.Tensor]]:
    """The features of one layer after the other, in execution order, as (name, (n, …) tensor).

    A layer is followed by its distinct views, as `layer2.0`, `layer2.0@avg4`. As many layers as fit the budget, with
    all their views, are collected from one pass; then the sample passes through the network again.

    Args:
        model: the network, compiled or not, on any device. It is left unchanged.
        sample: inputs to pass through it.
        layers: layers to collect, see `choose_layers`.
        views: views of each layer, see `pooled`.
        forward: function of the model and a batch on the model's device.
        batch_size: number of samples in a forward pass; halved, with a warning, where memory runs out.
        memory_budget: bytes of features held at once. One layer is always held, whatever its size.

    Raises:
        ValueError: an unknown view, or one that no layer has; see also `choose_layers`.
    """
    size = batch_size if isinstance(batch_size, BatchSize) else BatchSize(batch_size)
    found = with_views(model, _as_layers(model, sample, layers, forward), checked_views(views))
    for group in grouped(found, sample.n, memory_budget):
        features = collect(model, sample, group, forward, size)
        for layer in group:
            for name in layer.view_names.values():
                yield name, features.pop(name)


def device_of(model: nn.Module) -> torch.device:
    """Device of the model's first parameter or buffer that has values."""
    tensors = (tensor for tensor in chain(model.parameters(), model.buffers()) if not tensor.is_meta)
    tensor = next(tensors, None)
    return torch.device("cpu") if tensor is None else tensor.device


def _strips(output: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Some samples at a time, with the position of the first: pooling and flattening may copy them."""
    step = max(1, STRIP_BYTES // max(1, output[:1].nbytes))
    for first in range(0, len(output), step):
        yield first, output[first : first + step]


def _rows(batch: Any) -> int:
    inputs = first_tensor(batch)
    return 0 if inputs is None else len(inputs)


def _to_device(batch: Any, model: nn.Module) -> Any:
    # A sample gives copies, which the network may change in place.
    device = device_of(model)
    return map_tensors(lambda tensor: tensor.to(device), batch)


def _as_layers(
    model: nn.Module, sample: FixedSample, layers: str | Iterable[str] | Sequence[Layer], forward: Forward
) -> Sequence[Layer]:
    if not isinstance(layers, str):
        listed = list(layers)
        known = [layer for layer in listed if isinstance(layer, Layer)]
        if listed and len(known) == len(listed):
            return known
        layers = [str(layer) for layer in listed]
    return find_layers(model, sample, layers, forward)
