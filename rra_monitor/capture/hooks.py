"""Hooks that pass on what the chosen layers return."""

from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import nn

from rra_monitor.capture.layer import Layer, named_modules
from rra_monitor.capture.left_out import varying
from rra_monitor.capture.outputs import LeftOut, dense
from rra_monitor.capture.padding import masked_mean, valid_tokens


class Capture:
    """Hooks that pass on the output of each chosen layer; added on entering, always removed on leaving.

    Args:
        model: the network, compiled or not.
        layers: calls of modules to record.
        receive: function of a layer's name and its output, as `dense` has it, or the reason why it cannot be measured.
            The next module may change the tensor in place: copy it at once.
    """

    def __init__(
        self, model: nn.Module, layers: Sequence[Layer], receive: Callable[[str, torch.Tensor | LeftOut], None]
    ) -> None:
        self._modules = named_modules(model)
        self._receive = receive
        self._layers: dict[str, dict[int, Layer]] = {}
        for layer in layers:
            if layer.module:
                self._layers.setdefault(layer.module, {})[layer.call] = layer
        self._calls = Counter[str]()
        self._batch: Any = None
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "Capture":
        try:
            for name in self._layers:
                self._handles.append(self._modules[name].register_forward_hook(self._hook(name), with_kwargs=True))
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove the hooks."""
        while self._handles:
            self._handles.pop().remove()

    def start_pass(self, batch: Any) -> None:
        """Start a new forward pass, of the given batch: calls are counted from 0 again."""
        self._calls.clear()
        self._batch = batch

    def _hook(self, module_name: str) -> Callable[..., None]:
        layers = self._layers[module_name]

        def hand_on(_module: nn.Module, _args: Any, keywords: dict[str, Any], output: Any) -> None:
            layer = layers.get(self._calls[module_name])
            self._calls[module_name] += 1
            if layer is not None:
                found = dense(output)
                if isinstance(found, torch.Tensor) and layer.sample_axis < found.dim():
                    found = found.movedim(layer.sample_axis, 0)
                    if layer.token_axis is not None:
                        found = own_mean(found, layer.token_axis, [keywords, self._batch])
                self._receive(layer.name, found)

        return hand_on


def own_mean(values: torch.Tensor, axis: int, sources: Any) -> torch.Tensor | LeftOut:
    """The mean over each sample's own tokens; the reason if it is not known which those are.

    Args:
        values: (n, …) output whose number of tokens differs between batches.
        axis: axis of the tokens.
        sources: what may hold a mask, see `valid_tokens`.
    """
    if values.dim() > axis:
        valid = valid_tokens(sources, len(values), values.shape[axis])
        if valid is not None:
            return masked_mean(values, valid, axis)
    return varying(tuple(values.shape[1:]))
