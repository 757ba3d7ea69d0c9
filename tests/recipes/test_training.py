"""Trainings: what they leave, what they refuse, and that an interruption leaves no trace in the weights."""

import json
from dataclasses import replace

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

import rra_monitor as rra
from rra_monitor.cli.train import train_seeds
from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.images import InMemory, Splits
from rra_monitor.integrations.fit import MonitoredFit
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.recipes.catalogue import RECIPES
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.plan import training_plan
from rra_monitor.recipes.trained import network_of
from rra_monitor.recipes.training import _monitoring, read_data, resumed_from
from rra_monitor.runs.checkpoint import load_checkpoint
from tests.helpers.recipe_runs import alike, noise, options, rows, trained, weights
from tests.helpers.remedies import assert_says

AUGMENT = "translate,flip,rotate,blur"


class Unplugged(L.Callback):
    """Ends a training in the middle of an epoch."""

    def __init__(self, epoch, batch):
        self.when = (epoch, batch)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.when:
            raise InterruptedError("unplugged")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that was not interrupted."""
    return trained(options(tmp_path_factory.mktemp("whole"), augment=AUGMENT))


class TestResume:
    @pytest.mark.parametrize("within", [False, True])
    def test_a_resumed_training_has_the_weights_of_an_uninterrupted_one(self, whole, tmp_path, within):
        """Unplugged in epoch 2, after its second batch; from the last epoch's checkpoint, or from one of that batch."""
        given = options(tmp_path, augment=AUGMENT)
        saved = [
            ModelCheckpoint(
                tmp_path / "seed0" / "checkpoints", "last", every_n_train_steps=2, enable_version_counter=False
            )
        ]
        with pytest.raises(InterruptedError):
            trained(given, [Unplugged(2, 2), *(saved if within else [])])
        assert weights(tmp_path / "seed0")["global_step"] == (10 if within else 8)
        with pytest.raises(ValueError, match="holds an interrupted training; --resume goes on with it"):
            trained(given)
        resumed = trained(replace(given, resume=True))
        here, there = weights(resumed), weights(whole)
        for name in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
            assert alike(here[name], there[name]), name
        assert (
            rra.RunStore(resumed / "rra").steps("train") == rra.RunStore(whole / "rra").steps("train") == (0, 4, 8, 12)
        )
        if not within:  # the loss of an epoch in two halves is the second half's
            assert rows(resumed) == rows(whole)

    def test_a_training_interrupted_in_its_first_epoch_starts_again(self, whole, tmp_path):
        given = options(tmp_path, augment=AUGMENT, every=3)
        with pytest.raises(InterruptedError):
            trained(given, [Unplugged(0, 2)])
        resumed = trained(replace(given, resume=True))
        assert alike(weights(resumed)["state_dict"], weights(whole)["state_dict"])

    @pytest.mark.parametrize("seeds", [False, True])
    def test_a_training_interrupted_in_its_last_snapshot_is_finished(self, whole, tmp_path, monkeypatch, seeds):
        given = options(tmp_path, augment=AUGMENT, every=2)
        unplugged_at_the_end(given, monkeypatch)
        folder = tmp_path / "seed0"
        assert not (folder / "result.json").exists()
        assert rra.RunStore(folder / "rra").steps("val") == (0, 8)
        if seeds:
            train_seeds(replace(given, seeds="0"))
        else:
            trained(replace(given, resume=True))
        here, there = (json.loads((one / "result.json").read_text()) for one in (folder, whole))
        assert min(here.pop("seconds"), there.pop("seconds")) > 0
        assert here == there
        assert rows(folder) == rows(whole)
        stores = [rra.RunStore(one / "rra") for one in (folder, whole)]
        for probe in ("train", "val"):
            assert stores[0].steps(probe) == (0, 8, 12)
            first, second = (store.load(probe, 12, graphs=False) for store in stores)
            assert first.epoch == second.epoch == 3
            assert first.id.tolist() == second.id.tolist()

    def test_a_finished_training_whose_checkpoint_has_no_numbers_is_named(self, tmp_path):
        given = replace(options(tmp_path, monitor=False, max_epochs=1, limit=1), resume=True)
        folder = trained(given)
        held = weights(folder)
        del held["callbacks"]["EpochTable"]
        torch.save(held, folder / "checkpoints" / "last.ckpt")
        (folder / "result.json").unlink()
        with pytest.raises(ValueError, match=r"checkpoints/last.ckpt does not have its numbers; delete the folder"):
            trained(given)

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda about: about["options"].pop("compile"), r"--compile None there, False here"),
            (
                lambda about: about["plan"]["recipe"]["network"].pop("kernels"),
                r"plan\.recipe\.network\.kernels: None there",
            ),
            (
                lambda about: about["plan"]["recipe"]["training"].update(teacher=1),
                r"training\.teacher: 1 there, None here",
            ),
        ],
    )
    def test_a_training_with_other_options_or_another_plan_is_not_resumed(self, tmp_path, change, expected):
        given = options(tmp_path, monitor=False)
        with pytest.raises(InterruptedError):
            trained(given, [Unplugged(1, 2)])
        file = tmp_path / "seed0" / "run.json"
        about = json.loads(file.read_text())
        change(about)
        file.write_text(json.dumps(about))
        with pytest.raises(ValueError, match=expected):
            trained(replace(given, resume=True))

    def test_a_recipe_described_in_other_words_is_resumed(self, tmp_path):
        given = options(tmp_path, monitor=False)
        with pytest.raises(InterruptedError):
            trained(given, [Unplugged(1, 2)])
        file = tmp_path / "seed0" / "run.json"
        about = json.loads(file.read_text())
        about["plan"]["recipe"]["note"] = "ours, too"
        file.write_text(json.dumps(about))
        assert (trained(replace(given, resume=True)) / "result.json").exists()

    def test_a_recipe_that_has_changed_is_not_resumed(self, tmp_path):
        given = options(tmp_path, monitor=False)
        with pytest.raises(InterruptedError):
            trained(given, [Unplugged(1, 2)])
        file = tmp_path / "seed0" / "run.json"
        file.write_text(file.read_text().replace('"learning_rate": 0.05', '"learning_rate": 0.06'))
        with pytest.raises(ValueError, match=r"recipe\.training\.learning_rate: 0\.06 there, 0\.05 here"):
            trained(replace(given, resume=True))

    @pytest.mark.parametrize(
        ("changed", "text"),
        [
            ({}, "holds this training already, finished"),
            ({"max_epochs": 5}, "holds another training: --max-epochs 3 there, 5 here"),
            ({"recipe": "resnet20-digits-stac"}, "--recipe resnet20-digits there, resnet20-digits-stac here"),
        ],
    )
    @pytest.mark.parametrize("resume", [False, True])
    def test_a_folder_with_another_training_is_refused(self, whole, changed, text, resume):
        with pytest.raises(ValueError, match=text):
            trained(options(whole.parent, augment=AUGMENT, **{"resume": resume, **changed}))

    @pytest.mark.parametrize("kept", [0, 1000, -1000])
    def test_a_damaged_checkpoint_is_named_and_the_training_can_start_again(self, tmp_path, kept):
        given = options(tmp_path, max_epochs=2, limit=1, monitor=False)
        with pytest.raises(InterruptedError):
            trained(given, [Unplugged(1, 0)])
        file = tmp_path / "seed0" / "checkpoints" / "last.ckpt"
        file.write_bytes(file.read_bytes()[:kept])
        with pytest.raises(ValueError, match=r"seed0/checkpoints/last\.ckpt is damaged \(.*\)") as caught:
            trained(replace(given, resume=True))
        assert_says("Restore it, or delete it: --resume then starts from the beginning", str(caught.value))
        file.unlink()
        trained(replace(given, resume=True))
        assert (tmp_path / "seed0" / "result.json").exists()


