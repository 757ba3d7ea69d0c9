"""Snapshots of given curves or features, and the findings in them."""

import dataclasses

import numpy as np

import rra_monitor as rra
from tests.helpers.snapshots import snapshot_with


def snapshot(probe="train", n=2000, k=20, layers=None, epoch=3, **curves):
    """Curves as given; what is not given shows nothing."""
    length = len(next(iter(curves.values())))
    layers = layers or ("input", *(f"layer{at}" for at in range(1, length)))
    found = {"id": np.full(length, 10.0), "nncs": np.full(length, 0.5), "nnls": 0.1 + 0.9 * np.eye(length)}
    found |= {"ties": np.zeros(length), "zeros": np.zeros(length), "recall": np.ones(length)}
    found |= {"hubness": np.zeros(length)}
    found |= {
        name: None if curve is None else np.array(curve, dtype=float)
        for name, curve in curves.items()
        if name != "pairs"
    }
    found.setdefault("id_error", found["id"] / np.sqrt(n))
    for row, value in enumerate(curves.get("pairs", ())[1:]):
        found["nnls"][row, row + 1] = found["nnls"][row + 1, row] = value
    settings = rra.Settings(n, k, "euclidean", "auto", np.arange(n), np.arange(n) % 10, "0123456789abcdef")
    return snapshot_with(found, probe=probe, step=epoch, epoch=epoch, layers=tuple(layers), settings=settings)


def kinds(*snapshots, previous=None):
    found = rra.findings({each.probe: each for each in snapshots}, previous and {previous.probe: previous})
    assert all(0.99 <= finding.confidence <= 1 and finding.sentence.endswith(".") for finding in found)
    return {finding.kind: finding for finding in found}


def graphs_of(features, k):
    return {layer: rra.knn_graph(values, k) for layer, values in features.items()}


def measured(features, k, probe="train", labels=None, epoch=3):
    """A snapshot of features: layer name to array."""
    graphs = graphs_of(features, k)
    n = len(next(iter(features.values())))
    labels = np.arange(n) % 10 if labels is None else labels
    found = snapshot(
        probe,
        n,
        k,
        tuple(features),
        epoch,
        id=[rra.metrics.twonn(graph) for graph in graphs.values()],
        nncs=[rra.metrics.nncs(graph, labels) for graph in graphs.values()],
        nnls=rra.metrics.nnls_matrix(list(graphs.values())),
        ties=[graph.ties for graph in graphs.values()],
        zeros=[graph.zeros for graph in graphs.values()],
    )
    return dataclasses.replace(found, graphs=graphs, settings=dataclasses.replace(found.settings, labels=labels))


LAYERS = ("input", "a", "b", "c", "d", "e")


def random_layers(seed, n=300):
    rng = np.random.default_rng(seed)
    return {layer: rng.normal(size=(n, 6)) for layer in LAYERS}
