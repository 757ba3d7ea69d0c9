import csv
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import rra_monitor as rra
from rra_monitor.cli.analysis_files import pictures
from rra_monitor.cli.analyze import computed_anew, run_analyze, stored_analysis
from rra_monitor.cli.sources import data_splits, named_model, samples
from rra_monitor.compare.tables import write_csv, write_json
from rra_monitor.runs.checkpoint import load_checkpoint
from tests.helpers import ROOT
from tests.helpers.digit_runs import network, overlap
from tests.helpers.snapshots import snapshot_of

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


class Fitted(L.LightningModule):
    """A network that a LightningModule holds, with weights beside it that are no part of it."""

    def __init__(self):
        super().__init__()
        self.model = network()
        self.teacher = nn.Linear(2, 2)

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits):
    """A working directory with code of one's own and a Lightning checkpoint of two epochs."""
    where = tmp_path_factory.mktemp("work")
    (where / "own_code.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{CODE}")
    torch.manual_seed(0)
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    images, labels = digits
    data = TensorDataset(images[:320], labels[:320])
    trainer.fit(Fitted(), DataLoader(data, 64))
    trainer.save_checkpoint(where / "last.ckpt")
    torch.save(trainer.lightning_module.model.state_dict(), where / "weights.pt")
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


class TestMeasured:
    def test_it_is_what_the_monitor_measures(self, done, folder):
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

    def test_it_draws_curves_matrices_and_ratios(self, done, folder):
        for name in ("curves", "nnls", "ratios", "views"):
            with Image.open(folder / "one run" / f"val-{name}.png") as picture:
                assert min(picture.size) > 200
                assert len(picture.convert("L").getcolors()) > 20

    def test_cka_is_measured_on_request(self, here, tmp_path):
        asked = {"cka": True, "n": 60, "k": 5, "layers": ["input", "1"]}
        run_analyze("own_code:build", "own_code:data", None, str(tmp_path), "val", 0, **asked)
        rows = list(csv.DictReader((tmp_path / "layer_pairs.csv").open()))
        assert [float(row["cka"]) == 1 for row in rows] == [True, False, False, True]

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
        assert rra.RunStore("series").steps("data") == (0, 10)

    def test_compare_reads_it(self, done, here, capsys):
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


class TestStored:
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

    def test_it_is_computed_from_the_graphs_not_read_from_the_curves(self, done, folder):
        found = stored(folder)
        forgotten = replace(found, id=found.id * 0, nncs=found.nncs * 0, nnls=found.nnls * 0)
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
    def test_what_is_not_stored_is_named(self, done, here, source, probe, chosen, text):
        with pytest.raises(ValueError, match=text):
            run_analyze(None, None, source, None, probe, 0, **chosen)

    def test_targets_that_are_no_classes_are_said(self, here, tmp_path, capsys):
        run_analyze("own_code:build", "own_code:regression", None, str(tmp_path), None, 0, n=60, layers=["input", "1"])
        assert "No NNCS of data: the data have no integer classes." in " ".join(capsys.readouterr().out.split())

    def test_a_file_in_place_of_the_folder_is_refused_before_any_work(self, folder):
        ended = analyze(folder, "own_code:build", "--data", "own_code:data", "--out", "own_code.py")
        assert ended.stderr == "rra-monitor analyze: --out own_code.py is a file; name a folder\n"

    def test_the_linear_cka_is_a_flag(self, folder, tmp_path):
        chosen = ["--probe", "val", "--n", "60", "--k", "5", "--layers", "input,1", "--cka", "--out", str(tmp_path)]
        assert analyze(folder, "own_code:build", "--data", "own_code:data", *chosen).returncode == 0
        assert "cka" in (tmp_path / "layer_pairs.csv").read_text()

    def test_errors_of_the_command_are_one_sentence(self, folder):
        ended = analyze(folder, "--from", "none")
        assert ended.returncode != 0
        assert ended.stderr.startswith("rra-monitor analyze: there is no run at none")
        assert len(ended.stderr.splitlines()) == 1


