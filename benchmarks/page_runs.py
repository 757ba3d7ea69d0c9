"""Runs as the page sees them, made up: smooth curves and matrices of any number of frames and layers."""

import numpy as np

from rra_monitor.conclusions.evidence import Finding
from rra_monitor.page.arrays import Matrix
from rra_monitor.page.series import Frame, ProbeSeries, RunSeries

N, K, CLASSES = 2000, 20, 10


def made_up_run(name, frames, layers, probes=("train",), views=("full",), group=None, seed=0):
    """A run whose layers settle one after another, with the noise that n samples bring."""
    names = ("input", *(f"encoder.stage{layer // 16}.{layer % 16}" for layer in range(layers - 2)), "head")
    rng = np.random.default_rng(seed)
    found = {probe: _probe(rng, frames, names, views) for probe in probes}
    return RunSeries(name, tuple(_frame(at, names) for at in range(frames)), found, group)


def _probe(rng, frames, names, views):
    layers = len(names)
    depth = np.linspace(0, 1, layers)
    age = np.linspace(0, 1, frames)[:, None, None]
    shape = (frames, len(views), layers)
    settled = 1 - np.exp(-4 * age * (1.5 - depth)) + rng.normal(0, 0.004, shape)
    identity = 10 + 25 * settled * np.sin(np.pi * (0.15 + 0.8 * depth)) + rng.normal(0, 0.2, shape)
    nncs = np.clip(0.2 + 0.75 * settled * depth**2 + rng.normal(0, 0.004, shape), 0, 1)
    distance = np.abs(depth[:, None] - depth[None, :])
    own = np.exp(-distance * (2 + 6 * age[..., None])) + rng.normal(0, 0.004, (*shape, layers))
    own = np.clip((own + np.swapaxes(own, -1, -2)) / 2, 0, 1)
    own[..., range(layers), range(layers)] = 1
    before = np.clip(own * settled[..., None] + rng.normal(0, 0.004, own.shape), 0, 1)
    before[0] = np.nan
    curves = {"id": identity, "id_error": identity / 30, "nncs": nncs}
    curves |= {"nnls_prev": before[..., range(layers), range(layers)]}
    curves |= {health: np.zeros(shape) for health in ("ties", "zeros", "hubness")}
    curves |= {"recall": np.ones(shape)}
    matrices = {"self": Matrix(names, names, tuple(views), own)}
    matrices |= {"prev": Matrix(names, names, tuple(views), before)}
    return ProbeSeries(N, K, CLASSES, {"nncs": 0.1, "nnls": 0.005}, names, tuple(views), curves, matrices)


def _frame(at, names):
    layer = names[1 + at % (len(names) - 2)]
    sentence = f"train: the ID peaks at {layer} with {20 + at % 7}.0, 40% over the higher end (input 9.1, head 5.2)."
    return Frame(100 * at, at, 1.3, 0.03, (Finding("id_peak", "train", (layer,), sentence, 0.995),))
