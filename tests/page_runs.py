"""Made-up runs for tests of the page, and arrays of their payloads."""

import base64

import numpy as np

from rra_monitor.evidence import Finding
from rra_monitor.page.moments import Matrix
from rra_monitor.page.series import Moment, ProbeSeries, RunSeries

ODD = "</script><img src=x onerror=\"fetch('https://example.com')\"> & %{z} <b>ü"


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
    chance, classes = (0.1, 10) if labelled else (None, None)
    probe = ProbeSeries(*size, classes, chance, 0.005, layers, views, curves, matrices)
    finding = Finding(
        "id_peak", "train", (layers[-1],), f"train: the ID peaks at {layers[-1]}.", 0.995, {"peak": np.nan}
    )
    note = Finding("not_comparable", "val", (), "val: not comparable with train (k 2 against 4).", 1.0)
    moments = tuple(Moment(10 * epoch, epoch, 1.5, 0.03, (finding, note)) for epoch in epochs)
    return RunSeries(name, moments, {"train": probe}, group)


def array(found):
    """An array of a payload."""
    kind = {"u2": "<u2", "f4": "<f4"}[found["type"]]
    values = np.frombuffer(base64.b64decode(found["data"]), kind).reshape(found["shape"])
    return values if found["type"] == "f4" else np.where(values == 65535, np.nan, values / 65534)
