"""Write golden/run/: a run as the store wrote it before files had a checksum, kept to show that it reads back equal.

Made once by the version before that one; later versions write other bytes.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import nn

import rra_monitor as rra
from rra_monitor.graph.knn import Audit


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    train, val = torch.randn(2, 20, 1, 8, 8, generator=generator)
    probes = {"train": rra.FixedSample.from_tensors(train, torch.arange(20) % 2, ids=torch.arange(20) * 3)}
    probes["val"] = rra.FixedSample.from_tensors(val)
    monitor = rra.Monitor(probes, layers=["input", "0", "4"], views=["full", "avg4", "avg-global"], k=2, cka=True)
    store = rra.RunStore(Path(__file__).parent / "run")
    recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)])
    for epoch in (0, 1):
        torch.manual_seed(epoch)
        net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 2))
        snapshots = monitor.measure(net, step=10 * epoch, epoch=epoch)
        graphs = dict(snapshots["train"].graphs)
        rows = np.array([1, 4, 15])
        audit = Audit(rows, graphs["4"].indices[rows], graphs["4"].distances[rows], 20)
        graphs["4"] = dataclasses.replace(graphs["4"], audit=audit, backend="nndescent")
        snapshots["train"] = dataclasses.replace(snapshots["train"], graphs=graphs)
        recorder.record(snapshots)
    recorder.close()


if __name__ == "__main__":
    main()
