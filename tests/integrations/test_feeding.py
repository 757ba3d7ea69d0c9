"""A probe is what the network is fed: the loader's collate_fn, the hooks of batch transfer, the precision."""

import json
import warnings

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, SubsetRandomSampler, TensorDataset

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from tests.helpers.training import Augmented, Classifier, fit

CHANNELS = torch.tensor([1.0] * 6 + [200.0] * 6)


@pytest.fixture(scope="module")
def table():
    """300 samples of 6 classes and 12 channels, half of them in another unit."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 6
    raw = rng.normal(size=(300, 12)).astype(np.float32)
    raw[:, :6] += 3 * np.eye(6, dtype=np.float32)[labels]
    return torch.from_numpy(raw) * CHANNELS, torch.from_numpy(labels)


class Plain(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 6))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Scaling(Plain):
    """Brings the channels to one unit on the device."""

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return (batch[0] / CHANNELS).to(batch[0].dtype), batch[1]


class Augmenting(Scaling):
    """Adds noise in training alone."""

    def on_before_batch_transfer(self, batch, dataloader_idx):
        noise = torch.randn_like(batch[0]) if self.trainer.training else 0
        return batch[0] + noise, batch[1]


class AlwaysNoisy(Scaling):
    def on_before_batch_transfer(self, batch, dataloader_idx):
        return batch[0] + torch.randn_like(batch[0]), batch[1]


class Data(L.LightningDataModule):
    """The hook of a data module."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def train_dataloader(self):
        return DataLoader(TensorDataset(*self.table), 50)

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch[0] / CHANNELS, batch[1]


def collate(items):
    inputs, labels = zip(*items, strict=True)
    return torch.stack(inputs) / CHANNELS, torch.stack(labels)


def fitted(path, module, *loaders, callback=None, **options):
    """Train an epoch; the callback and what was warned about its probes."""
    callback = callback or RRACallback(dirpath=path / "rra", n=300)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(None, path, [callback], 1, module=module, data=loaders, **options)
    said = [str(each.message) for each in caught if "probe" in str(each.message)]
    return callback, said


def assert_fed(callback, table, probe="train"):
    """The input layer is that of the scaled channels."""
    snapshot = callback.store.load(probe, 0)
    scaled = (table[0] / CHANNELS)[torch.from_numpy(snapshot.settings.ids)]
    graph = rra.knn_graph(scaled, snapshot.settings.k)
    assert snapshot.layers[0] == "input"
    np.testing.assert_allclose(snapshot.id[0], rra.metrics.twonn(graph), rtol=1e-4)
    assert snapshot.nncs[0] == pytest.approx(rra.metrics.nncs(graph, snapshot.settings.labels), abs=0.01)


