"""What a run of `rra-monitor train` says about itself, where somebody else wrote it."""

import csv
import json
import os
from pathlib import Path

import pytest

from rra_monitor.recipes.plan import training_plan
from rra_monitor.recipes.run_files import MetricsFile, read_description, read_result, write_description
from rra_monitor.recipes.trained import data_of, network_of
from rra_monitor.recipes.training import resumed_from
from tests.helpers.recipe_runs import options, run


class TestDescription:
    def test_a_description_that_was_not_touched_is_believed(self, described):
        folder, _ = described
        assert read_description(folder) == json.loads((folder / "run.json").read_text())
        assert network_of(str(folder)).fc.out_features == 10

    @pytest.mark.parametrize(
        ("way", "value"),
        [
            ("options", []),
            ("plan", None),
            ("plan.recipe", {}),
            ("plan.recipe.data", "__class__"),
            ("plan.recipe.data", ["digits"]),
            ("plan.recipe.network", 3),
            ("plan.recipe.network.nonsense", 1),
            ("plan.recipe.network.base", "resnet99"),
            ("plan.recipe.network.windows", [8]),
            ("plan.recipe.network.windows", [8, 8, 1e9]),
            ("plan.recipe.network.windows", [8, 8, 10**9]),
            ("plan.recipe.network.kernels", [10**6, 3]),
            ("plan.recipe.network.kernels", [2, 3]),
            ("plan.recipe.network.attention", "os.system"),
            ("options.recipe", None),
            ("options.data", 5),
            ("options.seed", True),
            ("options.learning_rate", float("nan")),
            ("options.loader", "x"),
            ("classes", []),
            ("classes", ["0", 1]),
            ("classes", "0123456789"),
        ],
    )
    def test_a_part_of_another_kind_in_a_description_is_named(self, described, way, value):
        folder, change = described
        change(way, value)
        for read in (network_of, data_of):
            with pytest.raises(
                ValueError, match=rf"{folder}/run\.json describes no training that this version knows: "
            ):
                read(str(folder))
        with pytest.raises(SystemExit, match="describes no training"):
            run("suggest", folder, "--strategy", "uniform")

    def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "run.json")
        with pytest.raises(ValueError, match=r"run\.json is no file"):
            read_description(tmp_path)


class TestResult:
    @pytest.mark.parametrize(
        "text", [b"[1, 2]", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b"", b"null", b" " * (17 << 20)]
    )
    @pytest.mark.parametrize(("name", "read"), [("run.json", read_description), ("result.json", read_result)])
    def test_a_file_of_a_run_that_is_no_object_of_json_is_named(self, tmp_path, name, read, text):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(ValueError, match=rf"{tmp_path}/{name} (is damaged|has 17825792 bytes)"):
            read(tmp_path)

    @pytest.mark.parametrize("value", ["0.9", None, float("nan"), True, [1], pytest.param(10**400, id="large")])
    def test_a_result_that_is_no_number_is_named(self, tmp_path, value):
        (tmp_path / "result.json").write_text(json.dumps({"train_accuracy": 0.5, "val_accuracy": value}))
        with pytest.raises(ValueError, match=r"result\.json is damaged"):
            read_result(tmp_path)


ROWS = [{"epoch": epoch, "step": 4 * epoch, "seconds": "1.25"} for epoch in (1, 2, 3)]


def table_file(path):
    table = MetricsFile(path)
    for row in ROWS:
        table.add(row)
    return path.read_bytes()


def epochs_of(path):
    with path.open(newline="") as stream:
        return [int(row["epoch"]) for row in csv.DictReader(stream)]


