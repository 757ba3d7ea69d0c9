import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.recipe_runs import run

COMMAND = str(Path(sys.executable).with_name("rra-monitor"))


COMMANDS = ["analyze", "compare", "demo", "recipes", "report", "suggest", "train"]


def test_help_lists_every_command_with_a_sentence():
    text = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^    (\w+) +([A-Z].*(?:\n {24}.*)*)", text, re.MULTILINE)
    assert sorted(name for name, _ in listed) == COMMANDS
    assert all(sentence.endswith(".") for _, sentence in listed)


def test_an_unknown_command_is_an_error_that_names_the_known():
    done = subprocess.run([COMMAND, "dmeo"], capture_output=True, text=True)
    assert done.returncode != 0
    assert all(command in done.stderr for command in COMMANDS)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["train", "resnet20-digits", "--max-epohcs"], "; did you mean --max-epochs?"),
        (["report", "x", "--grup=b"], "; did you mean --group?"),
        (["analyze", "--daat=x"], "; did you mean --data?"),
        (["report", "x", "--zzzzzzz"], ""),
    ],
)
def test_an_unknown_option_is_an_error_that_names_the_nearest(words, meant, capsys):
    with pytest.raises(SystemExit):
        run(*words)
    assert capsys.readouterr().err.rstrip().endswith(f"unrecognized arguments: {words[-1]}{meant}")
