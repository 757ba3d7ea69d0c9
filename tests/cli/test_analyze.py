import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

import rra_monitor as rra
from rra_monitor.cli.analyze import computed_anew, run_analyze
from rra_monitor.metrics import twonn
from tests.helpers import ROOT
from tests.helpers.checkpoints import save_checkpoints
from tests.helpers.digit_runs import network, overlap

COMMAND = str(Path(sys.executable).with_name("rra-monitor"))


CODE = """
import torch
from tests.helpers.digit_runs import network
from sklearn.datasets import load_digits
from torch.utils.data import Subset, TensorDataset


def data():
    found = load_digits()
    return TensorDataset(torch.tensor(found.images / 16, dtype=torch.float32)[:, None], torch.tensor(found.target))


def regression():
    return TensorDataset(data().tensors[0], torch.rand(1797))


def parts():
    whole = data()
    return {"early": Subset(whole, range(900)), "late": Subset(whole, range(900, 1797))}


def build(deep=False):
    return network(deep)


def broken():
    raise ValueError("no weights today")


text = "no function"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits):
    """A working directory with code of one's own and a Lightning checkpoint of two epochs."""
    where = tmp_path_factory.mktemp("work")
    (where / "own_code.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{CODE}")
    save_checkpoints(where, digits)
    return where


