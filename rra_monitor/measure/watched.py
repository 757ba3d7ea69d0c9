"""The layers that are watched, found by two small passes once."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

from torch import nn

from rra_monitor.capture.channels import with_views
from rra_monitor.capture.features import Forward, find_layers
from rra_monitor.capture.layer import Layer, named_modules
from rra_monitor.measure.options import MonitorOptions
from rra_monitor.samples.sample import FixedSample

Names = tuple[tuple[str, type[nn.Module]], ...]


class WatchedLayers:
    """Finds the layers of a network with their views, and finds them anew where its modules have changed.

    Args:
        options: options of measuring.
        forward: function of the model and a batch.
    """

    def __init__(self, options: MonitorOptions, forward: Forward) -> None:
        self._options, self._forward = options, forward
        self._found: WeakKeyDictionary[nn.Module, dict[str, tuple[Names, tuple[Layer, ...]]]] = WeakKeyDictionary()

    def known(self, model: nn.Module, probe: str) -> tuple[Layer, ...]:
        """The layers that were found before in a network with these modules; none if there are none."""
        names, layers = self._found.get(model, {}).get(probe, ((), ()))
        return layers if names == _names(model) else ()

    def found(self, model: nn.Module, probe: str, sample: FixedSample, say: Callable[[str], None]) -> tuple[Layer, ...]:
        """The layers of a network for a probe, found now.

        Args:
            model: network.
            probe: name of the probe.
            sample: its sample.
            say: function for a remark on the choice.

        Raises:
            ValueError: see `find_layers` and `with_views`.
        """
        layers = find_layers(model, sample, self._options.layers, self._forward, say)
        layers = with_views(model, layers, tuple(self._options.views))
        self._found.setdefault(model, {})[probe] = _names(model), layers
        return layers


def _names(model: nn.Module) -> Names:
    return tuple((name, type(module)) for name, module in named_modules(model).items())