class TestTheWayOfABatch:
    def test_the_loaders_collate_fn_makes_the_probe(self, tmp_path, table):
        loader = DataLoader(TensorDataset(*table), 50, collate_fn=collate)
        callback, said = fitted(tmp_path, Plain(), loader)
        assert_fed(callback, table)
        assert said == []

    def test_the_modules_hooks_change_the_probe_as_they_change_a_batch(self, tmp_path, table):
        loader = DataLoader(TensorDataset(*table), 50)
        callback, said = fitted(tmp_path, Scaling(), loader, loader)
        assert_fed(callback, table)
        assert_fed(callback, table, "val")
        assert said == []

    def test_the_hooks_of_a_data_module_do_too(self, tmp_path, table):
        callback, said = fitted(tmp_path, Plain(), Data(table))
        assert_fed(callback, table)
        assert said == []

    def test_a_sample_of_a_data_set_goes_the_same_way(self, tmp_path, table):
        sample = rra.FixedSample.from_dataset(TensorDataset(*table), n=300)
        loader = DataLoader(TensorDataset(*table), 50, collate_fn=collate)
        callback, said = fitted(tmp_path, Plain(), loader, callback=RRACallback({"train": sample}))
        assert_fed(callback, table)
        assert said == []

    def test_a_sample_of_tensors_passes_the_hooks(self, tmp_path, table):
        sample = rra.FixedSample.from_tensors(*table)
        loader = DataLoader(TensorDataset(*table), 50)
        callback, said = fitted(tmp_path, Scaling(), loader, callback=RRACallback({"train": sample}))
        assert_fed(callback, table)
        assert said == []

    def test_a_prepared_sample_stays_as_it_is(self, tmp_path, table):
        sample = rra.FixedSample.from_tensors(table[0] / CHANNELS, table[1], prepare=False)
        loader = DataLoader(TensorDataset(*table), 50)
        callback, said = fitted(tmp_path, Scaling(), loader, callback=RRACallback({"train": sample}))
        assert_fed(callback, table)
        assert said == []

    def test_augmentation_in_a_hook_of_training_is_left_out(self, tmp_path, table):
        loader = DataLoader(TensorDataset(*table), 50)
        callback, _ = fitted(tmp_path, Augmenting(), loader)
        assert_fed(callback, table)

    def test_a_hook_that_is_always_random_refuses_its_probe_alone(self, tmp_path, table):
        loader = DataLoader(TensorDataset(*table), 50)
        ready = rra.FixedSample.from_tensors(table[0] / CHANNELS, table[1], prepare=False)
        drawn = rra.FixedSample.from_dataset(TensorDataset(*table), n=300)
        callback = RRACallback({"train": drawn, "ready": ready}, dirpath=tmp_path / "rra")
        _, said = fitted(tmp_path, AlwaysNoisy(), loader, callback=callback)
        assert callback.store.probes() == ("ready",)
        assert any("not probed: train" in each and "random" in each for each in said)

    def test_a_sampler_of_some_items_limits_the_draw_to_them(self, tmp_path, table):
        loader = DataLoader(TensorDataset(*table), 50, sampler=SubsetRandomSampler(range(100, 300)))
        callback, _ = fitted(tmp_path, Scaling(), loader)
        assert 190 < callback.store.load("train", 0).settings.n <= 200

    @pytest.mark.parametrize(
        "how",
        [
            lambda some: {"batch_size": 50, "sampler": SubsetRandomSampler(some.numpy())},
            lambda some: {"batch_size": 50, "sampler": SubsetRandomSampler(some)},
            lambda some: {"batch_size": 50, "sampler": list(some.numpy())},
            lambda some: {"batch_sampler": BatchSampler(SubsetRandomSampler(some.tolist()), 50, False)},
        ],
        ids=["numpy", "torch", "a list of numpy's numbers", "a batch sampler"],
    )
    def test_indices_of_any_kind_limit_it(self, tmp_path, table, how):
        some = torch.arange(0, 300, 3)  # of two of the six classes
        callback, _ = fitted(tmp_path, Scaling(), DataLoader(TensorDataset(*table), **how(some)))
        settings = callback.store.load("train", 0).settings
        assert settings.n == 100
        assert set(settings.labels) == {0, 3}

    def test_a_collate_fn_that_sorts_is_refused_since_labels_would_be_of_others(self, tmp_path, table):
        def by_size(items):
            return collate(sorted(items, key=lambda item: float(item[0][0])))

        loader = DataLoader(TensorDataset(*table), 50, collate_fn=by_size)
        callback, said = fitted(tmp_path, Plain(), loader)
        assert callback.store is None or not callback.store.probes()
        assert any("puts the items into another order" in each for each in said)

    def test_a_loader_whose_inputs_the_network_does_not_take_costs_its_probe_alone(self, tmp_path, table):
        other = DataLoader(TensorDataset(table[0][:, :5], table[1]), 50)

        class OtherWidth(Scaling):
            def validation_step(self, batch, index, dataloader_idx=0):
                pass

            def on_after_batch_transfer(self, batch, dataloader_idx):
                return batch if batch[0].shape[1] == 5 else super().on_after_batch_transfer(batch, dataloader_idx)

        loader = DataLoader(TensorDataset(*table), 50)
        callback, said = fitted(tmp_path, OtherWidth(), loader, [loader, other])
        assert callback.store.probes() == ("train", "val")
        assert any("not probed: val-1" in each for each in said)

    def test_counters_of_a_data_modules_hook_do_not_move(self, tmp_path, table):
        class Counting(Data):
            def on_before_batch_transfer(self, batch, dataloader_idx):
                self.count = getattr(self, "count", 0) + 1
                return batch

        data = Counting(table)
        callback, _ = fitted(tmp_path, Plain(), data)
        assert callback.store.probes() == ("train",)
        assert data.count == 6

    def test_several_loaders_of_training_have_a_probe_each(self, tmp_path, table):
        class Both(Scaling):
            def training_step(self, batch, index):
                return super().training_step(batch["a"], index) + super().training_step(batch["b"], index)

            def on_after_batch_transfer(self, batch, dataloader_idx):
                return {name: (x / CHANNELS, y) for name, (x, y) in batch.items()}

        loader = {name: DataLoader(TensorDataset(*table), 50) for name in "ab"}
        callback, said = fitted(tmp_path, Both(), loader)
        assert callback.store.probes() == ("train", "train-1")
        assert_fed(callback, table, "train-1")
        assert said == []

    def test_inputs_are_as_the_precision_converts_them(self, tmp_path, table):
        loader = DataLoader(TensorDataset(*table), 50)
        callback = RRACallback(dirpath=tmp_path / "rra", n=300, on_error="raise")
        fit(None, tmp_path, [callback], 1, module=Scaling(), data=loader, precision="bf16-true")
        assert callback.store.load("train", 6).settings.n == 300


