"""The plugin's data in event files: the tags, and the constant description of each.

Each record is one event, so its tensors share a step and a wall time and are there together or not at all:

    rra/curves/<digest>         float32 (metrics, probes, views, layers)
    rra/nnls_<matrix>/<digest>  float32 (probes, views, rows, columns); a tag for `self`, `inter`, `prev`, `ref-<name>`
    rra/<quantity>/<digest>     the same, of another quantity of pairs of layers
    rra/findings                a string: JSON, a list of findings
    rra/moment                  float64 (3,): epoch, seconds, overhead

Probes may have different layers and views: each has its own at the start of an axis, and NaN after them. Undefined
values and values that were not measured are NaN, too.

A tag's description is JSON in its summary metadata. TensorBoard keeps the first one it finds under a tag in a run, so
it has to be constant: the digest is of the description, and a training that is resumed with other layers or another k
continues under another tag. All have "schema" and "kind". Kind `curves` has {"metrics": [str, …], "probes": [{"name",
"n", "k", "classes", "chances", "estimator", "layers", "views", "curves"}, …], "quantities": [description, …]}: "curves"
names the metrics that the probe has, "chances" has levels by quantity, and "quantities" describes those that a reader
may not know, see `measure.description`. Kind `nnls` has {"matrix": str, "probes": [{"name", "rows", "columns",
"views"}, …], "quantities": [description, …]}.
"""

import hashlib
import json
from reprlib import repr as short
from typing import Any

from rra_monitor.integrations.tensorboard import PLUGIN
from rra_monitor.integrations.tensorboard.descriptions import described_curves, described_matrix
from rra_monitor.runs.keys import metric_key

SCHEMA = 1
"""Version of the format; a reader leaves out data of another version."""

CURVES, NNLS, FINDINGS, MOMENT = "curves", "nnls", "findings", "moment"
"""The kinds of data."""


def description(kind: str, **about: Any) -> bytes:
    """The constant description of a tag."""
    return json.dumps({"schema": SCHEMA, "kind": kind} | about).encode()


def described(content: bytes) -> dict[str, Any]:
    """A description, parsed: its kind and the other entries, with tuples of names.

    Raises:
        ValueError: it is of another version, not a description, or impossible.
    """
    try:
        about = json.loads(content)
        schema, kind = about["schema"], about.get("kind")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"not written by rra-monitor: its description is {content[:40]!r}") from None
    if type(schema) is not int or schema != SCHEMA:
        found = f"schema {short(schema)}, expected {SCHEMA}"
        raise ValueError(f"{found}; read it with the version of rra-monitor that wrote it")
    if kind == CURVES:
        return described_curves(about)
    if kind == NNLS:
        return described_matrix(about)
    if kind not in (FINDINGS, MOMENT):
        raise ValueError(f"unknown kind {short(kind)}; update rra-monitor")
    return {"kind": kind}


def tag(name: str, content: bytes | None = None) -> str:
    """The tag of a kind of data, and of its description if that differs from run to run.

    >>> tag("moment"), tag("nnls_ref-my run", b"{}")
    ('rra/moment', 'rra/nnls_ref-my-run/44136fa3')
    """
    return f"{PLUGIN}/{name}" if content is None else metric_key(name, hashlib.sha256(content).hexdigest()[:8])
