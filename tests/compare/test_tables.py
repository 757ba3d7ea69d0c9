import csv
import json

import rra_monitor as rra
from rra_monitor.compare.tables import write_csv, write_json
from tests.helpers.digit_runs import stored
from tests.helpers.snapshots import snapshot_of


class TestTables:
    def test_a_name_that_a_spreadsheet_would_compute_is_text(self, tmp_path):
        names = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "layer1.0"]
        write_csv(tmp_path / "t.csv", ({"layer": name, "id": -1.5} for name in names))
        rows = list(csv.DictReader((tmp_path / "t.csv").open(newline="")))
        assert [row["layer"] for row in rows] == [*(f"'{name}" for name in names[:-1]), "layer1.0"]
        assert {row["id"] for row in rows} == {"-1.5"}

    def test_halves_of_surrogate_pairs_are_written_and_come_back(self, tmp_path):
        content = {"runs": ["a\udcff", "\ud800"]}
        assert json.loads(write_json(tmp_path / "t.json", content).read_text(encoding="utf-8")) == content
        assert write_csv(tmp_path / "t.csv", [content]).read_text(encoding="utf-8")


class TestWriteTables:
    def test_a_table_without_rows_has_no_file_not_even_an_older_one(self, tmp_path):
        (tmp_path / "nnls.csv").write_text("of an earlier comparison")
        comparison = rra.compare_runs({"A": [stored(tmp_path / "run", snapshot_of(0))]})
        names = [file.name for file in rra.write_tables(comparison, tmp_path)]
        assert names == ["curves.csv", "within_run.csv", "comparison.json"]
        assert not (tmp_path / "nnls.csv").exists()