class TestTraining:
    def test_workers_and_the_monitor_do_not_change_the_weights(self, whole, tmp_path):
        given = options(tmp_path, augment=AUGMENT, loader="workers", workers=1, monitor=False)
        assert alike(weights(trained(given))["state_dict"], weights(whole)["state_dict"])

    def test_another_seed_trains_other_weights(self, whole, tmp_path):
        other = trained(options(tmp_path, augment=AUGMENT, seed=1, monitor=False))
        assert other.name == "seed1"
        assert not alike(weights(other)["state_dict"], weights(whole)["state_dict"])

    def test_a_training_leaves_its_numbers_and_its_configuration(self, whole):
        table = rows(whole)
        assert [row["epoch"] for row in table] == ["1", "2", "3"]
        assert [row["step"] for row in table] == ["4", "8", "12"]
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
            assert all(float(row[name]) >= 0 for row in table)
        result = json.loads((whole / "result.json").read_text())
        assert result["val_accuracy"] == pytest.approx(float(table[-1]["val_accuracy"]), rel=1e-5)
        about = json.loads((whole / "run.json").read_text())
        assert about["plan"]["recipe"]["training"] == {"epochs": 3, "learning_rate": 0.05, "batch": 32}
        assert about["versions"]["torch"] == torch.__version__.split("+")[0]
        # The configuration is that of the training, once more.
        given = json.loads((whole / "config.json").read_text())
        assert TrainOptions(**given) == options(whole.parent, augment=AUGMENT)

    def test_the_accuracy_is_that_of_the_saved_weights(self, tmp_path):
        given = options(tmp_path, max_epochs=1, limit=20, monitor=False, precision="32-true")
        split = read_data(training_plan(given)).val
        folder = trained(given)
        network = network_of(str(folder))
        load_checkpoint(network, folder / "checkpoints" / "last.ckpt")
        images, labels = split.read(torch.arange(len(split.labels))) / 255, split.labels
        with torch.no_grad():
            correct = int((network.eval()(images).argmax(1) == labels).sum())
        result = json.loads((folder / "result.json").read_text())
        assert result["val_accuracy"] * len(labels) == pytest.approx(correct, abs=1e-3)
        assert correct > 1.5 * len(labels) / 10

    def test_probes_are_without_augmentation_and_of_both_parts(self, whole):
        store = rra.RunStore(whole / "rra")
        assert store.probes() == ("train", "val")
        snapshot = store.load("train", 12)
        assert snapshot.settings.n == 60
        assert {"full", "avg-global"} == set(snapshot.settings.views)
        first, last = (store.load("train", step, graphs=False).id[0] for step in (0, 12))
        assert first == last

    def test_the_estimator_is_handed_to_the_monitor(self, tmp_path):
        for estimator, used in ((None, "ml"), ("censored", "censored")):
            plan = training_plan(options(tmp_path, estimator=estimator))
            callback, _ = _monitoring(plan, read_data(plan), tmp_path, None)
            assert callback.options.measuring.estimator == used

    def test_the_rhythm_is_handed_to_the_callback(self, tmp_path):
        plan = training_plan(options(tmp_path, every=None, every_n_steps=100, max_overhead=0.05))
        callback, _ = _monitoring(plan, read_data(plan), tmp_path, None)
        found = callback.options
        assert (found.every_n_epochs, found.every_n_steps, found.max_overhead) == (None, 100, 0.05)

    @pytest.mark.parametrize(
        ("wrong", "text"),
        [
            ({"views": "foo"}, "unknown view 'foo'"),
            ({"keep_graphs": "x"}, "keep_graphs='x'; expected"),
            ({"k": 1000}, "k must lie in 2 to 59"),
            ({"n": 2}, "n must be at least 3"),
            ({"precision": "foo"}, "Precision 'foo' is invalid"),
            ({"accelerator": "foo"}, "invalid accelerator name"),
            (
                {"devices": 0},
                "--accelerator cpu --devices 0 is not available: .* --accelerator auto --devices 1 takes",
            ),
            ({"weight_decay": -1.0}, "Invalid weight_decay value"),
            ({"loader": "workers", "workers": -1}, "num_workers option should be non-negative"),
        ],
    )
    def test_an_option_that_was_refused_does_not_block_the_folder(self, wrong, text, tmp_path):
        given = options(tmp_path, max_epochs=1, limit=1, accelerator="cpu")
        with pytest.raises(ValueError, match=text):
            trained(replace(given, **wrong))
        if next(iter(wrong)) in ("views", "keep_graphs", "loader"):  # of each moment one, since it takes a second
            train_seeds(replace(given, seeds="0"))
            assert (tmp_path / "seed0" / "result.json").exists()
        else:
            assert resumed_from(training_plan(given), tmp_path / "seed0") is None

    @pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
    def test_an_accelerator_that_is_not_there_is_an_error_of_one_line(self, tmp_path):
        with pytest.raises(ValueError, match=r"--accelerator gpu --devices 1 is not available: .*Expected"):
            trained(options(tmp_path, accelerator="gpu"))
        assert not (tmp_path / "seed0").exists()


