import json
import warnings
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import TensorDataset

import rra_monitor as rra
from rra_monitor.integrations.fit_options import FitOptions
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.measure.options import MonitorOptions
from tests.helpers import training
from tests.helpers.training import Classifier, epochs, fit


class TestRRACallbackMoments:
    @pytest.mark.parametrize(("every", "expected"), [(1, [0, 1, 2, 3]), (2, [0, 2, 3]), (5, [0, 3])])
    def test_snapshots_before_training_every_nth_epoch_and_at_the_end(self, digits, tmp_path, sample, every, expected):
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
        # The graphs of the checkpoint's step were pruned: it is measured once more.
        lines = [json.loads(line) for line in (tmp_path / "rra" / "records.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [0, 4, 8]
        assert lines[2]["probes"]["train"]["nnls"]["prev"]["epoch"] == 1
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


class TestRRACallbackReferences:
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


def test_the_chosen_estimator_is_that_of_the_stored_snapshots(digits, tmp_path, sample):
    callback = RRACallback(probes={"train": sample}, estimator="regression")
    fit(digits, tmp_path, [callback], epochs=1)
    (line, *_) = (json.loads(line) for line in (tmp_path / "rra" / "records.jsonl").read_text().splitlines())
    assert line["probes"]["train"]["estimator"] == "regression"
    snapshot = callback.store.load("train", callback.store.steps("train")[0])
    graph = snapshot.graphs[snapshot.layers[0]]
    assert snapshot.id[0] == rra.metrics.twonn(graph, method="regression")


class TestRRACallbackOptions:
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
            ({"layer": ["fc"]}, TypeError, "no option layer; did you mean layers?"),
            ({"every_n_epoch": 2}, TypeError, r"no option every_n_epoch; did you mean every_n_epochs\?"),
            ({"probe": {}}, TypeError, r"no option probe; did you mean probes\?"),
            ({"options": 2}, TypeError, "no option options; options is an option of Monitor"),
            ({"xyz": 2}, TypeError, "no option xyz; it takes probes, every_n_epochs, .*, layers, views"),
            ({"every_n_epochs": 1.5}, TypeError, "every_n_epochs=1.5; expected a whole number"),
            ({"every_n_epochs": float("nan")}, TypeError, "every_n_epochs=nan; expected a whole number"),
            (
                {"every_n_epochs": "2"},
                TypeError,
                "every_n_epochs='2'; expected a whole number, 1 or more, without quotes",
            ),
            ({"every_n_epochs": True}, TypeError, "every_n_epochs=True"),
            ({"every_n_steps": 0}, ValueError, "every_n_steps=0; expected 1 or more"),
            ({"every_n_steps": 1.5}, TypeError, "every_n_steps=1.5; expected a whole number"),
            ({"schedule": 100}, TypeError, "schedule=100; expected a function of the optimiser step"),
            ({"max_overhead": 1}, ValueError, "max_overhead=1; expected a fraction above 0 and below 1, such as 0.05"),
            ({"max_overhead": "5 %"}, TypeError, "max_overhead='5 %'; expected a fraction above 0 and below 1"),
            ({"align": "x"}, ValueError, "align='x'"),
            ({"keep_graphs": 0}, ValueError, "keep_graphs=0"),
            ({"layers": []}, ValueError, "layers is empty"),
            ({"layers": 5}, TypeError, "layers=5"),
            ({"views": None}, TypeError, "views=None"),
            ({"k": 1}, ValueError, "k=1"),
            ({"k": "a"}, TypeError, "k='a'"),
            ({"n": 0}, ValueError, "n=0"),
            ({"n": "x"}, TypeError, "n='x'"),
            ({"seed": None}, TypeError, "seed=None; expected a whole number, 0 or more$"),
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
            (
                {"references": "x"},
                TypeError,
                "references='x'; expected a dictionary of names and directories of runs, as",
            ),
            ({"references": {"a": 5}}, TypeError, "references has 'a': 5; expected a dictionary"),
        ],
    )
    def test_bad_options_are_refused(self, options, error, words):
        with pytest.raises(error, match=words):
            RRACallback(**options)

    @pytest.mark.parametrize(
        "option",
        [field.name for kind in (FitOptions, MonitorOptions) for field in fields(kind) if field.name != "measuring"],
    )
    def test_a_data_set_for_any_option_is_an_error_of_one_line(self, option):
        class Large(TensorDataset):
            def __repr__(self):
                raise AssertionError("this takes minutes")

        with pytest.raises((TypeError, ValueError)) as refused:
            RRACallback(**{option: Large(torch.zeros(3))})
        assert "<Large>" in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_every_option_of_the_callback_is_named_to_whom_gives_it_to_a_monitor(self, sample):
        both = ("probes", "on_error", "measuring")
        for option in (field.name for field in fields(FitOptions) if field.name not in both):
            with pytest.raises(
                TypeError, match=f"Monitor has no option {option}; {option} is an option of RRACallback"
            ):
                rra.Monitor({"train": sample}, **{option: 1})

    def test_options_of_the_monitor_and_the_store_are_refused_at_fit_start(self, digits, tmp_path, sample):
        module = Classifier()
        for options, words in (
            ({"k": 0}, "k must lie in 2"),
            ({"layers": ["net.9"]}, r"no layer matches 'net.9'"),
            ({"keep_graphs": "none"}, "'all', 'last'"),
        ):
            with pytest.raises(ValueError, match=words):
                fit(digits, tmp_path, [RRACallback(probes={"train": sample}, **options)], module=module)
        assert module.steps == 0

    def test_nothing_is_warned_about_in_an_ordinary_run(self, digits, tmp_path, sample):
        def warned(folder, callbacks):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                fit(digits, tmp_path / folder, callbacks, epochs=1)
            return {str(warning.message) for warning in caught}

        warned("first", [])  # libraries say some things once in a process
        assert warned("watched", [RRACallback(probes={"train": sample})]) <= warned("plain", [])
