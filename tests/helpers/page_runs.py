"""Made-up runs for tests of the page, and arrays of their payloads."""

import base64
import dataclasses

import numpy as np

from rra_monitor.conclusions.evidence import Finding
from rra_monitor.page.arrays import Matrix
from rra_monitor.page.series import Frame, ProbeSeries, RunSeries

ODD = "</script><img src=x onerror=\"fetch('https://example.com')\"> & %{z} <b>ü"

MARKUP = (
    '<img src=x onerror="window.pwned=1;parent.pwned=1">',
    "</script><script>window.pwned=1</script>",
    '"><svg onload=window.pwned=1>',
    '<a href="https://example.com/">conv</a>',
    "%{z}<br>x",
    "{{constructor.constructor('window.pwned=1')()}}",
    "$\\ce{x}$",
    "__proto__",
    "constructor",
)
"""Names that a page might run, load, follow or trip over."""


def made_up_run(
    name="run",
    epochs=(0, 1, 2),
    layers=("input", "conv", ODD),
    labelled=True,
    group=None,
    seed=0,
    views=("full",),
    compared=None,
    size=(200, 2),
):
    """A run of one probe, with undefined values where a real one has them.

    Its matrix with the snapshot before has the views `compared`, all of them if None; `size` is n and k.
    """
    rng = np.random.default_rng(seed)
    shape = (len(epochs), len(views), len(layers))
    curves = {"id": rng.uniform(5, 30, shape), "nnls_prev": rng.random(shape)}
    if labelled:
        curves["nncs"] = rng.random(shape)
    own = rng.random((*shape, len(layers)))
    before = own.copy()
    before[0], curves["nnls_prev"][0] = np.nan, np.nan
    curves["id"][-1, 0, -1] = np.nan
    compared = views if compared is None else compared
    before = before[:, [views.index(view) for view in compared]]
    matrices = {"self": Matrix(layers, layers, views, own), "prev": Matrix(layers, layers, compared, before)}
    chances, classes = ({"nncs": 0.1}, 10) if labelled else ({}, None)
    chances["nnls"] = 0.005
    probe = ProbeSeries(*size, classes, chances, layers, views, curves, matrices)
    finding = Finding(
        "id_peak", "train", (layers[-1],), f"train: the ID peaks at {layers[-1]}.", 0.995, {"peak": np.nan}
    )
    note = Finding("not_comparable", "val", (), "val: not comparable with train (k 2 against 4).", 1.0)
    moments = tuple(Frame(10 * epoch, epoch, 1.5, 0.03, (finding, note)) for epoch in epochs)
    return RunSeries(name, moments, {"train": probe}, group)


def marked_up(run):
    """The run with markup in the names of its probes, metrics, matrices, views and findings."""
    (probe,) = run.probes.values()
    curves = dict(probe.curves) | {f"nnls_ref-{name}": probe.curves["nnls_prev"] for name in MARKUP}
    curves |= dict.fromkeys(MARKUP, probe.curves["nnls_prev"])
    own = probe.matrices["self"]
    matrices = {kind: dataclasses.replace(own, views=(MARKUP[0],)) for kind in ("self", *MARKUP)}
    probe = dataclasses.replace(probe, curves=curves, matrices=matrices, views=(MARKUP[0],))
    finding = Finding(MARKUP[0], MARKUP[1], MARKUP, "".join(MARKUP), 1.0, {MARKUP[0]: 1.0})
    note = dataclasses.replace(finding, kind="not_comparable")
    moments = tuple(dataclasses.replace(frame, findings=(finding, note)) for frame in run.frames)
    return dataclasses.replace(run, frames=moments, probes=dict.fromkeys(("train", *MARKUP), probe))


def array(found):
    """An array of a payload."""
    kind = {"u2": "<u2", "f4": "<f4"}[found["type"]]
    values = np.frombuffer(base64.b64decode(found["data"]), kind).reshape(found["shape"])
    return values if found["type"] == "f4" else np.where(values == 65535, np.nan, values / 65534)