class TestDifferences:
    def test_a_normalisation_in_training_step_is_said_with_the_remedy(self, tmp_path, table):
        class InStep(Plain):
            def training_step(self, batch, index):
                return super().training_step((batch[0] / CHANNELS, batch[1]), index)

        _, said = fitted(tmp_path, InStep(), DataLoader(TensorDataset(*table), 50))
        assert any("the network gets something else in training" in each for each in said)

        class InHook(InStep):
            training_step = Plain.training_step

            def on_after_batch_transfer(self, batch, dataloader_idx):
                return batch[0] / CHANNELS, batch[1]

        _, said = fitted(tmp_path / "remedy", InHook(), DataLoader(TensorDataset(*table), 50))
        assert said == []

    def test_a_sample_of_another_scale_than_the_batches_is_said(self, tmp_path, table):
        sample = rra.FixedSample.from_tensors(table[0] * 50, table[1], prepare=False)
        _, said = fitted(
            tmp_path, Plain(), DataLoader(TensorDataset(*table), 50), callback=RRACallback({"train": sample})
        )
        assert any("probe 'train' differs from what the network is fed" in each for each in said)

    def test_ordinary_augmentation_is_not_reported(self, tmp_path, digits):
        images, labels = digits
        sample = rra.FixedSample.from_tensors(images[:200], labels[:200])
        loader = DataLoader(Augmented(images[:256], labels[:256]), 64, shuffle=True)
        callback = RRACallback({"train": sample}, dirpath=tmp_path / "rra")
        _, said = fitted(tmp_path, Classifier(), loader, callback=callback)
        assert said == []


class Numbered(Dataset):
    """(input, class, number of the item)."""

    def __init__(self, table):
        self.table = table

    def __len__(self):
        return len(self.table[1])

    def __getitem__(self, index):
        return self.table[0][index], int(self.table[1][index]), index


class TestLabels:
    def test_the_number_of_an_item_is_no_class(self, tmp_path, table):
        callback, _ = fitted(tmp_path, Scaling2(), DataLoader(Numbered(table), 50))
        line = json.loads((tmp_path / "rra" / "records.jsonl").read_text().splitlines()[0])
        assert line["probes"]["train"]["nncs_chance"] == pytest.approx(1 / 6, abs=0.02)
        assert callback.store.load("train", 0).settings.n == 300


class Scaling2(Plain):
    """Of batches with three entries."""

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch[0] / CHANNELS, *batch[1:]
