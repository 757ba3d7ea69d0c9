"""Names that several stages share."""

import re
from collections.abc import Sequence
from itertools import chain, takewhile

INPUT = "input"
"""The name of the raw data as a layer."""

FULL = "full"
"""The view of a layer as it is, whose name is the layer's."""

CLASS_TOKEN = "class-token"
"""The view of a token model's first token."""

VIEW_FORMS = "'full', 'avg<window>', 'max<window>' (avg2, max8, …), 'avg-global', 'max-global', 'class-token'"
_VIEW = re.compile(rf"{FULL}|(avg|max)([1-9]\d*|-global)|{CLASS_TOKEN}")


def is_view(name: str) -> bool:
    """Whether the name is of one of the `VIEW_FORMS`."""
    return _VIEW.fullmatch(name) is not None


def layer_view(layer: str, view: str) -> str:
    """The name of a layer's view: the layer's own for the full view.

    >>> layer_view("layer2.0", "avg4"), layer_view("layer2.0", "full")
    ('layer2.0@avg4', 'layer2.0')
    """
    return layer if view == FULL else f"{layer}@{view}"


def split_view(name: str) -> tuple[str, str]:
    """The layer and the view that a name stands for.

    >>> split_view("layer2.0@avg4"), split_view("layer2.0")
    (('layer2.0', 'avg4'), ('layer2.0', 'full'))
    """
    layer, at, view = name.rpartition("@")
    return (layer, view) if at and is_view(view) else (name, FULL)


def aligned(several: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Layer names of several networks, less the module that each network lies in where that alone sets them apart.

    A training's `network.layer1.0` is the `layer1.0` of the network by itself. Where names are alike without it, they
    stay as they are.

    >>> aligned([["input", "network.conv1", "network.fc"], ["input", "conv1", "fc"]])
    [('input', 'conv1', 'fc'), ('input', 'conv1', 'fc')]
    """
    whole = [tuple(names) for names in several]
    bare = [_bare(names) for names in whole]
    return bare if len(set(chain(*bare))) < len(set(chain(*whole))) else whole


def _bare(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names without the module that all layers lie in."""
    paths = [split_view(name)[0].split(".")[:-1] for name in names if split_view(name)[0] != INPUT]
    shared = takewhile(lambda modules: len(set(modules)) == 1, zip(*paths, strict=False))
    wrapper = "".join(f"{modules[0]}." for modules in shared)
    return tuple(name if split_view(name)[0] == INPUT else name[len(wrapper) :] for name in names)


def metric_key(probe: str, quantity: str, layer: str | None = None) -> str:
    """The name under which a value is logged everywhere: `rra/<probe>/<quantity>/<layer>`.

    Dots of a layer's name become slashes and other odd characters hyphens, since dots break W&B's `define_metric`, and
    `:` and `@` break MLflow and the file names of ModelCheckpoint.

    >>> metric_key("train", "id", "layer2.0@avg4")
    'rra/train/id/layer2/0-avg4'
    >>> metric_key("val", "id_peak")
    'rra/val/id_peak'
    """
    parts = ["rra", probe, quantity] + ([] if layer is None else [layer.replace(".", "/")])
    return re.sub(r"[^A-Za-z0-9_/-]", "-", "/".join(parts))
