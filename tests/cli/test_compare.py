import csv
import json
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from rra_monitor.cli.compare import run_compare
from rra_monitor.runs.reading import SnapshotReader
from tests.helpers.digit_runs import LAYERS, last, matrix, stored, two_recipes
from tests.helpers.snapshots import snapshot_of

COMMAND = str(Path(sys.executable).with_name("rra-monitor"))


@pytest.fixture(scope="module")
def runs(digits, tmp_path_factory):
    return two_recipes(tmp_path_factory.mktemp("runs"), digits)


@pytest.fixture(scope="module")
def done(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    folder = Path(runs["A"][0]).parent
    arguments = ["--group", f"A/1 [x]={folder}/a*", "--group", f"B={folder}/b0", f"{folder}/b1", "--out", str(out)]
    ended = subprocess.run([COMMAND, "compare", *arguments], capture_output=True, text=True, check=True)
    return out, ended.stdout, ended.stderr


class TestCompare:
    def test_csv_equals_a_loop_over_the_stored_graphs(self, done, runs):
        groups = {"A/1 [x]": runs["A"], "B": runs["B"][:2]}
        rows = list(csv.DictReader((done[0] / "nnls.csv").open()))
        written = {(r["group_a"], r["group_b"], r["layer_a"], r["layer_b"]): float(r["mean"]) for r in rows}
        assert len(written) == len(rows) == 3 * 16
        for a, b in (("A/1 [x]", "A/1 [x]"), ("A/1 [x]", "B"), ("B", "B")):
            matrices = [matrix(x, y) for x, y in product(groups[a], groups[b]) if x != y]
            for (i, x), (j, y) in product(enumerate(LAYERS), enumerate(LAYERS)):
                assert written[a, b, x, y] == pytest.approx(np.mean([one[i, j] for one in matrices]), abs=1e-12)
        for row in csv.DictReader((done[0] / "same_layer.csv").open()):
            assert float(row["mean"]) == written[row["group_a"], row["group_b"], row["layer"], row["layer"]]
        ids = {path: last(path).id for path in (*runs["A"], *runs["B"])}
        for row in csv.DictReader((done[0] / "curves.csv").open()):
            if row["quantity"] == "id" and row["epoch"] == "last":
                values = [ids[path][LAYERS.index(row["layer"])] for path in groups[row["group"]]]
                assert float(row["mean"]) == pytest.approx(np.mean(values))

    def test_json_holds_the_values_of_the_csv(self, done):
        whole = json.loads((done[0] / "comparison.json").read_text())
        rows = list(csv.DictReader((done[0] / "nnls.csv").open()))
        assert [pairs["pairs"] for pairs in whole["pairs"]] == [2, 4, 2]
        assert np.ravel([pairs["nnls"] for pairs in whole["pairs"]]).tolist() == [float(row["mean"]) for row in rows]
        assert len(whole["settling"]) == 4

    def test_tables_name_groups_layers_and_chance(self, done):
        for words in ("A/1 [x]", "within B", "intrinsic dimension", "chance 0.0", "epoch 1", "comparison.json"):
            assert words in done[1]

    def test_it_writes_nothing_to_the_error_stream(self, done):
        assert done[2].strip() == ""  # before 14.3 rich ends a progress bar that is not shown with an empty line

    def test_runs_are_compared_each_by_itself(self, runs, tmp_path):
        arguments = [*runs["A"], "--probe", "val", "--out", str(tmp_path)]
        ended = subprocess.run([COMMAND, "compare", *arguments], capture_output=True, text=True, check=True)
        assert "a0 is one run" in ended.stdout
        assert json.loads((tmp_path / "comparison.json").read_text())["groups"][0]["name"] == "a0"

    def test_a_group_without_shared_epochs_has_no_table_of_settling_and_says_why(self, tmp_path):
        for at in (0, 1):
            stored(tmp_path / str(at), *(snapshot_of(step, seed=at) for step in (4 * at, 4 * at + 1)))
        arguments = ["--group", f"A={tmp_path}/*", "--out", str(tmp_path / "out")]
        ended = subprocess.run([COMMAND, "compare", *arguments], capture_output=True, text=True, check=True)
        assert "No settling of A as a whole" in " ".join(ended.stdout.split())
        assert len(list(csv.DictReader((tmp_path / "out" / "settling.csv").open()))) == 12

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ([], "name either runs or groups of runs, got neither"),
            (["--group", "A=no/such/*"], "group 'A': 'no/such/*' matches no directory"),
            (["--group", "runs"], "expected NAME=GLOB"),
            (["no/such"], "there is no run at no/such: the directory does not exist"),
            (["no/such", "--out", __file__], "test_compare.py is a file; name a folder"),
        ],
    )
    def test_errors_are_one_sentence(self, arguments, text, tmp_path):
        ended = subprocess.run([COMMAND, "compare", *arguments], capture_output=True, text=True, cwd=tmp_path)
        assert ended.returncode != 0
        assert text in ended.stderr
        assert "Traceback" not in ended.stderr
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["tables", "page.html"])
def test_each_file_of_a_run_is_read_once(out, runs, tmp_path, monkeypatch, capsys):
    read = Counter()
    decoded = SnapshotReader.decoded

    def counted(self, at, kind):
        read[self.files.at(*at)] += kind == "curves"
        return decoded(self, at, kind)

    monkeypatch.setattr(SnapshotReader, "decoded", counted)
    pattern = f"{Path(runs['A'][0]).parent}/a*"
    run_compare([], [[f"A={pattern}"]], "train", None, str(tmp_path / out))
    capsys.readouterr()
    files = [str(file) for run in runs["A"] for file in Path(run).rglob("train/*.curves.safetensors")]
    assert len(files) > 3
    assert {file: read[file] for file in files} == dict.fromkeys(files, 1)
