"""Snapshots of made-up features, and whether two are equal."""

import dataclasses

import numpy as np

import rra_monitor as rra


def snapshot_of(step, epoch=None, probe="train", n=30, k=4, layers=("input", "a/b c", "fc"), labelled=True, seed=0):
    rng = np.random.default_rng(seed + step)
    graphs = {layer: rra.knn_graph(rng.normal(size=(n, 5)), k) for layer in layers}
    labels = np.arange(n) % 3
    found = {
        "id": np.array([rra.metrics.twonn(graph) for graph in graphs.values()]),
        "id_error": np.full(len(layers), 0.5),
        "nncs": np.array([rra.metrics.nncs(graph, labels) for graph in graphs.values()]) if labelled else None,
        "nnls": rra.metrics.nnls_matrix(list(graphs.values())),
        "hubness": np.zeros(len(layers)),
        "ties": np.zeros(len(layers)),
        "zeros": np.zeros(len(layers)),
        "recall": np.ones(len(layers)),
    }
    settings = rra.Settings(
        n, k, "euclidean", "auto", np.arange(n) * 7, labels if labelled else None, "0123456789abcdef"
    )
    return snapshot_with(
        found,
        probe=probe,
        step=step,
        epoch=step if epoch is None else epoch,
        layers=tuple(layers),
        settings=settings,
        graphs=graphs,
        seconds=1.25,
    )


def snapshot_with(values, **fields):
    """A snapshot of quantities by name, None for one that it does not have."""
    return rra.Snapshot(curves={}, matrices={}, **fields).changed(**values)


def assert_equal(a, b, audits=True):
    for field in dataclasses.fields(rra.Snapshot):
        mine, theirs = getattr(a, field.name), getattr(b, field.name)
        if field.name == "settings":
            for part in dataclasses.fields(rra.Settings):
                np.testing.assert_array_equal(getattr(mine, part.name), getattr(theirs, part.name))
        elif field.name == "graphs":
            assert list(mine) == list(theirs)
            for layer, graph in mine.items():
                for part in dataclasses.fields(rra.KnnGraph):
                    if part.name == "audit" and not audits:
                        continue
                    np.testing.assert_array_equal(getattr(graph, part.name), getattr(theirs[layer], part.name))
                assert theirs[layer].indices.dtype == np.int32
        elif field.name in ("curves", "matrices"):
            assert set(mine) == set(theirs)
            for name, values in mine.items():
                np.testing.assert_array_equal(values, theirs[name], err_msg=name)
        elif field.name == "quantities":
            assert [one.name for one in mine] == [one.name for one in theirs]
        else:
            assert mine == theirs, field.name


def stored_run(path, steps, **kwargs):
    store = rra.RunStore(path, **kwargs)
    for step in steps:
        store.save(snapshot_of(step, seed=500))
    return str(path)
