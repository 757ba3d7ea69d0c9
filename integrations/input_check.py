"""Whether samples are what the network is fed: compared with a real batch, and with the input of its first layer."""

import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from rra_monitor.capture.features import device_of
from rra_monitor.capture.undisturbed import undisturbed
from rra_monitor.integrations.probes import Probes
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.trees import first_tensor, map_tensors

ROWS = 64
"""Number of samples that are looked at."""

Forward = Callable[[nn.Module, Any], Any]


class InputCheck:
    """Compares the samples of a fit with its first batch of training, and of each loader of validation, once.

    What differs beyond chance is a warning. A comparison that fails says nothing: it is no reason to disturb anyone.
    """

    def __init__(self) -> None:
        self._compared: set[str] = set()
        self._first: FirstInput | None = None

    @property
    def waiting(self) -> bool:
        """Whether a step of training is being looked at."""
        return self._first is not None

    def start_step(self, model: nn.Module | None, probes: Probes, batch: Any) -> None:
        """Compare with a batch of training, the first time, and look at what the first layer gets of it.

        Args:
            model: network that is trained; None if only the batch is compared.
            probes: samples; those of validation are left out.
            batch: batch as the training step gets it.
        """
        if "train" in self._compared:  # every step comes here
            return
        trained = [name for name in probes.ready if not name.startswith("val")]
        if trained:
            self._compared.add("train")
            for name in trained:
                _compare(name, probes, batch)
            with suppress(Exception):  # a comparison is no reason to disturb anyone
                self._first = None if model is None else FirstInput(model)

    def end_step(self, model: nn.Module, probes: Probes, forward: Forward) -> None:
        """Compare what the first layer got in that step with what it gets of the first sample."""
        if self._first is None:
            return
        theirs, self._first = self._first, None
        theirs.remove()
        name = next(name for name in probes.ready if not name.startswith("val"))
        try:
            remarks = remarks_on(first_input_of(model, probes.ready[name], forward), theirs, probes.ordered(name))
        except Exception:
            return
        if remarks:
            warnings.warn(
                f"the network gets something else in training than of probe {name!r}: {'; '.join(remarks)}. What "
                "training_step does with a batch before it calls the network belongs into on_after_batch_transfer, or "
                "into forward=… of RRACallback",
                stacklevel=3,
            )

    def validation(self, name: str, probes: Probes, batch: Any) -> None:
        """Compare the sample of a loader of validation with a batch of it, the first time."""
        if name in probes.ready and name not in self._compared:
            self._compared.add(name)
            _compare(name, probes, batch)

    def stop(self) -> None:
        """Remove the hooks, if any are left."""
        if self._first is not None:
            self._first.remove()
            self._first = None


class FirstInput:
    """A hook that keeps the first tensor that a layer with parameters is called with, and then removes itself.

    It is one hook of all modules, not one of each: a module of the user's may be copied, scripted or saved within the
    step. A compiled network gets none, since it would be compiled again.

    Attributes:
        layer: name of the layer; None as long as none was called.
        tensor: its input of up to `ROWS` samples.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layer: str | None = None
        self.tensor: torch.Tensor | None = None
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        if _is_compiled(model):
            return
        names: dict[int, str] = {}
        for name, module in model.named_modules():
            if not any(True for _ in module.children()) and len(module._parameters):
                names[id(module)] = name
        self._handles.append(nn.modules.module.register_module_forward_pre_hook(self._hook(names)))

    def remove(self) -> None:
        """Remove the hooks."""
        while self._handles:
            self._handles.pop().remove()

    def _hook(self, names: dict[int, str]) -> Callable[[nn.Module, Any], None]:
        def keep(module: nn.Module, args: Any) -> None:
            if self.layer is not None or id(module) not in names:
                return
            with suppress(Exception):  # within a training step: whatever it is, the step goes on
                tensor = first_tensor(args)
                if tensor is not None:
                    self.layer = names[id(module)]
                    self.remove()
                    if tensor.layout is torch.strided and not tensor.is_nested and tensor.ndim:
                        self.tensor = tensor[:ROWS].detach().cpu()

        return keep


def first_input_of(model: nn.Module, sample: FixedSample, forward: Callable[[nn.Module, Any], Any]) -> FirstInput:
    """What the first layer is called with when some of a sample passes through the network, which is left unchanged."""
    batch = map_tensors(lambda tensor: tensor.to(device_of(model), copy=True), sample.read(range(min(ROWS, sample.n))))
    with undisturbed(model):  # the hooks within it, since it puts those back that were there before
        found = FirstInput(model)
        try:
            forward(model, batch)
        finally:
            found.remove()
    return found


def remarks_on(ours: FirstInput, theirs: FirstInput, ordered: bool) -> list[str]:
    """What tells the first layer in training, and its input, from those of the probe.

    Args:
        ours: input of the probe.
        theirs: input of a training step.
        ordered: whether the batch of that step may be sorted.
    """
    if ours.layer is not None and theirs.layer is not None and ours.layer != theirs.layer:
        return [f"the first layer is {theirs.layer!r} in training, {ours.layer!r} for the sample"]
    if ours.layer is None or ours.tensor is None or theirs.tensor is None:
        return []
    if min(len(ours.tensor), len(theirs.tensor)) < 3:
        return []
    return [
        f"at layer {ours.layer!r}: {each}"
        for each in FixedSample.from_tensors(ours.tensor).differences(theirs.tensor, ordered=ordered)
    ]


def _compare(name: str, probes: Probes, batch: Any) -> None:
    try:
        remarks = probes.differences(batch, name)
    except Exception:
        return
    if remarks:
        warnings.warn(
            f"probe {name!r} differs from what the network is fed: {'; '.join(remarks)}. If that is not meant, "
            f"pass probes={{{name!r}: FixedSample.from_tensors(…)}} with inputs as in a batch",
            stacklevel=4,
        )


def _is_compiled(model: nn.Module) -> bool:
    if "torch._dynamo" not in sys.modules:
        return False
    return any(hasattr(each, "_orig_mod") or each._compiled_call_impl is not None for each in model.modules())
