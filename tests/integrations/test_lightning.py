import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

import rra_monitor as rra
from rra_monitor.integrations import directories, lightning
from rra_monitor.integrations.lightning import RRACallback
from tests.helpers import training
from tests.helpers.training import Classifier, epochs, fit


@pytest.fixture(scope="module")
def foreign(digits, sample, tmp_path_factory):
    """A run of one's own, and a checkpoint of somebody else's whose callback state can be changed."""
    root = tmp_path_factory.mktemp("foreign")
    fit(digits, root / "own", [RRACallback({"train": sample}, layers=["input"])], epochs=2)
    trainer = fit(digits, root / "first", [RRACallback({"train": sample}, layers=["input"])], epochs=1)
    trainer.save_checkpoint(root / "first.ckpt")
    return root, torch.load(root / "first.ckpt", weights_only=True)


class TestMoments:
    @pytest.mark.parametrize(("every", "expected"), [(1, [0, 1, 2, 3]), (2, [0, 2, 3]), (5, [0, 3])])
    def test_untrained_every_nth_and_last(self, digits, tmp_path, sample, every, expected):
        callback = RRACallback(probes={"train": sample}, every_n_epochs=every, dirpath=tmp_path / "run")
        fit(digits, tmp_path, [callback])
        store = rra.RunStore(tmp_path / "run")
        assert epochs(store) == expected
        assert list(store.steps("train")) == [4 * epoch for epoch in expected]

    def test_the_first_snapshot_is_of_the_untrained_network(self, digits, tmp_path, sample):
        callback = RRACallback(probes={"train": sample})
        fit(digits, tmp_path, [callback], epochs=1)
        torch.manual_seed(1)
        untrained = rra.Monitor({"train": sample}).measure(training.network(), step=0, epoch=0)["train"]
        np.testing.assert_array_equal(callback.store.load("train", 0).id, untrained.id)

    def test_a_last_epoch_that_is_cut_short_is_not_counted(self, digits, tmp_path, sample):
        callback = RRACallback(probes={"train": sample})
        fit(digits, tmp_path, [callback], max_steps=6)
        assert list(zip(epochs(callback.store), callback.store.steps("train"), strict=True)) == [(0, 0), (1, 4), (1, 6)]
        assert callback.store.epochs("train") == {0: 0, 1: 4}

    def test_a_run_resumed_within_its_first_epoch_is_not_untrained(self, digits, tmp_path, sample):
        def callbacks():
            saver = ModelCheckpoint(tmp_path / "checkpoints", every_n_train_steps=2, save_top_k=-1, filename="{step}")
            return [RRACallback(probes={"train": sample}), saver]

        fit(digits, tmp_path, callbacks(), epochs=1, enable_checkpointing=True)
        again = callbacks()
        fit(
            digits,
            tmp_path,
            again,
            epochs=1,
            enable_checkpointing=True,
            ckpt_path=tmp_path / "checkpoints" / "step=2.ckpt",
        )
        assert again[0].store.epochs("train") == {0: 0, 1: 4}
        assert again[0].store.steps("train") == (0, 4)

    def test_resuming_an_earlier_checkpoint_sets_the_later_snapshots_aside(self, digits, tmp_path, sample):
        def callbacks():
            saver = ModelCheckpoint(tmp_path / "checkpoints", save_top_k=-1, filename="{epoch}")
            return [RRACallback(probes={"train": sample}, keep_graphs="last"), saver]

        fit(digits, tmp_path, callbacks(), epochs=3, enable_checkpointing=True)
        again = callbacks()
        fit(
            digits,
            tmp_path,
            again,
            epochs=2,
            enable_checkpointing=True,
            ckpt_path=tmp_path / "checkpoints" / "epoch=0.ckpt",
        )
        assert again[0].store.steps("train") == (0, 4, 8)
        assert again[0].store.graph_steps("train") == (8,)
        assert len(list((tmp_path / "rra" / "set-aside").rglob("*.curves.*"))) == 2

    def test_two_fits_of_one_trainer_are_one_run(self, digits, tmp_path, sample):
        callback = RRACallback(probes={"train": sample})
        trainer = fit(digits, tmp_path, [callback], epochs=1)
        trainer.fit_loop.max_epochs = 2
        trainer.fit(trainer.lightning_module, *training.loaders(digits))
        assert epochs(callback.store) == [0, 1, 2]

    def test_a_resumed_run_goes_on_in_its_directory(self, digits, tmp_path, sample):
        def callbacks():
            return [RRACallback(probes={"train": sample}), ModelCheckpoint(tmp_path / "checkpoints", save_last=True)]

        first = callbacks()
        fit(digits, tmp_path, first, epochs=2, enable_checkpointing=True)
        again = callbacks()
        fit(
            digits,
            tmp_path,
            again,
            epochs=4,
            enable_checkpointing=True,
            ckpt_path=tmp_path / "checkpoints" / "last.ckpt",
        )
        assert again[0].store.path == first[0].store.path
        assert epochs(again[0].store) == [0, 1, 2, 3, 4]
        lines = [json.loads(line) for line in (Path(again[0].store.path) / "records.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines] == [0, 1, 2, 3, 4]
        assert lines[3]["probes"]["train"]["nnls"]["prev"]["epoch"] == 2

    @pytest.mark.parametrize(
        "place", ["{}/own/rra", "{}/mine/../own/rra", "http://localhost:1/x?delete=1", "memory://own", "~/x", 5]
    )
    def test_a_checkpoint_does_not_choose_the_directory_of_its_run(
        self, digits, tmp_path, sample, foreign, place, monkeypatch
    ):
        root, held = foreign
        (key,) = (key for key in held["callbacks"] if "RRACallback" in key)
        named = place.format(root) if isinstance(place, str) else place
        torch.save(held | {"callbacks": {key: {"dirpath": named}}}, tmp_path / "foreign.ckpt")
        own = {path: path.read_bytes() for path in (root / "own").rglob("*") if path.is_file()}
        opened = []
        monkeypatch.setattr(lightning, "RunStore", lambda path, *keep: opened.append(path) or rra.RunStore(path, *keep))
        again = RRACallback({"train": sample}, layers=["input"])
        with pytest.warns(UserWarning, match=r"is neither below default_root_dir .* nor below a logger's save_dir"):
            fit(digits, tmp_path, [again], epochs=2, ckpt_path=tmp_path / "foreign.ckpt")
        assert opened == ["memory://", again.store.path]  # the first to check an option
        assert again.store.path == str(tmp_path / "rra")
        assert epochs(again.store) == [1, 2]
        assert {path: path.read_bytes() for path in (root / "own").rglob("*") if path.is_file()} == own

    @pytest.mark.parametrize(
        ("path", "allowed"),
        [
            ("/root_dir/rra", True),
            ("/root_dir/a/b/rra", True),
            ("/root_dir", False),
            ("/root_dir2/rra", False),
            ("/root_dir/../rra", False),
            ("rra", False),
            ("~/rra", False),
            ("/logs/run/version_0/rra", True),
            ("file:///logs/run/rra", True),
            ("s3://bucket/logs/run/rra", True),
            ("s3://bucket/logs2/run/rra", False),
            ("s3://bucket/logs/../other/rra", False),
            ("s3://bucket/logs//rra", False),
            ("s3://other/logs/run/rra", False),
            ("gs://bucket/logs/run/rra", False),
            ("s3://bucket/logs/x::http://localhost/y", False),
            ("simplecache::/root_dir/rra", False),
            ("/root_dir/a\x1b[2J", False),
            ("/root_dir/\0", False),
            (None, False),
            (["/root_dir/rra"], False),
        ],
    )
    def test_a_directory_of_a_checkpoint_lies_below_one_of_the_trainers(self, path, allowed):
        loggers = [SimpleNamespace(save_dir=place) for place in ("/logs", "s3://bucket/logs/", None)]
        trainer = SimpleNamespace(default_root_dir="/root_dir", loggers=loggers)
        assert directories.lies_where_the_trainer_writes(path, trainer) is allowed

    def test_a_directory_of_a_checkpoint_is_not_reached_by_a_link(self, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
        trainer = SimpleNamespace(default_root_dir=str(tmp_path / "root"), loggers=[])
        assert not directories.lies_where_the_trainer_writes(str(tmp_path / "root" / "link" / "rra"), trainer)

    def test_a_directory_with_an_earlier_run_is_refused(self, digits, tmp_path, sample):
        fit(digits, tmp_path, [RRACallback(probes={"train": sample}, dirpath=tmp_path / "run")], epochs=1)
        with pytest.raises(ValueError, match=r"snapshots of an earlier run.*another dirpath"):
            fit(digits, tmp_path, [RRACallback(probes={"train": sample}, dirpath=tmp_path / "run")], epochs=1)

    def test_without_a_logger_each_run_has_its_own_directory(self, digits, tmp_path, sample):
        for _ in range(2):
            fit(digits, tmp_path, [RRACallback(probes={"train": sample})], epochs=1)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["rra", "rra-1"]

    def test_fast_dev_run_leaves_nothing(self, digits, tmp_path, sample):
        fit(digits, tmp_path, [RRACallback(probes={"train": sample}, on_error="raise")], fast_dev_run=True, logger=True)
        assert not list(tmp_path.rglob("*.safetensors"))


class TestReferences:
    def test_every_epoch_is_compared_with_the_same_epoch(self, digits, tmp_path, sample):
        first = RRACallback(probes={"train": sample})
        fit(digits, tmp_path / "a", [first], epochs=2)
        second = RRACallback(probes={"train": sample}, references={"twin": first.store.path})
        fit(digits, tmp_path / "b", [second], epochs=2)
        lines = [json.loads(line) for line in (tmp_path / "b" / "rra" / "records.jsonl").read_text().splitlines()]
        twins = [line["probes"]["train"]["nnls"]["ref-twin"] for line in lines]
        assert [twin["epoch"] for twin in twins] == [0, 1, 2]
        # The same seed: the same network at each epoch.
        assert all(value == 1.0 for twin in twins for value in twin["layers"])

    def test_what_can_not_be_compared_is_refused_before_training(self, digits, tmp_path, sample):
        first = RRACallback(probes={"train": sample}, k=3)
        fit(digits, tmp_path / "a", [first], epochs=1)
        module = Classifier()
        callback = RRACallback(probes={"train": sample}, k=4, references={"a": first.store.path})
        with pytest.raises(ValueError, match="k=4 here, k=3 there"):
            fit(digits, tmp_path / "b", [callback], module=module)
        assert module.steps == 0


class Plateau(Classifier):
    """Halves its rate when the ID no longer rises."""

    def __init__(self, monitor="rra/train/id_peak", interval="epoch", frequency=1, **options):
        super().__init__()
        self.schedule = {"monitor": monitor, "interval": interval, "frequency": frequency}
        self.options = options

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", factor=0.5, **self.options)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **self.schedule}}


class TestWatchers:
    def test_early_stopping_and_checkpoints_find_the_values(self, digits, tmp_path, sample):
        stop = EarlyStopping("rra/train/id_peak", patience=0, min_delta=1e9)
        checkpoint = ModelCheckpoint(tmp_path / "best", monitor="rra/train/nnls_prev_mean", mode="max")
        callbacks = [stop, RRACallback(probes={"train": sample}), checkpoint]
        trainer = fit(digits, tmp_path, callbacks, epochs=5, enable_checkpointing=True)
        # No improvement by a billion: stopped at the second look.
        assert trainer.current_epoch == 2
        assert 0 < float(checkpoint.best_model_score) < 1

    @pytest.mark.parametrize(
        ("watcher", "options", "words"),
        [
            (lambda: EarlyStopping("rra/train/id_peek"), {}, "not logged; the nearest are rra/train/id_peak"),
            (
                lambda: EarlyStopping("rra/train/id_peak"),
                {"every_n_epochs": 2},
                "skips.*every_n_epochs=1 to RRACallback",
            ),
            (
                lambda: EarlyStopping("rra/train/id_peak", check_on_train_epoch_end=False),
                {},
                "pass check_on_train_epoch_end=True",
            ),
            (
                lambda: ModelCheckpoint(monitor="rra/train/id_peak", every_n_train_steps=2),
                {},
                "every_n_epochs=1 to it instead of steps",
            ),
            (
                lambda: ModelCheckpoint(monitor="rra/train/id_peak", save_on_train_epoch_end=False),
                {},
                "pass save_on_train_epoch_end=True",
            ),
        ],
    )
    def test_a_watcher_that_would_wait_in_vain_is_refused_before_training(
        self, digits, tmp_path, sample, watcher, options, words
    ):
        module = Classifier()
        callbacks = [watcher(), RRACallback(probes={"train": sample}, **options)]
        with pytest.raises(ValueError, match=words):
            fit(digits, tmp_path, callbacks, module=module, enable_checkpointing=True)
        assert module.steps == 0

    def test_a_scheduler_of_plateaus_finds_the_value(self, digits, tmp_path, sample):
        module = Plateau(patience=0, threshold=1e9, threshold_mode="abs")
        trainer = fit(digits, tmp_path, [RRACallback(probes={"train": sample})], module=module, epochs=3)
        # The first value is the best one so far; each later one is no improvement by a billion and halves the rate.
        assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05 / 4)

    @pytest.mark.parametrize(
        ("schedule", "words"),
        [
            ({"monitor": "rra/train/id_top"}, r"ReduceLROnPlateau\(.*not logged; the nearest are rra/train/id_"),
            ({"frequency": 3}, "skips.*every_n_epochs=1 to RRACallback"),
            ({"interval": "step", "frequency": 4}, "let configure_optimizers say interval='epoch'"),
        ],
    )
    def test_a_scheduler_that_would_wait_in_vain_is_refused(self, digits, tmp_path, sample, schedule, words):
        module = Plateau(**schedule)
        with pytest.raises(ValueError, match=words):
            fit(digits, tmp_path, [RRACallback(probes={"train": sample}, every_n_epochs=2)], module=module)
        assert module.steps == 0

    def test_a_first_epoch_that_is_cut_short_has_the_value_too(self, digits, tmp_path, sample):
        callbacks = [EarlyStopping("rra/train/nnls_prev_mean"), RRACallback(probes={"train": sample})]
        trainer = fit(digits, tmp_path, callbacks, max_steps=2)
        assert trainer.global_step == 2

    def test_a_checkpoint_of_the_same_rhythm_is_fine(self, digits, tmp_path, sample):
        checkpoint = ModelCheckpoint(tmp_path / "best", monitor="rra/train/id_peak", every_n_epochs=2)
        callbacks = [RRACallback(probes={"train": sample}, every_n_epochs=2), checkpoint]
        fit(digits, tmp_path, callbacks, epochs=4, enable_checkpointing=True)
        assert checkpoint.best_model_score is not None

    def test_watchers_of_other_values_are_left_alone(self, digits, tmp_path, sample):
        stop = EarlyStopping("loss", check_on_train_epoch_end=True)
        fit(digits, tmp_path, [stop, RRACallback(probes={"train": sample}, every_n_epochs=2)], epochs=2)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"every_n_epochs": 0}, ValueError, "expected 1 or more"),
        ({"on_error": "ignore"}, ValueError, "'warn' or 'raise'"),
        (
            {"tensorboard_scalars": "few"},
            ValueError,
            "tensorboard_scalars='few'; expected 'summaries', 'layers', 'all'",
        ),
        ({"layer": ["fc"]}, TypeError, "no option layer; beside its own it takes backend"),
        ({"every_n_epochs": 1.5}, TypeError, "every_n_epochs=1.5; expected a whole number"),
        ({"every_n_epochs": float("nan")}, TypeError, "every_n_epochs=nan; expected a whole number"),
        ({"every_n_epochs": "2"}, TypeError, "every_n_epochs='2'"),
        ({"every_n_epochs": True}, TypeError, "every_n_epochs=True"),
        ({"align": "x"}, ValueError, "align='x'"),
        ({"keep_graphs": 0}, ValueError, "keep_graphs=0"),
        ({"layers": []}, ValueError, "layers is empty"),
        ({"layers": 5}, TypeError, "layers=5"),
        ({"views": None}, TypeError, "views=None"),
        ({"k": 1}, ValueError, "k=1"),
        ({"k": "a"}, TypeError, "k='a'"),
        ({"n": 0}, ValueError, "n=0"),
        ({"n": "x"}, TypeError, "n='x'"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"dirpath": 5}, TypeError, "dirpath=5"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"memory_budget": "x"}, ValueError, "memory_budget='x'"),
        ({"probes": 5}, TypeError, "probes=5"),
        ({"probes": []}, TypeError, r"probes=\[\]"),
        ({"probes": {"../x": None}}, ValueError, "probe name '../x'"),
        ({"probes": {"train": 5}}, TypeError, "probe 'train' is a int, expected a FixedSample"),
        ({"forward": 5}, TypeError, "forward=5"),
        ({"artifacts": "x"}, TypeError, "artifacts='x'"),
        ({"references": ["a"]}, TypeError, "references="),
    ],
)
def test_bad_options_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        RRACallback(**options)


def test_options_of_the_monitor_and_the_store_are_refused_at_fit_start(digits, tmp_path, sample):
    module = Classifier()
    for options, words in (
        ({"k": 0}, "k must lie in 2"),
        ({"layers": ["net.9"]}, r"no layer matches 'net.9'"),
        ({"keep_graphs": "none"}, "'all', 'last'"),
    ):
        with pytest.raises(ValueError, match=words):
            fit(digits, tmp_path, [RRACallback(probes={"train": sample}, **options)], module=module)
    assert module.steps == 0


def test_nothing_is_warned_about_in_an_ordinary_run(digits, tmp_path, sample):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(digits, tmp_path, [RRACallback(probes={"train": sample})], epochs=1)
    own = [str(warning.message) for warning in caught if "rra_monitor" in warning.filename]
    assert own == []
