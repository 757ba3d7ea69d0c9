"""Graphs of all layers within a memory budget: those of a budget without bounds, in as many passes as announced."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import rra_monitor as rra
from rra_monitor.measure import in_parts, layer_graphs
from tests.helpers.wide_layers import LAYERS, TINY, network, sample

AMPLE = 1 << 30
VIEWS = ("full", "avg2", "avg-global")


class Counted:
    """Passes the batches to the network, and counts the samples."""

    def __init__(self):
        self.samples = 0

    def __call__(self, model, batch):
        self.samples += len(batch)
        return model(batch)


def measured(budget, dtype=torch.float32, **options):
    """A snapshot, its plan, and how often the sample passed through the network."""
    model, images, forward = network(dtype), sample(dtype), Counted()
    options = {"layers": LAYERS, "k": 4, "forward": forward, "memory_budget": budget} | options
    monitor = rra.Monitor({"p": images}, **options)
    plan = monitor.plan(model)["p"]
    forward.samples = 0
    return monitor.measure(model, step=0, epoch=0)["p"], plan, forward.samples / images.n


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_snapshot_within_a_tiny_budget_is_that_of_an_ample_one(dtype):
    options = {"dtype": dtype, "views": VIEWS, "cka": True, "quantities": ["effective_rank"]}
    ample, _, once = measured(AMPLE, **options)
    tiny, plan, passes = measured(TINY, **options)
    assert once == 1
    assert passes == plan.passes > 4
    assert tiny.layers == ample.layers
    for name in ample.layers:
        mine, others = tiny.graphs[name], ample.graphs[name]
        assert (np.sort(mine.indices) == np.sort(others.indices)).mean() > 0.99
    for name in ("id", "effective_rank", "nncs"):
        np.testing.assert_allclose(tiny.curves[name], ample.curves[name], rtol=1e-6)
    np.testing.assert_allclose(tiny.cka, ample.cka, rtol=1e-9)


def test_layers_in_parts_and_whole_ones_take_turns(monkeypatch):
    found = []
    for module, kind in ((layer_graphs, "whole"), (in_parts, "parts")):
        collect = module.collect
        monkeypatch.setattr(module, "collect", lambda *a, c=collect, k=kind, **o: found.append((k, a[2])) or c(*a, **o))
    measured(TINY)
    turns = [kind for (kind, _), (before, _) in zip(found, [("", ()), *found], strict=False) if kind != before]
    assert turns == ["whole", "parts", "whole"]
    assert [layer.name for layer in found[-1][1]] == ["4", "6"]


def test_quantities_of_features_are_undefined_where_these_are_never_together():
    mine = rra.Quantity("width", lambda features: features.flatten(1).shape[1], of="features")
    with pytest.warns(UserWarning, match=r"layers 0, 1, 2 of probe 'p': Width undefined: it needs the features"):
        snapshot, _, _ = measured(TINY, quantities=[mine])
    assert np.isnan(snapshot.curves["width"]).tolist() == [False, True, True, True, False, False]


@pytest.mark.parametrize("backend", [pytest.param("nndescent", marks=pytest.mark.slow), "auto"])
def test_layers_in_parts_have_exact_graphs_whatever_the_backend(backend):
    snapshot, _, _ = measured(TINY, backend=backend)
    assert {snapshot.graphs[name].backend for name in ("0", "1", "2")} == {"exact"}


def test_half_precision_takes_half_of_the_passes():
    passes = {
        dtype: measured(TINY, dtype, layers=["0", "1", "2"])[1].passes for dtype in (torch.float32, torch.bfloat16)
    }
    assert passes[torch.bfloat16] <= 0.6 * passes[torch.float32]


def test_a_failing_layer_in_parts_is_named_with_its_probe():
    model, images = network(), sample()
    with torch.no_grad():
        model[2].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="layer '2' of probe 'p': 40 of 40 samples have NaN"):
        rra.Monitor({"p": images}, layers=["2"], memory_budget=TINY).measure(model, step=0, epoch=0)


@pytest.mark.parametrize("views", [("full",), VIEWS], ids=["full", "views"])
def test_a_layer_of_a_million_features_keeps_to_its_budget(views):
    # In a process of its own, whose peak is its own: 168 MB of features of the one layer, 32 MiB for all.
    script = f"""
import torch, rra_monitor as rra
from torch import nn
def memory(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field))
def peak(run):
    before = memory("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")
    run()
    return memory("VmHWM") - before
torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.AdaptiveAvgPool2d(8)).eval()
images = torch.randn(40, 3, 256, 256)
def monitor(n):
    options = dict(views={views}, cka=True, batch_size=4, memory_budget=32 << 20, layers=["input", "0", "1"])
    return rra.Monitor({{"p": rra.FixedSample.from_tensors(images[:n], torch.arange(n) % 4)}}, **options)
monitor(20).measure(model, step=0, epoch=0)
with torch.no_grad():
    batch = peak(lambda: model(images[:4].clone()))
ready = monitor(40)
plan = ready.plan(model)["p"]
print(peak(lambda: ready.measure(model, step=0, epoch=0)), batch, plan.passes)
"""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("needs Linux's account of a process's peak memory")
    # What is freed is given back at once, so that what glibc's heap keeps counts neither before nor after.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr
    taken, batch, passes = map(int, done.stdout.split())
    assert taken - batch <= 1.1 * (32 << 20), (taken, batch)
    features = 4 * 40 * (3 * 256**2 + (16 * 256**2 + 1024) * (1 if len(views) == 1 else 1.25))
    assert passes <= 2.2 * features / (32 << 20) + 2
