"""What a run of `rra-monitor train` says about itself, where somebody else wrote it."""

import json
import os
import shlex

import pytest

from rra_monitor.cli.suggest import _command
from rra_monitor.cli.train import read_seeds
from rra_monitor.recipes.options_file import COMMAND_LINE_ALONE
from rra_monitor.recipes.plan import planned
from rra_monitor.recipes.run_files import MetricsFile, read_description, read_result, write_description
from rra_monitor.recipes.trained import data_of, network_of
from rra_monitor.recipes.training import resumed_from
from rra_monitor.recipes.windows import StageChoice
from tests.helpers.recipe_runs import options, run

CHOSEN = [StageChoice(1, 8, {}, 0.0, None)]


@pytest.fixture
def described(tmp_path):
    """The folder of a training that has not begun, and a way to change its description."""
    given = options(tmp_path, "resnet20-digits-stac")
    folder = tmp_path / "seed0"
    write_description(folder, given, planned(given), classes=[str(digit) for digit in range(10)])

    def change(way, value):
        about = json.loads((folder / "run.json").read_text())
        *above, last = way.split(".")
        within = about
        for key in above:
            within = within[key]
        within[last] = value
        (folder / "run.json").write_text(json.dumps(about))

    return folder, change


def test_a_description_that_was_not_touched_is_believed(described):
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
def test_a_part_of_another_kind_in_a_description_is_named(described, way, value):
    folder, change = described
    change(way, value)
    for read in (network_of, data_of):
        with pytest.raises(ValueError, match=rf"{folder}/run\.json describes no training that this version knows: "):
            read(str(folder))
    with pytest.raises(SystemExit, match="describes no training"):
        run("suggest", folder, "--strategy", "uniform")


@pytest.mark.parametrize("text", [b"[1, 2]", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b"", b"null", b" " * (17 << 20)])
@pytest.mark.parametrize(("name", "read"), [("run.json", read_description), ("result.json", read_result)])
def test_a_file_of_a_run_that_is_no_object_of_json_is_named(tmp_path, name, read, text):
    (tmp_path / name).write_bytes(text)
    with pytest.raises(ValueError, match=rf"{tmp_path}/{name} (is damaged|has 17825792 bytes)"):
        read(tmp_path)


@pytest.mark.parametrize("value", ["0.9", None, float("nan"), True, [1], pytest.param(10**400, id="large")])
def test_a_result_that_is_no_number_is_named(tmp_path, value):
    (tmp_path / "result.json").write_text(json.dumps({"train_accuracy": 0.5, "val_accuracy": value}))
    with pytest.raises(ValueError, match=r"result\.json is damaged"):
        read_result(tmp_path)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(ValueError, match=r"run\.json is no file"):
        read_description(tmp_path)


@pytest.mark.parametrize("row", [b"3," + b"9" * 5000, b"\xff", b"x,y", b"\0\0", b"\xc2\xb2,\xc2\xb2"])
def test_odd_rows_of_a_table_are_dropped(tmp_path, row):
    (tmp_path / "metrics.csv").write_bytes(b"epoch,step\n1,4\n" + row + b"\n")
    table = MetricsFile(tmp_path / "metrics.csv")
    table.cut(100)
    table.add({"epoch": 2, "step": 8})
    assert (tmp_path / "metrics.csv").read_text().split() == ["epoch,step", "1,4", "2,8"]


def test_a_table_that_is_none_is_named(tmp_path):
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
            resumed_from(given, planned(given), folder)
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
        write_description(tmp_path / "seed0", given, planned(given), classes=["0"])
        assert (tmp_path / "elsewhere").read_text() == "mine"
        assert json.loads((tmp_path / "seed0" / "config.json").read_text())["recipe"] == given.recipe


class TestSuggest:
    def words(self, options):
        said = _command(CHOSEN, {"options": options, "plan": {}})
        assert said.isprintable()
        return shlex.split(said.removeprefix("Train with them: rra-monitor train "))

    def test_suggest_adds_no_permission_and_says_so(self, described, capsys):
        folder, change = described
        change("options.allow_pickle", True)
        run("suggest", folder, "--strategy", "uniform")
        said = capsys.readouterr().out
        command = next(line for line in said.splitlines() if "rra-monitor train" in line)
        assert "--allow-pickle" not in command
        assert "The run read pickles, which runs what they contain. Add --allow-pickle if you trust" in said

    def test_suggest_quotes_what_a_run_says_and_makes_it_visible(self):
        words = self.words({"recipe": "resnet34-imagenet64", "data": "/evil\x1b[8m; true", "augment": "$(true)"})
        assert words[words.index("--data") + 1] == r"/evil\x1b[8m; true"
        assert words[words.index("--augment") + 1] == "$(true)"

    @pytest.mark.parametrize("odd", ["--allow-pickle", "-x", "--download"])
    def test_suggest_lets_no_value_pass_for_an_option(self, odd):
        words = self.words({"recipe": odd, "data": odd, "augment": odd, "precision": odd})
        assert odd not in words
        assert {f"--recipe={odd}", f"--data={odd}", f"--augment={odd}", f"--precision={odd}"} <= set(words)

    def test_suggest_leaves_out_values_of_another_type(self):
        words = self.words({"recipe": "resnet20-digits", "seed": [1], "limit": {"a": 1}, "compile": "yes", "k": True})
        assert words == ["resnet20-digits", "--attention", "stac", "--window", "8", "--out", "runs/suggested"]

    def test_suggest_never_names_what_the_command_line_alone_permits(self):
        own = dict.fromkeys(COMMAND_LINE_ALONE, True) | {"recipe": "resnet20-digits", "data": "d", "out": "o"}
        assert {"--allow-pickle", "--download", "--resume", "o"}.isdisjoint(self.words(own))

    @pytest.mark.parametrize("side", ["0", "-5"])
    def test_suggest_refuses_a_side_that_no_image_has(self, described, side):
        with pytest.raises(SystemExit, match=f"--side {side}: expected"):
            run("suggest", described[0], "--side", side)


@pytest.mark.parametrize("text", ["0-999999999999", "0-1000", "9" * 5000, "4294967296", "0-999,2000-2999", "²"])
def test_seeds_beyond_reason_are_refused(text):
    with pytest.raises(ValueError, match="--seeds"):
        read_seeds(text)


@pytest.mark.parametrize("option", ["max_epochs", "batch_size", "learning_rate", "limit"])
def test_options_that_are_no_positive_number_are_refused(tmp_path, option):
    for value in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"--{option.replace('_', '-')} .*expected more than 0"):
            planned(options(tmp_path, **{option: value}))
