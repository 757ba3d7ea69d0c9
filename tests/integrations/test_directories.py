from types import SimpleNamespace

import pytest
import torch

import rra_monitor as rra
from rra_monitor.integrations import directories, opening
from rra_monitor.integrations.lightning import RRACallback
from tests.helpers.training import Classifier, epochs, fit


@pytest.fixture(scope="module")
def foreign(digits, sample, tmp_path_factory):
    """A run of one's own, and a checkpoint of somebody else's whose callback state can be changed."""
    root = tmp_path_factory.mktemp("foreign")
    fit(digits, root / "own", [RRACallback({"train": sample}, layers=["input"])], epochs=2)
    trainer = fit(digits, root / "first", [RRACallback({"train": sample}, layers=["input"])], epochs=1)
    trainer.save_checkpoint(root / "first.ckpt")
    return root, torch.load(root / "first.ckpt", weights_only=True)


class TestRRACallbackDirectory:
    @pytest.mark.parametrize(
        "place", ["{}/own/rra", "{}/mine/../own/rra", "http://localhost:1/x?delete=1", "memory://own", "~/x", 5]
    )
    def test_a_checkpoint_does_not_choose_the_directory_of_its_run(
        self, digits, tmp_path, sample, foreign, place, monkeypatch
    ):
        root, held = foreign
        (key,) = (key for key in held["callbacks"] if "RRACallback" in key)
        named = place.format(root) if isinstance(place, str) else place
        torch.save(held | {"callbacks": {key: {"dirpath": named}}}, tmp_path / "foreign.ckpt")
        own = {path: path.read_bytes() for path in (root / "own").rglob("*") if path.is_file()}
        opened = []
        monkeypatch.setattr(opening, "RunStore", lambda path, *keep: opened.append(path) or rra.RunStore(path, *keep))
        again = RRACallback({"train": sample}, layers=["input"])
        with pytest.warns(UserWarning, match=r"is neither below default_root_dir .* nor below a logger's save_dir"):
            fit(digits, tmp_path, [again], epochs=2, ckpt_path=tmp_path / "foreign.ckpt")
        assert opened == [again.store.path]
        assert again.store.path == str(tmp_path / "rra")
        assert epochs(again.store) == [1, 2]
        assert {path: path.read_bytes() for path in (root / "own").rglob("*") if path.is_file()} == own

    @pytest.mark.parametrize(
        ("path", "allowed"),
        [
            ("/root_dir/rra", True),
            ("/root_dir/a/b/rra", True),
            ("/root_dir", False),
            ("/root_dir2/rra", False),
            ("/root_dir/../rra", False),
            ("rra", False),
            ("~/rra", False),
            ("/logs/run/version_0/rra", True),
            ("file:///logs/run/rra", True),
            ("s3://bucket/logs/run/rra", True),
            ("s3://bucket/logs2/run/rra", False),
            ("s3://bucket/logs/../other/rra", False),
            ("s3://bucket/logs//rra", False),
            ("s3://other/logs/run/rra", False),
            ("gs://bucket/logs/run/rra", False),
            ("s3://bucket/logs/x::http://localhost/y", False),
            ("simplecache::/root_dir/rra", False),
            ("/root_dir/a\x1b[2J", False),
            ("/root_dir/\0", False),
            (None, False),
            (["/root_dir/rra"], False),
        ],
    )
    def test_a_directory_of_a_checkpoint_lies_below_one_of_the_trainers(self, path, allowed):
        loggers = [SimpleNamespace(save_dir=place) for place in ("/logs", "s3://bucket/logs/", None)]
        trainer = SimpleNamespace(default_root_dir="/root_dir", loggers=loggers)
        assert directories.lies_where_the_trainer_writes(path, trainer) is allowed

    def test_a_directory_of_a_checkpoint_is_not_reached_by_a_link(self, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
        trainer = SimpleNamespace(default_root_dir=str(tmp_path / "root"), loggers=[])
        assert not directories.lies_where_the_trainer_writes(str(tmp_path / "root" / "link" / "rra"), trainer)

    def test_a_directory_with_a_finished_run_is_left_alone(self, digits, tmp_path, sample):
        callbacks = [RRACallback(probes={"train": sample}, dirpath=tmp_path / "run") for _ in range(2)]
        fit(digits, tmp_path, callbacks[:1], epochs=1)
        before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
        fit(digits, tmp_path, callbacks[1:], epochs=1)
        assert callbacks[1]._fit.run.claim.remarks == [
            f"{tmp_path}/run is left alone: it holds a run that is finished",
            f"this run is stored in {tmp_path}/run-1",
        ]
        assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
        assert epochs(callbacks[1].store) == [0, 1]
        assert callbacks[1].store.path == str(tmp_path / "run-1")

    def test_a_job_that_ends_before_its_first_checkpoint_starts_again_ten_times(self, digits, tmp_path, sample):
        class Ending(Classifier):
            def on_train_epoch_end(self):
                raise RuntimeError("out of luck")

        for _ in range(10):
            callback = RRACallback({"train": sample}, layers=["input"], dirpath=tmp_path / "run")
            with pytest.raises(RuntimeError, match="out of luck"):
                fit(digits, tmp_path, [callback], epochs=2, module=Ending())
            assert callback.store.path == str(tmp_path / "run")
            assert epochs(callback.store) == [0, 1]
            assert len((tmp_path / "run" / "records.jsonl").read_text().splitlines()) == 2
        assert len(list((tmp_path / "run" / "set-aside").iterdir())) == 9

    def test_two_fits_at_once_in_one_process_have_two_directories(self, digits, tmp_path, sample):
        outer, inner = (RRACallback({"train": sample}, layers=["input"]) for _ in range(2))

        class Nesting(Classifier):
            def on_train_epoch_start(self):
                if self.current_epoch == 0:
                    fit(digits, tmp_path, [inner], epochs=1)

        fit(digits, tmp_path, [outer], epochs=1, module=Nesting())
        assert inner._fit.run.claim.remarks[0].startswith(f"{tmp_path}/rra is left alone: process ")
        assert [one.store.path for one in (outer, inner)] == [str(tmp_path / "rra"), str(tmp_path / "rra-1")]
        assert epochs(outer.store) == epochs(inner.store) == [0, 1]

    @pytest.mark.parametrize("lacks", ["name", "version", "save_dir"])
    def test_a_logger_without_a_name_or_place_does_not_decide_where_a_run_is_stored(self, lacks):
        logger = SimpleNamespace(**({"name": "n", "version": 3, "save_dir": "/logs"} | {lacks: None}))
        trainer = SimpleNamespace(loggers=[logger], default_root_dir="/root_dir")
        expected = {"name": "/logs/version_3/rra", "version": "/logs/n/rra", "save_dir": "/root_dir/n/version_3/rra"}
        assert directories.default_directory(trainer) == expected[lacks]

    @pytest.mark.parametrize("breaks", ["name", "version", "save_dir"])
    def test_a_logger_that_fails_costs_its_directory_alone(self, breaks):
        class Failing:
            name, version, save_dir = "n", 3, "/logs"

        def failing(self):
            raise ConnectionError("network is down")

        setattr(Failing, breaks, property(failing))
        trainer = SimpleNamespace(loggers=[Failing()], default_root_dir="/root_dir")
        with pytest.warns(UserWarning, match=r"Failing does not say where .*network is down.*below /root_dir"):
            assert directories.default_directory(trainer) == "/root_dir/rra"
        assert directories.lies_where_the_trainer_writes("/root_dir/rra", trainer)

    def test_without_a_logger_each_run_has_its_own_directory(self, digits, tmp_path, sample):
        for _ in range(2):
            fit(digits, tmp_path, [RRACallback(probes={"train": sample})], epochs=1)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["rra", "rra-1"]

    def test_fast_dev_run_leaves_nothing(self, digits, tmp_path, sample):
        fit(digits, tmp_path, [RRACallback(probes={"train": sample}, on_error="raise")], fast_dev_run=True, logger=True)
        assert not list(tmp_path.rglob("*.safetensors"))
