"""Measure and store a network where no host, no dashboard and no plotting library is installed; import the commands."""

import importlib
import importlib.util
import tempfile

import torch

import rra_monitor as rra

for host in ("lightning", "tensorboard", "wandb", "matplotlib", "torchvision"):
    assert importlib.util.find_spec(host) is None, f"{host} is a core dependency"
network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
sample = rra.FixedSample.from_tensors(torch.rand(100, 3), torch.arange(100) % 2)
with tempfile.TemporaryDirectory() as folder:
    store = rra.RunStore(folder)
    recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)])
    for step in (0, 1):
        record = recorder.record(rra.Monitor({"p": sample}).measure(network, step=step, epoch=step))
    assert store.steps("p") == (0, 1)
print("measured with the core alone:", record.snapshots["p"].id)
for command in ("main", "analyze", "compare", "report", "recipes", "suggest"):
    importlib.import_module(f"rra_monitor.cli.{command}")
print("imported the commands that train nothing")
