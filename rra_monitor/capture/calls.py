"""The calls of one forward pass as a tree, and which tensors went from one to another."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from rra_monitor.capture.layer import Layer, named_modules
from rra_monitor.capture.names import INPUT
from rra_monitor.capture.outputs import OTHER_ROWS, Form, LeftOut, dense, form_of, form_of_dense
from rra_monitor.capture.sketches import sketch
from rra_monitor.capture.units import own_class
from rra_monitor.utils.trees import first_tensor, iter_tensors


@dataclass(eq=False)
class Call:
    """One call of a module, with the calls that ran within it.

    Attributes:
        module: the module's name within the model; empty for the whole pass.
        kind: the module's class.
        index: number of earlier calls of the module.
        form: form of what it returned, or why it cannot be measured.
        inputs: numbers of the tensors that it was given; a tensor that is changed in place gets another number.
        first: number of the first of them; None where there is none.
        outputs: numbers of the tensors that it returned.
        sketch: some of the features of each sample; None where it cannot be measured.
        dtype: type of the numbers that it returned.
        same: whether the first tensor it returned has the numbers of the first it was given, in this or another shape.
        inner: calls within it, in the order in which they began.
    """

    module: str
    kind: type[nn.Module]
    index: int = 0
    form: Form | LeftOut | None = None
    inputs: frozenset[int] = frozenset()
    first: int | None = None
    outputs: frozenset[int] = frozenset()
    sketch: torch.Tensor | None = None
    dtype: torch.dtype = torch.float32
    same: bool = False
    inner: list["Call"] = field(default_factory=list)

    def __iter__(self) -> Iterator["Call"]:
        """The call and all calls within it, each after those within it."""
        for call in self.inner:
            yield from call
        yield self

    def feeds(self, later: "Call") -> bool:
        """Whether a tensor that this call returned is given to another one as it is."""
        return not self.outputs.isdisjoint(later.inputs)


@dataclass(frozen=True, eq=False)
class Trace:
    """What ran in a forward pass.

    Attributes:
        whole: the pass, with all calls in it.
        layers: the calls that can be watched, in the order in which they returned, after the raw data.
        left_out: name of each other call to the reason.
        rows: number of samples.
    """

    whole: Call
    layers: tuple[Layer, ...]
    left_out: Mapping[str, LeftOut]
    rows: int


def trace(model: nn.Module, batch: Any, forward: Callable[[nn.Module, Any], Any]) -> Trace:
    """Every call of every module in one forward pass of `batch`.

    TorchScript modules are left out. Calls whose output cannot be measured, see `form_of`, are in the tree but are no
    layers; nor are the items of a list of which some got other rows than the rest, as experts do.
    """
    inputs = first_tensor(batch)
    if inputs is None:
        raise TypeError(f"a batch of type {type(batch).__name__} holds no tensor")
    rows = len(inputs)
    whole = Call("", type(model))
    returned = _followed(model, whole, inputs, lambda: forward(model, batch))
    times = Counter(call.module for call in returned)
    layers, left_out = [], dict[str, LeftOut]()
    raw = form_of(batch, rows, not inputs.is_meta) if isinstance(batch, torch.Tensor) else None
    if isinstance(raw, Form):
        layers.append(_layer(INPUT, "", 0, raw))
    routed = _routed(model, returned)
    for call in returned:
        name = call.module if times[call.module] == 1 else f"{call.module}#{call.index + 1}"
        form = LeftOut(OTHER_ROWS) if call.module.startswith(routed) else call.form
        if isinstance(form, Form):
            layers.append(_layer(name, call.module, call.index, form))
        elif form is not None:
            left_out[name] = form
    return Trace(whole, tuple(layers), left_out, rows)


def _layer(name: str, module: str, index: int, form: Form) -> Layer:
    return Layer(
        name, module, index, form.shape, is_complex=form.is_complex, sample_axis=form.sample_axis, dtype=form.dtype
    )


def _followed(model: nn.Module, whole: Call, inputs: torch.Tensor, run: Callable[[], object]) -> list[Call]:
    """The calls of all modules while `run` lasts, in the order in which they returned; `whole` gets the tree.

    Args:
        model: the network.
        whole: call of the whole pass.
        inputs: the samples.
        run: function that passes them through the network.
    """
    numbers = _Numbers()
    running, returned, calls = [whole], list[Call](), Counter[str]()
    given: dict[Call, tuple[torch.Tensor, int] | None] = {}

    def began(name: str) -> Callable[..., None]:
        def record(module: nn.Module, args: Any, kwargs: Any) -> None:
            found = [numbers.of(tensor) for tensor in iter_tensors((args, kwargs))]
            call = Call(name, own_class(module), inputs=frozenset(found), first=found[0] if found else None)
            tensor = first_tensor((args, kwargs))
            given[call] = None if tensor is None else (tensor, _version(tensor))
            running[-1].inner.append(call)
            running.append(call)

        return record

    def ended(name: str) -> Callable[..., None]:
        def record(_module: nn.Module, _args: Any, output: Any) -> None:
            call = running.pop()
            tensor = first_tensor(output)
            call.same = _same_numbers(given.pop(call), tensor)
            call.index = calls[name]
            calls[name] += 1
            found = dense(output, not inputs.is_meta)
            call.form = form_of_dense(found, len(inputs))
            if isinstance(found, torch.Tensor) and isinstance(call.form, Form) and not found.is_meta:
                call.sketch, call.dtype = sketch(found, call.form.sample_axis), found.dtype
            call.outputs = frozenset(map(numbers.of, iter_tensors(output)))
            returned.append(call)

        return record

    handles = []
    try:
        for name, module in named_modules(model).items():
            if name and not isinstance(module, torch.jit.ScriptModule):
                handles.append(module.register_forward_pre_hook(began(name), with_kwargs=True))
                # Also where it raises an error, which the network may catch: the next call is not within it.
                handles.append(module.register_forward_hook(ended(name), always_call=True))
        run()
    finally:
        for handle in handles:
            handle.remove()
    return returned


def _routed(model: nn.Module, returned: list[Call]) -> tuple[str, ...]:
    """Beginnings of the names of modules in lists of which only some items got one row per sample."""
    modules = named_modules(model)
    lists: dict[str, set[bool]] = {}
    for call in returned:
        parent = call.module.rpartition(".")[0]
        whole = isinstance(call.form, Form)
        partial = isinstance(call.form, LeftOut) and call.form.reason == OTHER_ROWS
        if (whole or partial) and isinstance(modules.get(parent), (nn.ModuleList, nn.ModuleDict)):
            lists.setdefault(f"{parent}.", set()).add(whole)
    return tuple(name for name, found in lists.items() if len(found) > 1)


class _Numbers:
    """Numbers tensors as they are seen; one that was changed in place in between counts as another one."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[weakref.ref[torch.Tensor], int, int]] = {}
        self._last = 0

    def of(self, tensor: torch.Tensor) -> int:
        version = _version(tensor)
        known = self._seen.get(id(tensor))
        if known is not None and known[0]() is tensor and known[1] == version:
            return known[2]
        self._last += 1
        self._seen[id(tensor)] = weakref.ref(tensor), version, self._last
        return self._last


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _same_numbers(given: tuple[torch.Tensor, int] | None, returned: torch.Tensor | None) -> bool:
    """Whether a tensor is the one that was given, unchanged, or another view of all its numbers."""
    if given is None or returned is None or given[0].is_nested or returned.is_nested:
        return False
    if returned.numel() != given[0].numel():
        return False
    if returned.shape[:1] != given[0].shape[:1]:
        return False
    tensor, version = given
    strided = tensor.layout is returned.layout is torch.strided and not tensor.is_quantized
    if not strided or _version(tensor) != version:
        return False
    return returned is tensor or returned.untyped_storage()._cdata == tensor.untyped_storage()._cdata
