import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import wandb

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.integrations.loggers import logger_sinks
from rra_monitor.integrations.wandb.references import reference_path
from rra_monitor.integrations.wandb.sink import WandbSink
from tests.helpers.remedies import refusal
from tests.helpers.training import Classifier, fit
from tests.helpers.wandb_files import offline_runs
from tests.helpers.wandb_runs import wandb_logger

pytestmark = pytest.mark.usefixtures("wandb_offline", "wandb_finished")


class TestWandbSinkArtifacts:
    def test_artifact_is_a_directory_that_a_store_reads(self, digits, tmp_path, sample):
        callback = RRACallback(probes={"train": sample}, artifacts=True)
        fit(digits, tmp_path, [callback], 2, logger=wandb_logger(tmp_path, "kept"))
        wandb.finish()
        (run,) = offline_runs(tmp_path)
        (artifact,) = (artifact for artifact in run.artifacts if artifact.type == "rra-snapshot")
        assert artifact.name == "rra-kept"
        assert set(artifact.aliases) == {"latest", "epoch-2"}
        assert json.loads(artifact.metadata) == {"epoch": 2, "step": 8}
        for entry in artifact.manifest.contents:
            target = tmp_path / "downloaded" / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(entry.local_path).read_bytes())
        copy = rra.RunStore(tmp_path / "downloaded")
        assert copy.steps("train") == callback.store.steps("train") == (0, 4, 8)
        np.testing.assert_array_equal(copy.load("train", 8).nnls, callback.store.load("train", 8).nnls)
        assert copy.graph_steps("train") == (0, 4, 8)

    @pytest.mark.parametrize(
        ("store", "options", "words"),
        [
            (None, {"artifacts": True}, "artifacts of no store; they need a RunStore in a local directory"),
            (rra.RunStore("memory://run"), {"artifacts": True}, r"artifacts of memory://run"),
            (None, {"every": 0}, "every=0; expected 1 snapshot or more"),
        ],
    )
    def test_artifacts_without_a_local_store_are_refused(self, store, options, words):
        with pytest.raises(ValueError, match=words):
            WandbSink(None, store, **options)

    def test_artifacts_need_a_wandb_logger(self, digits, tmp_path, sample):
        module = Classifier()
        with refusal("no logger has artifacts; add a WandbLogger, or pass artifacts=False"):
            fit(digits, tmp_path, [RRACallback({"train": sample}, artifacts=True)], module=module)
        assert module.steps == 0
        # With a logger: test_artifact_is_a_directory_that_a_store_reads.
        assert logger_sinks([], rra.RunStore(tmp_path / "run"), artifacts=False) == []


class TestReferencePath:
    @pytest.fixture
    def online(self, monkeypatch):
        """The network API, which alone is a stand-in; it knows one artifact."""
        api = Mock()
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setattr(wandb, "Api", lambda: api)
        return api

    def test_an_artifact_is_downloaded_and_compared(self, digits, tmp_path, sample, online):
        first = RRACallback(probes={"train": sample})
        fit(digits, tmp_path / "a", [first], 1)
        online.artifact.return_value.download.return_value = first.store.path
        second = RRACallback(probes={"train": sample}, references={"seed0": "wandb:me/mine/rra-a:latest"})
        fit(digits, tmp_path / "b", [second], 1)
        online.artifact.assert_called_once_with("me/mine/rra-a:latest", type="rra-snapshot")
        assert second.store.matches("train", 4)["ref-seed0"].epoch == 1

    @pytest.mark.parametrize("address", ["wandb:mine/rra-a:latest", "wandb:me/mine/rra-a", "wandb:", "wandb:a/b/c/d:e"])
    def test_reference_path_refuses_an_incomplete_address(self, address, online):
        with pytest.raises(ValueError, match=r"expected wandb:<entity>/<project>/<artifact>:<alias>"):
            reference_path(address)
        online.artifact.assert_not_called()

    @pytest.mark.parametrize("mode", ["offline", "dryrun", "disabled"])
    def test_reference_path_refuses_an_artifact_offline(self, mode, online, monkeypatch):
        monkeypatch.setenv("WANDB_MODE", mode)
        with pytest.raises(ValueError, match=rf"W&B is {mode} \(WANDB_MODE\); download it where there is"):
            reference_path("wandb:me/mine/rra-a:latest")
        online.artifact.assert_not_called()

    def test_an_error_of_the_network_is_a_refusal_before_training(self, digits, tmp_path, sample, online):
        online.artifact.side_effect = wandb.errors.CommError("no such project")
        module = Classifier()
        callback = RRACallback(probes={"train": sample}, references={"seed0": "wandb:me/mine/rra-a:latest"})
        with pytest.raises(ValueError, match=r"wandb:me/mine/rra-a:latest cannot be downloaded .*no such project"):
            fit(digits, tmp_path, [callback], module=module)
        assert module.steps == 0
        assert not (tmp_path / "rra").exists()

    def test_reference_path_leaves_other_paths_as_they_are(self, tmp_path):
        assert reference_path(tmp_path) == str(tmp_path)
        assert reference_path("s3://bucket/wandb:run") == "s3://bucket/wandb:run"
