"""The remedies that texts about monitors and snapshots name, each of them followed."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import rra_monitor as rra
from rra_monitor import FixedSample, Monitor
from tests.helpers.remedies import Remedy
from tests.helpers.snapshots import snapshot_of

IMAGES = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(IMAGES, torch.arange(40) % 2)
SAMPLE = FixedSample.from_dataset(DATA, n=40)
COPIED = FixedSample.from_tensors(torch.cat([IMAGES[:39], IMAGES[:1] * (1 + 1e-6)]), torch.arange(40) % 2)
NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
SNAPSHOT = snapshot_of(0)


def measured(probes=None, model=NETWORK, **options):
    return Monitor({"train": SAMPLE} if probes is None else probes, **options).measure(model, step=0, epoch=0)


def matched(other):
    return rra.match(SNAPSHOT, other, "other")


def kept(path, keep_graphs):
    """The first of three snapshots of a run."""
    store = rra.RunStore(path, keep_graphs=keep_graphs)
    for step in (1, 2, 3):
        store.save(snapshot_of(step))
    return store.load("train", 1)


def with_samples(**changed):
    return replace(SNAPSHOT, settings=replace(SNAPSHOT.settings, **changed))


def nearest(graph, labels):
    return graph.distances[:, 0].mean()


REMEDIES = [
    Remedy(
        "expected 'raise' or 'warn'",
        lambda: measured(on_error="ignore"),
        lambda: measured(on_error="raise"),
        lambda: measured(on_error="warn"),
    ),
    Remedy(
        "expected MonitorOptions(…), or options by keyword",
        lambda: measured(options={"k": 5}),
        lambda: measured(options=rra.MonitorOptions(k=5)),
        lambda: measured(k=5),
    ),
    Remedy(
        "RRACallback and of RunStore",
        lambda: measured(keep_graphs="last"),
        lambda: rra.RunStore("memory://run", keep_graphs="last"),
    ),
    Remedy(
        "quantities={}; expected a list of names and quantities, as ['cka']",
        lambda: measured(quantities="cka"),
        lambda: measured(quantities=["cka"]),
    ),
    Remedy(
        "expected a name, or Quantity('name', function)",
        lambda: measured(quantities=[nearest]),
        lambda: measured(quantities=["cka"]),
        lambda: measured(quantities=[rra.Quantity("name", nearest)]),
    ),
    Remedy(
        "has no function; give one, as Quantity('name', function)",
        lambda: measured(quantities=[rra.Quantity("name")]),
        lambda: measured(quantities=[rra.Quantity("name", nearest)]),
    ),
    Remedy(
        "or give your own as Quantity('name', function)",
        lambda: measured(quantities=["nearest"]),
        lambda: measured(quantities=[rra.Quantity("name", nearest)]),
    ),
    Remedy(
        "not {} at the beginning, as in 'mean_distance'",
        lambda: rra.Quantity("Mean distance", nearest),
        lambda: rra.Quantity("mean_distance", nearest),
    ),
    Remedy(
        "expected names and samples, as {'train': FixedSample.from_dataset(…)}",
        lambda: measured([SAMPLE]),
        lambda: measured({"train": FixedSample.from_dataset(DATA, n=40)}),
    ),
    Remedy(
        "probes is a FixedSample without a name; pass {'train': sample}",
        lambda: measured(SAMPLE),
        lambda: measured({"train": SAMPLE}),
    ),
    Remedy(
        "probes is empty; pass at least one sample, as {'train': FixedSample.from_dataset(…)}",
        lambda: measured({}),
        lambda: measured({"train": FixedSample.from_dataset(DATA, n=40)}),
    ),
    Remedy(
        "expected a FixedSample; make one with FixedSample.from_dataset(…) or FixedSample.from_tensors(…)",
        lambda: measured({"train": DATA}),
        lambda: measured({"train": FixedSample.from_dataset(DATA, n=40)}),
        lambda: measured({"train": FixedSample.from_tensors(*DATA.tensors)}),
    ),
    Remedy(
        "; k must lie in 2 to {}",
        lambda: measured(k=40),
        lambda: measured(k=39),
        lambda: measured(k=2),
    ),
    Remedy(
        "layers={}; expected 'auto', or names and patterns of modules",
        lambda: measured(layers=1),
        lambda: measured(layers="auto"),
        lambda: measured(layers=["1", "*"]),
    ),
    Remedy(
        "layers is empty; pass 'auto', or names and patterns of modules",
        lambda: measured(layers=[]),
        lambda: measured(layers="auto"),
        lambda: measured(layers=["1", "*"]),
    ),
    Remedy(
        "expected a function of the model and a batch",
        lambda: measured(forward=2),
        lambda: measured(forward=lambda model, batch: model(batch)),
    ),
    Remedy(
        "near-duplicates rule the ID; measure with estimator='censored', or look at the samples "
        "(rra_monitor.metrics.near_duplicates)",
        lambda: measured({"train": COPIED}),
        lambda: measured({"train": COPIED}, estimator="censored"),
        lambda: rra.metrics.near_duplicates(rra.knn_graph(COPIED.read(range(40)), 2)),
    ),
    Remedy(
        "variants is empty; pass at least one, as {'noise': lambda x: x + 0.1 * torch.randn_like(x)}",
        lambda: rra.invariance(NETWORK, SAMPLE, {}),
        lambda: rra.invariance(NETWORK, SAMPLE, {"noise": lambda x: x + 0.1 * torch.randn_like(x)}),
    ),
    Remedy(
        "return the transformed inputs",
        lambda: rra.invariance(NETWORK, SAMPLE, {"half": lambda x: None}),
        lambda: rra.invariance(NETWORK, SAMPLE, {"half": lambda x: x / 2}),
    ),
    Remedy(
        "return one row per input, in their order",
        lambda: rra.invariance(NETWORK, SAMPLE, {"half": lambda x: x[:1] / 2}),
        lambda: rra.invariance(NETWORK, SAMPLE, {"half": lambda x: x / 2}),
    ),
    Remedy(
        "measure with {}={}, or ",
        lambda: matched(snapshot_of(1, k=5)),
        lambda: matched(snapshot_of(1, k=4)),
    ),
    Remedy(
        "Build both samples alike.",
        lambda: matched(snapshot_of(1, labelled=False)),
        lambda: matched(snapshot_of(1)),
    ),
    Remedy(
        "Draw both samples from the same data with the same n and seed.",
        lambda: matched(with_samples(ids=FixedSample.from_dataset(DATA, n=30, seed=1).ids)),
        lambda: matched(with_samples(ids=SNAPSHOT.settings.ids.copy())),
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=str)
def test_measure_remedy_is_followed(remedy):
    remedy.check()


def test_match_remedy_for_graphs_that_were_not_kept_is_followed(tmp_path):
    Remedy(
        "were not kept, and NNLS needs them; keep them with keep_graphs='all' or a number",
        lambda: matched(kept(tmp_path / "last", "last")),
        lambda: matched(kept(tmp_path / "all", "all")),
        lambda: matched(kept(tmp_path / "number", 3)),
    ).check()


def test_match_names_no_remedy_for_another_metric_which_a_monitor_does_not_have():
    with pytest.raises(ValueError, match=r"the same distances; drop the comparison\.$"):
        matched(with_samples(metric="cosine"))
