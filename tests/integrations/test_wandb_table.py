import dataclasses
import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.integrations.wandb.table import COLUMNS, LongTable, table_rows
from tests.helpers.snapshots import snapshot_of


def rows_of(epoch, count=10):
    return [(epoch, "train", "full", "id", f"layer{number}", 1.0) for number in range(count)]


class TestTableRows:
    def test_every_value_has_a_row_and_undefined_ones_have_none(self):
        snapshot = snapshot_of(5, epoch=2)
        snapshot = snapshot.changed(id=np.array([1.5, math.nan, 2.5]))
        other = snapshot_of(4, layers=("input", "fc"))
        rows = list(table_rows(snapshot, {"ref-a": rra.match(snapshot, other, "ref-a")}))
        assert len(COLUMNS) == len(rows[0])
        assert {row[:4] for row in rows} == {
            (2, "train", "full", "id"),
            (2, "train", "full", "nncs"),
            (2, "train", "full", "nnls_ref-a"),
        }
        values = {row[3:5]: row[5] for row in rows}
        assert values["id", "input"] == 1.5
        assert ("id", "a/b c") not in values
        assert values["nncs", "a/b c"] == snapshot.nncs[1]
        assert [layer for metric, layer in values if metric == "nnls_ref-a"] == ["input", "fc"]

    def test_a_view_that_equals_another_has_rows_of_its_own(self):
        snapshot = snapshot_of(5, layers=("input", "a", "a@avg-global", "fc"), labelled=False)
        settings = dataclasses.replace(snapshot.settings, views=("full", "avg2"))
        snapshot = dataclasses.replace(snapshot, settings=settings, aliases={"a@avg2": "a@avg-global", "fc@avg2": "fc"})
        found = {row[2:5]: row[5] for row in table_rows(snapshot, {})}
        assert found["avg2", "id", "a"] == snapshot.id[2]
        assert found["avg2", "id", "fc"] == found["full", "id", "fc"] == snapshot.id[3]
        assert len(found) == 5


class TestLongTable:
    def test_all_rows_stay_while_they_are_few(self):
        table = LongTable(max_rows=100)
        for epoch in range(10):
            table.add(epoch, rows_of(epoch))
        assert [row[0] for row in table.rows()[::10]] == list(range(10))
        assert table.count == 10

    @pytest.mark.parametrize("moments", [11, 12, 50, 333])
    def test_more_are_thinned_evenly_and_the_ends_stay(self, moments):
        table = LongTable(max_rows=100)
        for epoch in range(moments):
            table.add(epoch, rows_of(epoch))
            assert table.rows()[-1][0] == epoch
            assert len(table.rows()) <= 100
        epochs = [row[0] for row in table.rows()[::10]]
        gaps = set(np.diff(epochs[:-1]))
        assert epochs[0] == 0
        assert len(gaps) == 1
        assert len(epochs) > 5

    def test_a_moment_that_was_measured_again_replaces_itself(self):
        table = LongTable()
        for value in (1.0, 2.0):
            table.add(7, [(1, "train", "full", "id", "fc", value)])
        assert table.rows() == [(1, "train", "full", "id", "fc", 2.0)]
        assert table.count == 1
