"""Stored runs of small networks on digits, and their comparison by loops over the definition."""

import numpy as np
import torch
from torch import nn

import rra_monitor as rra

LAYERS = ("input", "1", "3", "6")


def network(deep=False):
    layers = [nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 16), nn.ReLU()]
    layers += [nn.Linear(16, 16), nn.ReLU()] if deep else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 10))


def train(path, digits, seed, epochs=2, deep=False, rate=0.05, views=("full",)):
    """A run of two probes on digits; k / n is alike in both."""
    images, labels = digits
    torch.manual_seed(seed)
    net = network(deep)
    optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    layers = ["input", "1", "3", "8" if deep else "6"]
    monitors = [
        rra.Monitor({name: rra.FixedSample.from_tensors(images[part], labels[part])}, layers=layers, k=k, views=views)
        for name, part, k in (("train", slice(150), 6), ("val", slice(600, 700), 4))
    ]
    recorder = rra.Recorder(rra.RunStore(path))
    for epoch in range(epochs + 1):
        if epoch:
            for batch in torch.randperm(512).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
                optimiser.step()
        found = [monitor.measure(net, step=8 * epoch, epoch=epoch) for monitor in monitors]
        recorder.record(found[0] | found[1])
    return str(path)


def two_recipes(folder, digits):
    """Two seeds of one recipe, three of another."""
    seeds = {"A": (("a0", 0), ("a1", 1)), "B": (("b0", 10), ("b1", 11), ("b2", 12))}
    rates = {"A": 0.05, "B": 0.2}
    return {
        name: [train(folder / run, digits, seed, rate=rates[name]) for run, seed in several]
        for name, several in seeds.items()
    }


def last(path, probe="train"):
    store = rra.RunStore(path)
    return store.load(probe, store.steps(probe)[-1])


def overlap(graph_a, graph_b):
    """NNLS from its definition."""
    pairs = zip(graph_a.indices.tolist(), graph_b.indices.tolist(), strict=True)
    return np.mean([len(set(a) & set(b)) / len(set(a) | set(b)) for a, b in pairs])


def matrix(path_a, path_b, probe="train"):
    a, b = last(path_a, probe), last(path_b, probe)
    return np.array([[overlap(a.graphs[x], b.graphs[y]) for y in b.layers] for x in a.layers])


def stored(path, *snapshots, **options):
    store = rra.RunStore(path, **options)
    for snapshot in snapshots:
        store.save(snapshot)
    return str(path)
