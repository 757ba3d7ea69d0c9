import re
from dataclasses import replace

import rra_monitor as rra
from rra_monitor.cli.analysis_files import pictures
from rra_monitor.cli.analyze import stored_analysis
from tests.helpers.snapshots import snapshot_of


class TestPictures:
    def test_a_probes_name_is_no_path(self, tmp_path):
        snapshot = snapshot_of(0)
        (tmp_path / "out").mkdir()
        for probe in ("../../victim/x", str(tmp_path / "owned"), "..", "a\\b", "x" * 10_000, "\x1b[2J"):
            for file in pictures([replace(snapshot, probe=probe)], tmp_path / "out"):
                assert file.parent == tmp_path / "out"
                assert re.fullmatch(r"[A-Za-z0-9_-]{1,100}-(curves|nnls|ratios)\.png", file.name)
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        assert pictures([snapshot], tmp_path)[0].name == "train-curves.png"

    def test_the_files_of_a_stored_run_are_named_after_its_folder_of_the_probe(self, tmp_path):
        run = rra.RunStore(tmp_path / "run")
        run.save(snapshot_of(0))
        assert [found.probe for found in stored_analysis(str(tmp_path / "run"))] == ["train"]
