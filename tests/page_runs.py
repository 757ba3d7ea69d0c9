"""Made-up runs for tests of the page."""

import numpy as np

from rra_monitor.evidence import Finding
from rra_monitor.page.moments import Matrix
from rra_monitor.page.series import Moment, ProbeSeries, RunSeries

ODD = "</script><img src=x onerror=\"fetch('https://example.com')\"> & %{z} <b>ü"


def made_up_run(name="run", epochs=(0, 1, 2), layers=("input", "conv", ODD), labelled=True, group=None, seed=0):
    """A run of one probe, with undefined values where a real one has them."""
    rng = np.random.default_rng(seed)
    count, size = len(epochs), len(layers)
    curves = {"id": rng.uniform(5, 30, (count, 1, size)), "nnls_prev": rng.random((count, 1, size))}
    if labelled:
        curves["nncs"] = rng.random((count, 1, size))
    own = rng.random((count, 1, size, size))
    before = own.copy()
    before[0], curves["nnls_prev"][0] = np.nan, np.nan
    curves["id"][-1, 0, -1] = np.nan
    matrices = {kind: Matrix(layers, layers, ("full",), values) for kind, values in (("self", own), ("prev", before))}
    chance, classes = (0.1, 10) if labelled else (None, None)
    probe = ProbeSeries(200, 2, classes, chance, 0.005, layers, ("full",), curves, matrices)
    finding = Finding(
        "id_peak", "train", (layers[-1],), f"train: the ID peaks at {layers[-1]}.", 0.995, {"peak": np.nan}
    )
    note = Finding("not_comparable", "val", (), "val: not comparable with train (k 2 against 4).", 1.0)
    moments = tuple(Moment(10 * epoch, epoch, 1.5, 0.03, (finding, note)) for epoch in epochs)
    return RunSeries(name, moments, {"train": probe}, group)