def unplugged_at_the_end(given, monkeypatch):
    """Everything but the snapshot of the last epoch, and what comes after that epoch's checkpoint."""

    def unplugged(*_):
        raise InterruptedError("unplugged")

    measured = MonitoredFit.measure
    with monkeypatch.context() as patched:
        patched.setattr(MonitoredFit, "measure", lambda fit, epoch: measured(fit, epoch) if epoch < 3 else None)
        patched.setattr(RRACallback, "on_train_end", unplugged)
        with pytest.raises(InterruptedError):
            trained(given)


LIGHT = ("resnet20-cifar10-aug", "resnet20-cifar10-bam-post", "resnet20-cifar10-stac-s2-w4", "resnet20-images")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in LIGHT else pytest.mark.slow) for name in RECIPES]
)
def test_every_recipe_trains_two_steps(name, tmp_path):
    splits = noise(RECIPES[name])
    given = options(tmp_path, name, max_epochs=1, limit=2, batch_size=4, monitor=False)
    folder = trained(given, splits=splits)
    result = json.loads((folder / "result.json").read_text())
    assert result["steps"] == 2
    assert 0 < result["train_loss"] < 50
    before = network_of(str(folder))
    held = weights(folder)["state_dict"]
    for name, weight in before.named_parameters():
        assert weight.shape == held[f"network.{name}"].shape
        assert held[f"network.{name}"].isfinite().all()


