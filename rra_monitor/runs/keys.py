"""The names under which values are logged."""

import re


def metric_key(probe: str, quantity: str, layer: str | None = None) -> str:
    """The name under which a value is logged everywhere: `rra/<probe>/<quantity>/<layer>`.

    Dots of a layer's name become slashes and other special characters hyphens, since dots break W&B's `define_metric`,
    and `:` and `@` break MLflow and the file names of ModelCheckpoint.

    Args:
        probe: name of the sample.
        quantity: name of the quantity, or of one of its summaries.
        layer: name of the layer or view; None for a value of the probe.

    >>> metric_key("train", "id", "layer2.0@avg4")
    'rra/train/id/layer2/0-avg4'
    >>> metric_key("val", "id_peak")
    'rra/val/id_peak'
    """
    parts = ["rra", probe, quantity] + ([] if layer is None else [layer.replace(".", "/")])
    return re.sub(r"[^A-Za-z0-9_/-]", "-", "/".join(parts))
