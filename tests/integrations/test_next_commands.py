import logging
import shlex
import time
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

import rra_monitor as rra
from rra_monitor.integrations import next_commands as module
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.integrations.next_commands import next_commands
from tests.helpers.recipe_runs import run
from tests.helpers.snapshots import snapshot_of
from tests.helpers.training import Classifier, fit

pytestmark = pytest.mark.foreign
FIRST = "To look at what was measured:"


class Interrupted(Classifier):
    """Is interrupted in its sixth step."""

    def training_step(self, batch, index):
        if self.steps == 5:
            raise KeyboardInterrupt
        return super().training_step(batch, index)


class Failing(Interrupted):
    """Fails there."""

    def training_step(self, batch, index):
        try:
            return super().training_step(batch, index)
        except KeyboardInterrupt as error:
            raise ValueError("six") from error


@pytest.fixture
def said(caplog):
    """The commands that were printed, each as its words; they must come at most once."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        yield (
            lambda: [
                shlex.split(line)
                for record in {id(record): record for record in caplog.records}.values()  # one comes by two handlers
                if record.message.startswith(FIRST)
                for line in record.message.split("\n")[1:]
            ]
        )
    logger.removeHandler(caplog.handler)


def watching(sample, **options):
    return [RRACallback({"train": sample}, layers=["input"], **options)]


class TestTheEndOfAFit:
    def test_names_commands_that_work_as_they_are_printed(self, digits, tmp_path, sample, said, monkeypatch):
        place = tmp_path / "my runs (old)"
        fit(digits, place, watching(sample), epochs=1, logger=TensorBoardLogger(place, "it's"))
        report, board = said()
        monkeypatch.chdir(tmp_path)
        assert report[:2] == ["rra-monitor", "report"]
        run(*report[1:])
        assert Path("rra-report.html").stat().st_size > 10_000
        assert board[:2] == ["tensorboard", "--logdir"]
        assert list(Path(board[2]).glob("events.out.tfevents.*"))

    def test_names_no_dashboard_where_nothing_is_written_for_one(self, digits, tmp_path, sample, said):
        fit(digits, tmp_path, watching(sample), epochs=1, logger=CSVLogger(tmp_path))
        assert [words[0] for words in said()] == ["rra-monitor"]

    @pytest.mark.parametrize(("module", "error"), [(Interrupted, SystemExit), (Failing, ValueError)])
    def test_comes_once_after_an_interruption_and_after_an_error(self, digits, tmp_path, sample, said, module, error):
        with pytest.raises((error, KeyboardInterrupt)):
            fit(digits, tmp_path, watching(sample), module=module())
        assert [words[:2] for words in said()] == [["rra-monitor", "report"]]

    @pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"max_steps": 0}])
    def test_is_silent_where_nothing_is_measured(self, digits, tmp_path, sample, said, options):
        fit(digits, tmp_path, watching(sample), epochs=1, **options)
        assert said() == []

    def test_is_silent_where_the_directory_is_gone_with_the_process(self, digits, tmp_path, sample, said):
        fit(digits, tmp_path, watching(sample, dirpath="memory://gone"), epochs=1)
        assert said() == []


class TestNextCommands:
    def test_a_logger_that_fails_costs_its_command_alone(self, tmp_path):
        class Failing(TensorBoardLogger):
            @property
            def log_dir(self):
                raise OSError("gone")

        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(0))
        assert next_commands(store, [Failing(tmp_path)]) == [f"rra-monitor report {tmp_path}"]

    def test_a_directory_that_does_not_answer_is_not_waited_for(self, tmp_path, monkeypatch):
        store = rra.RunStore(tmp_path)
        monkeypatch.setattr(module, "SECONDS", 0.05)
        monkeypatch.setattr(store, "probes", lambda: time.sleep(1))
        assert next_commands(store, []) == []

    def test_a_path_with_control_characters_is_not_printed(self, tmp_path):
        store = rra.RunStore(tmp_path / "a\x1b[2J")
        store.save(snapshot_of(0))
        assert next_commands(store, []) == []
