import warnings
from unittest.mock import Mock

import pytest
import pytorch_lightning
import wandb
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.integrations.loggers import LoggerSink, logger_sinks
from rra_monitor.integrations.tensorboard.sink import TensorBoardSink
from rra_monitor.integrations.wandb.sink import WandbSink
from rra_monitor.runs.sinks import FanOut
from tests.helpers.training import Classifier, fit
from tests.helpers.wandb_files import offline_runs
from tests.helpers.wandb_runs import records, wandb_logger

pytestmark = pytest.mark.usefixtures("wandb_offline", "wandb_finished")


class TestLoggerSinks:
    def test_loggers_of_both_packages_and_subclasses_are_recognised(self, tmp_path):
        class Mine(WandbLogger):
            pass

        class CometLogger:
            pass

        loggers = [
            wandb_logger(tmp_path, "one", Mine),
            TensorBoardLogger(tmp_path),
            CometLogger(),
            wandb_logger(tmp_path, "two", pytorch_lightning.loggers.WandbLogger),
        ]
        sinks = logger_sinks(loggers)
        wandb.finish()
        assert [type(sink) for sink in sinks] == [WandbSink, TensorBoardSink, LoggerSink, WandbSink]

    def test_a_training_of_the_other_package_logs_the_same(self, digits, tmp_path, sample):
        logger = wandb_logger(tmp_path, "other", pytorch_lightning.loggers.WandbLogger)

        class Module(pytorch_lightning.LightningModule):
            forward, configure_optimizers = Classifier.forward, Classifier.configure_optimizers
            training_step, validation_step = Classifier.training_step, Classifier.validation_step

            def __init__(self):
                super().__init__()
                mine = Classifier()
                self.net, self.steps = mine.net, 0

        fit(
            digits,
            tmp_path,
            [RRACallback({"train": sample})],
            1,
            module=Module(),
            kind=pytorch_lightning,
            logger=logger,
        )
        wandb.finish()
        (run,) = offline_runs(tmp_path)
        assert [row["rra/epoch"] for row in run.rows("rra/train/id_peak")] == [0, 1]
        assert len(run.rows("rra/table")) == 1

    def test_a_failing_run_is_reported_once_and_the_others_go_on(self, tmp_path):
        run = Mock(log=Mock(side_effect=RuntimeError("the disk is full")))
        store = rra.RunStore(tmp_path / "run")
        sinks = FanOut([WandbSink(run), rra.JSONLSink(store)])
        first, *others = records(3, probes=("train",))
        with pytest.warns(UserWarning, match=r"WandbSink failed and is not reported again.*disk is full"):
            sinks.write(first)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for record in others:
                sinks.write(record)
            sinks.close()
        assert run.log.call_count == 4
        assert len((tmp_path / "run" / "records.jsonl").read_text().splitlines()) == 3

    @pytest.mark.parametrize("kind", ["WandbLogger", "TensorBoardLogger", "Other"])
    def test_a_logger_that_fails_is_reported_once_and_costs_its_own_values(self, digits, tmp_path, sample, kind):
        class Cutting(Callback):
            def on_train_start(self, trainer, pl_module):
                type(logger).down = True

        def experiment(self):
            if self.down:
                raise ConnectionError("network is down")

        def log_metrics(self, metrics, step=None):
            if any(key.startswith("rra") for key in metrics):
                raise ConnectionError("network is down")

        fields = {"experiment": property(experiment), "log_metrics": log_metrics, "log_hyperparams": lambda *_: None}
        fields["down"] = False
        logger = type(kind, (Logger,), fields | {"name": "n", "version": "v", "save_dir": str(tmp_path)})()
        callback = RRACallback({"train": sample}, layers=["input"], on_error="raise")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit(digits, tmp_path, [Cutting(), callback], 2, logger=logger)
        said = [str(one.message) for one in caught if "network is down" in str(one.message)]
        assert len(said) == 1, said
        assert said[0].startswith({"WandbLogger": "WandbSink", "TensorBoardLogger": "TensorBoardSink"}.get(kind, kind))
        assert callback.store.steps("train") == (0, 4, 8)

    def test_a_run_that_was_finished_too_early_costs_the_training_nothing(self, digits, tmp_path, sample):
        class Finishing(RRACallback):
            def on_train_epoch_end(self, trainer, pl_module):
                trainer.logger.experiment.finish()
                super().on_train_epoch_end(trainer, pl_module)

        module, callback = Classifier(), Finishing({"train": sample}, on_error="raise")
        module.log = lambda *arguments, **options: None
        with pytest.warns(UserWarning, match="WandbSink failed"):
            fit(digits, tmp_path, [callback], 2, module=module, logger=wandb_logger(tmp_path, "finished"))
        assert callback.store.steps("train") == (0, 4, 8)


def test_loggers_are_recognised_by_name_through_their_bases():
    class TensorBoardLogger:  # of another package
        experiment = None

    class Custom(TensorBoardLogger):
        pass

    class DummyLogger:
        pass

    class CometLogger:
        def log_metrics(self, metrics, step):
            pass

    sinks = logger_sinks([Custom(), DummyLogger(), CometLogger()])
    assert [type(sink) for sink in sinks] == [TensorBoardSink, LoggerSink]
