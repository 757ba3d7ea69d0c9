"""Which views the layers of a network have, and which axis of a layer's output holds the channels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from torch import nn

from rra_monitor.capture.layer import Layer, named_modules
from rra_monitor.capture.names import CLASS_TOKEN, FULL
from rra_monitor.capture.views import pooled_dim, resolve

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def with_views(model: nn.Module, layers: Iterable[Layer], views: Sequence[str]) -> tuple[Layer, ...]:
    """The layers, each with the distinct ones of the given views, see `resolve`.

    Raises:
        ValueError: a view that no layer has.
    """
    modules = named_modules(model)
    found = []
    for layer in layers:
        last = has_channels_last(modules, layer)
        found.append(replace(layer, channels_last=last, views=resolve(layer.shape, views, last)))
    if CLASS_TOKEN in views and not any(layer.views.get(CLASS_TOKEN) == CLASS_TOKEN for layer in found):
        raise ValueError(
            f"no layer has a view {CLASS_TOKEN!r}: it is the first of a sequence of tokens, (n, tokens, channels), and "
            f"the shapes of the layers are {', '.join(sorted({str(layer.shape) for layer in found}))}; drop the view"
        )
    return tuple(found)


def view_dims(layer: Layer) -> dict[str, int]:
    """Number of features of one sample in each distinct view of a layer."""
    parts = 2 if layer.is_complex else 1
    return {view: parts * pooled_dim(layer.shape, view, layer.channels_last) for view in layer.view_names}


def view_itemsizes(layer: Layer) -> dict[str, int]:
    """Bytes of a feature in each distinct view of a layer, as it is captured."""
    own = layer.dtype.itemsize // (2 if layer.is_complex else 1)
    # Means are in float32 at least, see `pooled` and `masked_mean`; a maximum is in the same type as they.
    mean = max(4, own)
    as_given = own if layer.token_axis is None else mean
    return {view: as_given if view in (FULL, CLASS_TOKEN) else mean for view in layer.view_names}


def has_channels_last(modules: Mapping[str, nn.Module], layer: Layer) -> bool:
    """Whether the last axis of a layer's output holds the channels, as in (n, tokens, channels), rather than the first.

    Inferred from sizes. The channels are the first axis if a convolution or a batch, instance or group norm within the
    layer's module has as many channels as that axis; else the last one if a linear, layer-norm, attention or recurrent
    layer within it has as many features as that axis. If neither applies (an activation, a pool), the module around it
    decides, up to the network; if none does, the first axis counts, which is torch's order. Raw data with several
    spatial axes are images: channels first.
    """
    if len(layer.shape) < 2 or (not layer.module and len(layer.shape) > 2):
        return False
    name = layer.module
    while True:
        inner = list(modules[name].modules())
        if any(layer.shape[0] in _leading_sizes(module, len(layer.shape) - 1) for module in inner):
            return False
        if any(layer.shape[-1] in _trailing_sizes(module) for module in inner):
            return True
        if not name:
            return False
        name = name.rpartition(".")[0]


def _leading_sizes(module: nn.Module, spatial: int) -> set[int]:
    """Sizes of the channel axis, right after the samples, in the module's input or output."""
    # Not by the weight: reading a parametrised one computes it, and a step of spectral norm's power iteration with it.
    if isinstance(module, CONVOLUTIONS) and len(module.kernel_size) == spatial:
        return {module.in_channels, module.out_channels}
    if isinstance(module, NORMS):
        return {module.num_features}
    return {module.num_channels} if isinstance(module, nn.GroupNorm) else set()


def _trailing_sizes(module: nn.Module) -> set[int]:
    """Sizes of the last axis in the module's input or output."""
    if isinstance(module, nn.Linear):
        return {module.in_features, module.out_features}
    if isinstance(module, nn.LayerNorm):
        return {module.normalized_shape[-1]}
    if isinstance(module, nn.MultiheadAttention):
        return {module.embed_dim}
    return {module.input_size, module.hidden_size} if isinstance(module, nn.RNNBase) else set()