class TestMetricsFile:
    @pytest.mark.parametrize("kept", range(0, 60, 7))
    def test_a_table_that_was_cut_off_goes_on_after_its_last_whole_row(self, tmp_path, kept):
        file = tmp_path / "metrics.csv"
        content = table_file(file)
        file.write_bytes(content[:kept] + b"\0" * 9)
        whole = max(0, content[:kept].count(b"\n") - 1)
        table = MetricsFile(file)
        table.cut(12)
        table.add({"epoch": 9, "step": 36, "seconds": "1"})
        assert epochs_of(file) == [*range(1, whole + 1), 9]

    def test_rows_after_the_resumed_step_are_dropped(self, tmp_path):
        file = tmp_path / "metrics.csv"
        table_file(file)
        MetricsFile(file).cut(8)
        assert epochs_of(file) == [1, 2]
        assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]

    def test_a_table_that_can_not_be_written_is_a_warning_and_written_with_the_next_row(self, tmp_path, monkeypatch):
        file = tmp_path / "metrics.csv"
        table = MetricsFile(file)
        table.add(ROWS[0])

        def full(*_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", full)
            with pytest.warns(UserWarning, match=r"metrics\.csv lacks its last row; training goes on.*No space left"):
                table.add(ROWS[1])
        assert epochs_of(file) == [1]
        table.add(ROWS[2])
        assert epochs_of(file) == [1, 2, 3]
        assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]

    @pytest.mark.parametrize("row", [b"3," + b"9" * 5000, b"\xff", b"x,y", b"\0\0", b"\xc2\xb2,\xc2\xb2"])
    def test_odd_rows_of_a_table_are_dropped(self, tmp_path, row):
        (tmp_path / "metrics.csv").write_bytes(b"epoch,step\n1,4\n" + row + b"\n")
        table = MetricsFile(tmp_path / "metrics.csv")
        table.cut(100)
        table.add({"epoch": 2, "step": 8})
        assert (tmp_path / "metrics.csv").read_text().split() == ["epoch,step", "1,4", "2,8"]

    def test_a_table_that_is_none_is_named(self, tmp_path):
        (tmp_path / "metrics.csv").write_bytes(b"epoch,step\n1," + b"x" * 200_000 + b"\n")
        with pytest.raises(ValueError, match=r"metrics\.csv is damaged"):
            MetricsFile(tmp_path / "metrics.csv").cut(100)


class TestLinks:
    @pytest.mark.parametrize("name", ["run.json", "result.json", "metrics.csv", "checkpoints", "hparams.yaml", "rra"])
    def test_a_link_out_of_a_runs_folder_is_refused_before_anything_is_written(self, tmp_path, name):
        folder, elsewhere = tmp_path / "seed0", tmp_path / "elsewhere"
        folder.mkdir()
        elsewhere.mkdir()
        (elsewhere / "run.json").write_text("{}")
        (folder / name).symlink_to(elsewhere / "run.json" if "." in name else elsewhere)
        given = options(tmp_path, resume=True)
        with pytest.raises(ValueError, match=rf"seed0/{name} is a link out of the run's folder"):
            resumed_from(training_plan(given), folder)
        assert [path.name for path in elsewhere.iterdir()] == ["run.json"]

    def test_a_link_out_of_a_runs_folder_is_not_read(self, described, tmp_path):
        folder, _ = described
        (folder / "run.json").rename(tmp_path / "run.json")
        (folder / "run.json").symlink_to(tmp_path / "run.json")
        with pytest.raises(ValueError, match="is a link out of the run's folder"):
            read_description(folder)

    def test_a_link_within_a_runs_folder_is_followed(self, described):
        folder, _ = described
        (folder / "run.json").rename(folder / "kept.json")
        (folder / "run.json").symlink_to("kept.json")
        assert read_description(folder) is not None

    def test_a_file_is_replaced_not_written_through_a_link(self, tmp_path):
        given = options(tmp_path)
        (tmp_path / "elsewhere").write_text("mine")
        (tmp_path / "seed0").mkdir()
        for name in ("config.json", f"run.json.{os.getpid()}.partial"):
            (tmp_path / "seed0" / name).symlink_to(tmp_path / "elsewhere")
        write_description(tmp_path / "seed0", training_plan(given), classes=["0"])
        assert (tmp_path / "elsewhere").read_text() == "mine"
        assert json.loads((tmp_path / "seed0" / "config.json").read_text())["recipe"] == given.recipe