class TestCheckpoints:
    def test_a_prefix_is_stripped_where_that_makes_it_fit(self, folder):
        net, other = network(), network()
        assert load_checkpoint(net, folder / "last.ckpt") == (10, 2, ["teacher.weight", "teacher.bias"])
        assert load_checkpoint(other, folder / "weights.pt") == (0, 0, [])
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))

    def test_of_two_networks_the_one_with_the_shorter_prefix_is_taken(self, tmp_path):
        net = network()
        weights = {f"model.{name}": value for name, value in net.state_dict().items()}
        average = {f"average.model.{name}": value * 0 for name, value in net.state_dict().items()}
        torch.save(average | weights, tmp_path / "w.pt")
        copy = network()
        load_checkpoint(copy, tmp_path / "w.pt")
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), copy.parameters(), strict=True))

    def test_what_does_not_fit_is_named(self, tmp_path):
        wrong = network().state_dict() | {"3.weight": torch.zeros(9, 72), "head.bias": torch.zeros(3)}
        del wrong["6.bias"]
        torch.save(wrong, tmp_path / "w.pt")
        with pytest.raises(
            ValueError, match=r"1 missing: 6\.bias; 1 unexpected: head\.bias; 1 of another shape: 3\.weight"
        ):
            load_checkpoint(network(), tmp_path / "w.pt")

    def test_a_model_keeps_its_weights_where_the_checkpoint_does_not_fit(self, tmp_path):
        torch.save({"3.weight": torch.zeros(16, 72)}, tmp_path / "part.pt")
        net = network()
        before = net[3].weight.clone()
        with pytest.raises(ValueError, match=r"5 missing: 0\.weight, 0\.bias, 3\.bias"):
            load_checkpoint(net, tmp_path / "part.pt")
        assert torch.equal(net[3].weight, before)

    def test_a_file_with_code_is_refused(self, tmp_path):
        torch.save(network(), tmp_path / "whole.pt")
        with pytest.raises(ValueError, match=r"cannot be read as weights alone .* torch.save\(model.state_dict"):
            load_checkpoint(network(), tmp_path / "whole.pt")

    @pytest.mark.parametrize(
        ("held", "text"), [({"epoch": 3}, "found the entries epoch"), ([1, 2], "found list"), ({}, "missing: 0.weight")]
    )
    def test_a_file_without_weights_is_an_error(self, tmp_path, held, text):
        torch.save(held, tmp_path / "w.pt")
        with pytest.raises(ValueError, match=text):
            load_checkpoint(network(), tmp_path / "w.pt")

    def test_a_missing_or_cut_off_file_is_an_error(self, tmp_path, folder):
        with pytest.raises(ValueError, match="there is no checkpoint"):
            load_checkpoint(network(), tmp_path / "no.pt")
        (tmp_path / "cut.pt").write_bytes((folder / "weights.pt").read_bytes()[:500])
        with pytest.raises(ValueError, match="cannot be read as weights alone"):
            load_checkpoint(network(), tmp_path / "cut.pt")

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            (lambda w: {1: w["0.bias"]}, r"found the entries \(int\)"),
            (lambda w: {("a",): w["0.bias"]}, r"found the entries \(tuple\)"),
            (lambda w: {"state_dict": {1: w["0.bias"]}}, "found the entries state_dict"),
            (lambda w: {"x" * 10**6: w["0.bias"]}, "unexpected: x{40,50}…x{40,50}"),
            (lambda w: w | {"0.bias": w["0.bias"].to_sparse()}, "0.bias is not dense there"),
            (lambda w: w | {"0.bias": w["0.bias"].to("meta")}, "0.bias is without values there"),
            (lambda w: w | {"0.bias": w["0.bias"].to(torch.complex64)}, "0.bias is complex there, real in MODEL"),
            (lambda w: {"state_dict": w, "global_step": -5}, "global_step is no count"),
            (lambda w: {"state_dict": w, "global_step": 10**30}, "global_step is no count"),
            (lambda w: {"state_dict": w, "global_step": True}, "global_step is no count"),
            (lambda w: {"state_dict": w, "global_step": w["0.bias"]}, "global_step is no count"),
            (lambda w: {"a": doubled(60)}, "found the entries a"),
            (lambda w: {"state_dict": w, "global_step": doubled(60)}, "global_step is no count"),
        ],
    )
    def test_an_odd_checkpoint_is_named_with_what_is_odd(self, tmp_path, change, text):
        torch.save(change(dict(network().state_dict())), tmp_path / "w.pt")
        with pytest.raises(ValueError, match=rf"^{tmp_path}/w\.pt.*{text}"):
            load_checkpoint(network(), tmp_path / "w.pt")

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(100), b"ckpt\nckpt\n", bytes(1000), b"\x80\x02}."])
    def test_a_file_that_is_no_checkpoint_is_named(self, tmp_path, content):
        (tmp_path / "w.pt").write_bytes(content)
        with pytest.raises(ValueError, match=rf"^{tmp_path}/w\.pt "):
            load_checkpoint(network(), tmp_path / "w.pt")

    def test_what_is_no_file_is_no_checkpoint(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
            with pytest.raises(ValueError, match=rf"there is no checkpoint {path}: it is no file"):
                load_checkpoint(network(), path)

    def test_a_checkpoint_that_unpacks_to_far_more_than_its_size_is_refused(self, tmp_path):
        torch.save(network().state_dict(), tmp_path / "w.pt")
        with zipfile.ZipFile(tmp_path / "w.pt", "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("more", bytes(250_000_000))
        with pytest.raises(ValueError, match=r"its \d{6} bytes unpack to 2500\d{5}"):
            load_checkpoint(network(), tmp_path / "w.pt")

    def test_weights_in_half_precision_and_a_state_dict_with_a_step_of_its_own_are_loaded(self, tmp_path):
        net = network()
        net.register_buffer("global_step", torch.tensor(7))
        halves = {name: value.half() for name, value in net.state_dict().items()}
        torch.save(halves, tmp_path / "w.pt")
        assert load_checkpoint(net, tmp_path / "w.pt") == (0, 0, [])

    def test_the_prefix_of_a_checkpoint_is_found_in_time_that_grows_with_its_names(self, tmp_path):
        many = {f"a{at}.3.weight": torch.zeros(1) for at in range(20_000)}
        own = {f"{'b.' * 200}{name}": value for name, value in network().state_dict().items()}
        torch.save(many | own, tmp_path / "w.pt")
        started = time.process_time()
        assert len(load_checkpoint(network(), tmp_path / "w.pt")[2]) == len(many)
        assert time.process_time() - started < 5


def doubled(times):
    """A list of lists whose text would be larger than any memory."""
    value = 1
    for _ in range(times):
        value = [value, value]
    return value


class TestPictures:
    def test_a_probes_name_is_no_path(self, tmp_path):
        snapshot = snapshot_of(0)
        (tmp_path / "out").mkdir()
        for probe in ("../../victim/x", str(tmp_path / "owned"), "..", "a\\b", "x" * 10_000, "\x1b[2J"):
            for file in pictures([replace(snapshot, probe=probe)], tmp_path / "out"):
                assert file.parent == tmp_path / "out"
                assert re.fullmatch(r"[A-Za-z0-9_-]{1,100}-(curves|nnls|ratios)\.png", file.name)
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        assert pictures([snapshot], tmp_path)[0].name == "train-curves.png"

    def test_the_files_of_a_stored_run_are_named_after_its_folder_of_the_probe(self, tmp_path):
        run = rra.RunStore(tmp_path / "run")
        run.save(snapshot_of(0))
        assert [found.probe for found in stored_analysis(str(tmp_path / "run"))] == ["train"]


class TestTables:
    def test_a_name_that_a_spreadsheet_would_compute_is_text(self, tmp_path):
        names = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "layer1.0"]
        write_csv(tmp_path / "t.csv", ({"layer": name, "id": -1.5} for name in names))
        rows = list(csv.DictReader((tmp_path / "t.csv").open(newline="")))
        assert [row["layer"] for row in rows] == [*(f"'{name}" for name in names[:-1]), "layer1.0"]
        assert {row["id"] for row in rows} == {"-1.5"}

    def test_halves_of_surrogate_pairs_are_written_and_come_back(self, tmp_path):
        content = {"runs": ["a\udcff", "\ud800"]}
        assert json.loads(write_json(tmp_path / "t.json", content).read_text(encoding="utf-8")) == content
        assert write_csv(tmp_path / "t.csv", [content]).read_text(encoding="utf-8")


class TestNames:
    @pytest.fixture
    def path_here(self, tmp_path, monkeypatch):
        """A working directory that is not on the path of modules, with files that would take the place of others."""
        monkeypatch.chdir(tmp_path)
        elsewhere = [entry for entry in sys.path if Path(entry).resolve() != tmp_path]
        monkeypatch.setattr(sys, "path", elsewhere)
        monkeypatch.setattr(sys, "modules", dict(sys.modules))
        (tmp_path / "matplotlib.py").write_text("raise SystemExit('foreign code')")
        (tmp_path / "own_module_here.py").write_text("def build():\n    import torch\n    return torch.nn.ReLU()\n")
        return list(elsewhere)

    @pytest.mark.parametrize("spec", ["rra_monitor.nn:resnet20", "torchvision:squeezenet1_1", "torch.nn:ReLU"])
    def test_modules_in_the_working_directory_are_not_found_where_none_was_named(self, path_here, spec):
        named_model(spec)
        assert sys.path == path_here

    def test_a_module_of_ones_own_is_found_in_the_working_directory_after_all_others(self, path_here, tmp_path):
        assert isinstance(named_model("own_module_here:build"), torch.nn.ReLU)
        assert sys.path == [*path_here, str(tmp_path)]

    def test_a_module_that_is_missing_is_named(self, path_here):
        with pytest.raises(ValueError, match="there is no module 'not_there', neither installed nor in the working"):
            named_model("not_there:build")

    @pytest.mark.parametrize(
        ("spec", "arguments", "text"),
        [
            ("os:system", None, "missing a required argument: 'command'; see --arguments"),
            ("rra_monitor.nn:resnet20", "nonsense=1", "nonsense"),
            ("rra_monitor.nn:resnet20", "num_classes=" + "(" * 500, "num_classes must be an integer of at least 1"),
            ("rra_monitor.nn:resnet20", "num_classes=" + "-" * 20_000 + "1", "have 20013 letters, expected at most"),
            ("rra_monitor.nn:resnet20", "num_classes=" + "-" * 1900 + "1", "num_classes must be an integer"),
        ],
    )
    def test_arguments_that_a_function_does_not_take_are_one_sentence(self, spec, arguments, text):
        with pytest.raises((ValueError, TypeError), match=text):
            named_model(spec, arguments)

    def test_a_torchvision_name_is_a_network_of_that_many_classes(self):
        assert named_model("torchvision:squeezenet1_1", "num_classes=7").num_classes == 7

    def test_a_function_gets_its_arguments(self):
        assert named_model("rra_monitor.nn:resnet20", "num_classes=3, in_channels=1").fc.out_features == 3

    @pytest.mark.parametrize(
        ("spec", "error", "text"),
        [
            ("torchvision:resnet19", ValueError, "torchvision has no model 'resnet19'; the nearest names: resnet18"),
            ("resnet18", ValueError, "expected module:function, torchvision:NAME or timm:NAME"),
            ("no_such:build", ValueError, "there is no module 'no_such'"),
            ("rra_monitor.nn:resnet2", ValueError, "rra_monitor.nn has no 'resnet2'; the nearest names: resnet20"),
            ("rra_monitor:__version__", TypeError, "is a str, expected a function"),
            ("rra_monitor.nn:resnet20", ValueError, "expected NAME=VALUE"),
            ("builtins:dict", TypeError, "gave a dict, expected a torch.nn.Module"),
        ],
    )
    def test_what_is_no_model_is_named(self, spec, error, text):
        with pytest.raises(error, match=text):
            named_model(spec, "10" if text.startswith("expected NAME") else None)

    def test_timm_says_how_to_get_it_where_it_is_missing(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "timm", None)
        with pytest.raises(ValueError, match="needs timm, which is not installed: pip install timm"):
            named_model("timm:resnet18")

    def test_an_error_in_the_readers_code_keeps_its_trace(self, here):
        # Not one of the errors that the command shows in one sentence.
        with pytest.raises(RuntimeError, match="'own_code:broken': calling it failed: no weights today") as caught:
            named_model("own_code:broken")
        assert isinstance(caught.value.__cause__, ValueError)


class TestData:
    @pytest.fixture
    def images(self, tmp_path):
        """Two classes of 12 images, in two parts, the second of several sizes."""
        rng = np.random.default_rng(0)
        for part, sizes in (("train", [20]), ("test", [20, 24])):
            for label in ("cat", "dog"):
                (tmp_path / part / label).mkdir(parents=True)
                for number in range(12):
                    size = sizes[number % len(sizes)]
                    pixels = rng.integers(0, 255, (size, size + 4, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(tmp_path / part / label / f"{number}.png")
        return tmp_path

    def test_folders_of_two_parts_are_two_samples(self, images):
        found = samples(str(images), 10, 16, None, 0)
        assert {name: (part.n, part.classes) for name, part in found.items()} == {"train": (10, 2), "val": (10, 2)}
        assert found["train"].read([0]).shape == (1, 3, 16, 16)

    def test_a_folder_of_classes_is_one_sample(self, images):
        assert list(data_splits(str(images / "train"))) == ["data"]
        assert samples(str(images / "train"), 10, None, "val", 0)["val"].read([0]).shape == (1, 3, 20, 24)

    def test_images_of_several_sizes_need_one(self, images):
        with pytest.raises(TypeError, match="differ in size; --size 224 makes them alike"):
            samples(str(images / "test"), 10, None, None, 0)

    def test_fewer_samples_are_drawn_where_there_are_not_enough(self, images):
        assert samples(str(images / "train"), 2000, 16, None, 0)["data"].n == 24

    def test_images_of_a_format_that_starts_a_program_and_pipes_are_not_opened(self, images):
        Image.new("RGB", (20, 20)).save(images / "train" / "cat" / "0.png", "EPS")
        (images / "train" / "cat" / "1.png").unlink()
        os.mkfifo(images / "train" / "cat" / "1.png")
        part = data_splits(str(images))["train"]
        with pytest.raises(OSError, match="cannot identify image file"):
            part[0]
        with pytest.raises(ValueError, match=r"1\.png is no file"):
            part[1]

    def test_pickles_in_the_place_of_cifar10_are_not_read(self, tmp_path, monkeypatch):
        (tmp_path / "cifar-10-batches-py").mkdir()
        (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"a pickle")
        monkeypatch.setattr("pickle.load", None)
        with pytest.raises(ValueError, match="holds another CIFAR-10 than the published one"):
            data_splits(f"cifar10:{tmp_path}")

    def test_cifar10_is_read_from_folders_in_its_own_scale(self, images):
        part = data_splits(f"cifar10:{images}")["train"]
        pixel = np.asarray(Image.open(images / "train" / "cat" / "0.png"))[0, 0, 0] / 255
        assert part[0][0][0, 0, 0].item() == pytest.approx((pixel - 0.4914) / 0.2470, abs=1e-5)

    @pytest.mark.parametrize(
        ("spec", "size", "probe", "text"),
        [
            ("nowhere", None, None, "are no folder, and not of the form"),
            ("/no/where:at", None, None, "are no folder, and not of the form"),
            ("cifar10:/no/where", None, None, "/no/where is no tree of images"),
            ("digits", 16, None, "--size is for folders of images"),
            ("digits", None, "test", "have the parts train, val, no 'test'"),
        ],
    )
    def test_what_is_no_data_is_named(self, spec, size, probe, text):
        with pytest.raises(ValueError, match=text):
            samples(spec, 10, size, probe, 0)

    def test_a_function_that_returns_no_data_set_is_named(self):
        with pytest.raises(TypeError, match="gave a set for 'data', expected a Dataset with length and indexing"):
            data_splits("builtins:set")