PUBLISHED = {"cifar10": (50_000, 10_000), "imagenet64-50": (50_000, 2_500), "imagenet64": (1_280_000, 50_000)}
"""Images of both splits, equally many of each class."""


class ProbesOfTheMonitor(L.Callback):
    """Looks at what the training monitors, and ends it before its first step."""

    def setup(self, trainer, pl_module, stage):
        (self.probes,) = (each.options.probes for each in trainer.callbacks if isinstance(each, RRACallback))
        raise InterruptedError


def black(data):
    """Black images, as many as the data set has, in the memory of one."""
    classes, image = data.classes or 7, torch.zeros(1, data.channels, data.side, data.side, dtype=torch.uint8)
    sizes = PUBLISHED.get(data.name, (7_000, 7_000))
    splits = [InMemory(image.expand(size, -1, -1, -1), torch.arange(size) % classes) for size in sizes]
    return Splits(data, tuple(map(str, range(classes))), *splits)


RECIPE_OF = {recipe.data: recipe for recipe in RECIPES.values()}


@pytest.mark.parametrize("name", DATA)
def test_probes_are_as_large_as_the_data_says(name, tmp_path):
    data, given = DATA[name], options(tmp_path, RECIPE_OF[name].name, n=None)
    assert len(data.normalization[0]) == len(data.normalization[1]) == data.channels
    plan = training_plan(given)
    splits = read_data(plan) if name == "digits" else black(data)
    seen = ProbesOfTheMonitor()
    with pytest.raises(InterruptedError):
        trained(given, [seen], splits)
    probes = seen.probes
    assert (probes["train"].n, probes["val"].n) == data.probe_n
    for probe in probes.values():
        assert probe.classes == len(splits.classes)
