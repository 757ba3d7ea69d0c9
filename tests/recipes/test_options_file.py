"""`rra-monitor train --config FILE`: what a file of options may say, and what it may not choose."""

import json
import pickle
from itertools import pairwise

import pytest

from rra_monitor.recipes.options_file import options_of
from tests.helpers.recipe_runs import run

FEW = {"recipe": "resnet20-digits", "max_epochs": 1, "limit": 1, "monitor": False, "progress": False}


class Evil:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return self.mark.touch, ()


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """Somebody else's run, whose configuration names pickles in it and permits them; the mark that they leave."""
    monkeypatch.chdir(tmp_path)
    mark, data = tmp_path / "ran", tmp_path / "run" / "d"
    data.mkdir(parents=True)
    for name in [*(f"train_data_batch_{number}" for number in range(1, 11)), "val_data"]:
        (data / name).write_bytes(pickle.dumps(Evil(mark)))
    file = tmp_path / "run" / "config.json"
    file.write_text(json.dumps({"recipe": "resnet34-imagenet64-se", "data": str(data), "allow_pickle": True}))
    return file, data, mark


def test_a_configuration_file_gives_neither_permission_nor_data(foreign, capsys):
    file, data, mark = foreign
    with pytest.raises(SystemExit, match="needs --data DIR"):
        run("train", "--config", file)
    said = capsys.readouterr().err
    assert f"{file} also says --data={data} --allow-pickle, which is taken from the command line alone" in said
    with pytest.raises(SystemExit, match="is a pickle, and reading it runs what it contains"):
        run("train", "--config", file, "--data", data)
    assert "also says --allow-pickle, which" in capsys.readouterr().err
    assert not mark.exists()
    # The same on the command line is the reader's own choice, and shows that the pickles would leave their mark.
    with pytest.raises(SystemExit):
        run("train", "--config", file, "--data", data, "--allow-pickle")
    assert mark.exists()


def test_a_configuration_file_does_not_choose_where_a_training_goes(tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "config.yaml").write_text(json.dumps(FEW | {"out": str(tmp_path / "elsewhere"), "resume": True}))
    run("train", "--config", tmp_path / "config.yaml")
    assert f"also says --out={tmp_path / 'elsewhere'} --resume, which" in capsys.readouterr().err
    assert (tmp_path / "here" / "runs" / "resnet20-digits" / "seed0" / "result.json").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_a_configuration_file_that_says_nothing_of_the_kind_is_no_matter_for_a_message(tmp_path, capsys):
    honest = FEW | {"data": None, "allow_pickle": False, "download": False, "resume": False, "out": "first"}
    (tmp_path / "config.json").write_text(json.dumps(honest))
    run("train", "--config", tmp_path / "config.json", "--out", tmp_path / "again")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "text", ["seed: 3\nlearning_rate: 1.0e-3\nviews: full,avg2\n", '{"seed": 3, "learning_rate": 1e-05}']
)
def test_a_file_of_options_is_json_or_yaml(tmp_path, text):
    (tmp_path / "c").write_text(text)
    found = options_of(tmp_path / "c")
    assert found["seed"] == 3
    assert 0 < found["learning_rate"] < 0.01


ALIASES = "".join(f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in pairwise("abcdefghijk"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"recipe: !!python/object/apply:os.system ['true']", "neither JSON nor YAML"),
        (b'{"recipe": {"class_path": "os.system"}}', "recipe is a dict, expected a number or a text"),
        (b'{"__path__": "/etc/passwd"}', "no option '__path__'"),
        (b'{"config": "/etc/passwd"}', "no option 'config'"),
        (b'{"reciep": "x"}', "did you mean recipe?"),
        (b'{"views": "full\\u001b[2J"}', r"views is 'full\\x1b\[2J', expected visible letters"),
        (b"[1, 2]", "holds a list, expected options by name"),
        (b"", "holds a NoneType"),
        (b"\xff\xfe\x00", "neither JSON nor YAML"),
        (b"[" * 100_000, "neither JSON nor YAML"),
        (b"seed: " + b"9" * 5000, "neither JSON nor YAML"),
        (b"recipe: &a [*a]", "neither JSON nor YAML|recipe is a list"),
        (("a: &a [x]\n" + ALIASES + "recipe: *k").encode(), "no option 'a'"),
        (("recipe: &a [x]\n" + ALIASES).encode(), "recipe is a list"),
        (b" " * (1 << 21), "2097152 bytes, expected a few options"),
    ],
)
def test_a_file_that_holds_no_options_is_named(tmp_path, text, said):
    (tmp_path / "c.yaml").write_bytes(text)
    with pytest.raises(ValueError, match=rf"--config {tmp_path}/c\.yaml.*({said})"):
        options_of(tmp_path / "c.yaml")


def test_what_is_no_file_of_options_is_not_opened(tmp_path):
    for path in (tmp_path, tmp_path / "none", "/dev/zero"):
        with pytest.raises(ValueError, match="there is no such file"):
            options_of(tmp_path / path)