@pytest.fixture
def here(folder, monkeypatch):
    """That directory as the working directory of this process."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)


def analyze(folder, *arguments):
    return subprocess.run([COMMAND, "analyze", *arguments], capture_output=True, text=True, cwd=folder)


@pytest.fixture(scope="module")
def done(folder):
    ended = analyze(
        folder, "own_code:build", "--checkpoint", "last.ckpt", "--data", "own_code:data", "--n", "150", "--k", "5",
        "--layers", "input,1,6", "--views", "full,avg2", "--probe", "val", "--out", "one run",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended


def stored(folder, name="one run", probe="val"):
    store = rra.RunStore(folder / name)
    return store.load(probe, store.steps(probe)[-1])


class TestAnalyze:
    def test_analyze_stores_what_the_monitor_measures(self, done, folder):
        net = network()
        net.load_state_dict(torch.load(folder / "weights.pt"))
        data = load_digits()
        whole = TensorDataset(torch.tensor(data.images / 16, dtype=torch.float32)[:, None], torch.tensor(data.target))
        sample, found = rra.FixedSample.from_dataset(whole, n=150), stored(folder)
        monitor = rra.Monitor({"val": sample}, k=5, layers=["input", "1", "6"], views=["full", "avg2"])
        expected = monitor.measure(net, step=0, epoch=0)["val"]
        assert found.layers == expected.layers == ("input", "input@avg2", "1", "1@avg2", "6")
        for quantity in ("id", "nncs", "nnls", "ties"):
            assert np.array_equal(getattr(found, quantity), getattr(expected, quantity))

    def test_step_and_completed_epochs_are_the_checkpoints(self, done, folder):
        assert (stored(folder).step, stored(folder).epoch) == (10, 2)

    def test_the_table_has_every_layer_with_its_values(self, done, folder):
        found = stored(folder)
        for layer, dimension, share in zip(found.layers, found.id, found.nncs, strict=True):
            assert any(layer in line and f"{dimension:.1f}" in line and f"{share:.3f}" in line for line in lines(done))
        assert "val: 150 samples, 5 neighbours, epoch 2" in done.stdout
        assert "Left out of the checkpoint, being no part of MODEL: teacher.weight, teacher.bias." in " ".join(
            done.stdout.split()
        )

    def test_it_writes_nothing_to_the_error_stream(self, done):
        assert done.stderr.strip() == ""  # before 14.3 rich ends a progress bar that is not shown with an empty line

    def test_csv_and_json_hold_the_values(self, done, folder):
        found = stored(folder)
        rows = list(csv.DictReader((folder / "one run" / "layers.csv").open()))
        assert [row["layer"] for row in rows] == list(found.layers)
        assert [float(row["id"]) for row in rows] == found.id.tolist()
        assert [float(row["nncs"]) for row in rows] == found.nncs.tolist()
        pairs = list(csv.DictReader((folder / "one run" / "layer_pairs.csv").open()))
        for row in pairs:
            value = overlap(found.graphs[row["layer_a"]], found.graphs[row["layer_b"]])
            assert float(row["nnls"]) == pytest.approx(value)
        assert [float(row["id_error"]) for row in rows] == found.id_error.tolist()
        assert [float(row["hubness"]) for row in rows] == found.hubness.tolist()
        whole = json.loads((folder / "one run" / "analysis.json").read_text())["snapshots"][0]
        assert whole["nnls"]["values"] == found.nnls.tolist()
        assert (whole["n"], whole["k"], whole["epoch"]) == (150, 5, 2)

    def test_analyze_draws_curves_matrices_and_ratios(self, done, folder):
        for name in ("curves", "nnls", "ratios", "views"):
            with Image.open(folder / "one run" / f"val-{name}.png") as picture:
                assert min(picture.size) > 200
                assert len(picture.convert("L").getcolors()) > 20

    def test_cka_and_another_estimator_are_measured_on_request(self, here, tmp_path, capsys):
        asked = {"cka": True, "estimator": "censored", "n": 60, "k": 5, "layers": ["input", "1"]}
        run_analyze("own_code:build", "own_code:data", None, str(tmp_path), "val", 0, **asked)
        rows = list(csv.DictReader((tmp_path / "layer_pairs.csv").open()))
        assert [float(row["cka"]) == 1 for row in rows] == [True, False, False, True]
        rows = list(csv.DictReader((tmp_path / "layers.csv").open()))
        graphs = stored(tmp_path, ".").graphs
        assert [float(row["id"]) for row in rows] == [twonn(each, method="censored") for each in graphs.values()]
        assert {row["estimator"] for row in rows} == {"censored"}
        assert "(censored)" in capsys.readouterr().out

    def test_a_network_that_does_not_take_the_data_is_told_in_the_commands_own_words(self, here, tmp_path):
        found = r"MODEL does not run on the data, whose items have the shape \(1, 8, 8\): .*--arguments"
        with pytest.raises(ValueError, match=rf"(?s){found}"):
            run_analyze("torchvision:resnet18", "own_code:data", None, str(tmp_path), "val", 0, n=60)

    def test_several_checkpoints_of_one_training_become_one_run(self, here):
        def add(checkpoint, **chosen):
            options = {"n": 150, "k": 5, "layers": ["input", "6"], "checkpoint": checkpoint} | chosen
            run_analyze("own_code:build", "own_code:data", None, "series", None, 0, **options)

        add("weights.pt")
        add("last.ckpt")
        assert rra.RunStore("series").steps("data") == (0, 10)
        with pytest.raises(ValueError, match="holds step 10 of probe 'data' already; give another --out"):
            add("last.ckpt")
        torch.save({"state_dict": torch.load("weights.pt"), "global_step": 20}, "later.ckpt")
        with pytest.raises(ValueError, match=r"what series holds \(give another --out\): k=6 here, k=5 there"):
            add("later.ckpt", k=6)
        with pytest.raises(ValueError, match="series holds IDs by 'ml', these would be by 'censored'"):
            add("later.ckpt", estimator="censored")
        assert rra.RunStore("series").steps("data") == (0, 10)

    def test_compare_reads_an_analysis(self, done, here, capsys):
        chosen = {"n": 150, "k": 5, "layers": ["input", "1", "6"]}
        run_analyze("own_code:build", "own_code:data", None, "untrained", "val", 0, **chosen)
        assert "the weights are those that MODEL comes with" in capsys.readouterr().out
        matrix = rra.compare_runs({"A": ["one run"], "B": ["untrained"]}).pairs["A", "B"].mean()
        assert matrix[0, 0] == 1.0
        assert matrix[-1, -1] < 1

    def test_a_dictionary_of_data_gives_a_table_each(self, here, capsys):
        run_analyze("own_code:build", "own_code:parts", None, "parts", None, 0, n=100)
        found = capsys.readouterr().out
        assert "early: 100 samples, 2 neighbours" in found
        assert "late: 100 samples, 2 neighbours" in found
        assert rra.RunStore("parts").probes() == ("early", "late")


def lines(ended):
    return ended.stdout.split("\n")


class TestAnalyzeFrom:
    def test_the_same_table_comes_from_the_graphs_alone(self, done, folder, tmp_path):
        again = analyze(tmp_path, "--from", str(folder / "one run"))
        assert again.returncode == 0, again.stderr
        table = done.stdout[: done.stdout.index("•")]
        assert again.stdout == table
        assert list(tmp_path.iterdir()) == []

    def test_files_are_written_where_asked(self, done, folder, tmp_path):
        analyze(tmp_path, "--from", str(folder / "one run"), "--out", "here")
        for name in ("layers.csv", "layer_pairs.csv", "analysis.json"):
            assert (tmp_path / "here" / name).read_text() == (folder / "one run" / name).read_text()

    def test_analyze_from_a_run_computes_from_the_graphs(self, done, folder):
        found = stored(folder)
        forgotten = found.changed(id=found.id * 0, nncs=found.nncs * 0, nnls=found.nnls * 0)
        anew = computed_anew(forgotten)
        for quantity in ("id", "nncs", "nnls"):
            assert np.array_equal(getattr(anew, quantity), getattr(found, quantity))

    @pytest.mark.parametrize(
        ("source", "probe", "chosen", "text"),
        [
            ("none", None, {}, "there is no run at none"),
            ("one run", "train", {}, "has no probe 'train'; it has val"),
            ("one run", None, {"k": 5, "layers": None}, "so --k cannot be chosen"),
            (None, None, {}, "name a model and its data"),
            ("one run", "../x", {}, "has no probe '../x'"),
        ],
    )
    def test_analyze_from_a_run_names_what_is_not_stored(self, done, here, source, probe, chosen, text):
        with pytest.raises(ValueError, match=text):
            run_analyze(None, None, source, None, probe, 0, **chosen)

    def test_targets_that_are_no_classes_are_said(self, here, tmp_path, capsys):
        run_analyze("own_code:build", "own_code:regression", None, str(tmp_path), None, 0, n=60, layers=["input", "1"])
        assert "No NNCS of data: the data have no integer classes." in " ".join(capsys.readouterr().out.split())

    def test_a_file_in_place_of_the_folder_is_refused_before_any_work(self, folder):
        ended = analyze(folder, "own_code:build", "--data", "own_code:data", "--out", "own_code.py")
        assert ended.stderr == "rra-monitor analyze: --out own_code.py is a file; name a folder\n"

    def test_analyze_has_a_flag_for_linear_cka(self, folder, tmp_path):
        chosen = ["--probe", "val", "--n", "60", "--k", "5", "--layers", "input,1", "--cka", "--out", str(tmp_path)]
        assert analyze(folder, "own_code:build", "--data", "own_code:data", *chosen).returncode == 0
        assert "cka" in (tmp_path / "layer_pairs.csv").read_text()

    def test_errors_of_the_command_are_one_sentence(self, folder):
        ended = analyze(folder, "--from", "none")
        assert ended.returncode != 0
        assert ended.stderr.startswith("rra-monitor analyze: there is no run at none")
        assert len(ended.stderr.splitlines()) == 1


@pytest.mark.slow
def test_ranks_that_torchrun_started_measure_together(tmp_path):
    command = [
        "rra_monitor.cli",
        "analyze",
        "rra_monitor.nn:resnet20",
        "--arguments",
        "in_channels=1",
        "--data",
        "digits",
    ]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    printed = {}
    for name, start in {"alone": ["-m"], "ranks": ["-m", *torchrun]}.items():
        done = subprocess.run(
            [sys.executable, *start, *command, "--n", "101", "--out", str(tmp_path / name)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        printed[name] = done.stdout.replace(str(tmp_path / name), "OUT")
    assert printed["ranks"] == printed["alone"]
    alone, ranks = (rra.RunStore(tmp_path / name).load("val", 0) for name in ("alone", "ranks"))
    for name, curve in alone.curves.items():
        if name != "checked":
            np.testing.assert_allclose(ranks.curves[name], curve, rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.slow
def test_a_refusal_is_said_once_by_ranks_that_torchrun_started():
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--", "rra_monitor.cli"]
    done = subprocess.run(
        [sys.executable, *command, "analyze", "rra_monitor.nn:resnet20", "--data", "nothing"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert done.stderr.count("the data 'nothing' are no folder") == 1
