from types import SimpleNamespace

import pytest
import torch

import rra_monitor as rra
from rra_monitor.integrations import directories, lightning
from rra_monitor.integrations.lightning import RRACallback
from tests.helpers.training import epochs, fit


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
        monkeypatch.setattr(lightning, "RunStore", lambda path, *keep: opened.append(path) or rra.RunStore(path, *keep))
        again = RRACallback({"train": sample}, layers=["input"])
        with pytest.warns(UserWarning, match=r"is neither below default_root_dir .* nor below a logger's save_dir"):
            fit(digits, tmp_path, [again], epochs=2, ckpt_path=tmp_path / "foreign.ckpt")
        assert opened == ["memory://", again.store.path]  # the first to check an option
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

    def test_a_directory_with_an_earlier_run_is_refused(self, digits, tmp_path, sample):
        fit(digits, tmp_path, [RRACallback(probes={"train": sample}, dirpath=tmp_path / "run")], epochs=1)
        with pytest.raises(ValueError, match=r"snapshots of an earlier run.*another dirpath"):
            fit(digits, tmp_path, [RRACallback(probes={"train": sample}, dirpath=tmp_path / "run")], epochs=1)

    def test_without_a_logger_each_run_has_its_own_directory(self, digits, tmp_path, sample):
        for _ in range(2):
            fit(digits, tmp_path, [RRACallback(probes={"train": sample})], epochs=1)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["rra", "rra-1"]

    def test_fast_dev_run_leaves_nothing(self, digits, tmp_path, sample):
        fit(digits, tmp_path, [RRACallback(probes={"train": sample}, on_error="raise")], fast_dev_run=True, logger=True)
        assert not list(tmp_path.rglob("*.safetensors"))
