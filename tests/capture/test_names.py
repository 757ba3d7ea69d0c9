"""Names of layers, stored and shown."""

import json

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.capture.names import displayed
from rra_monitor.cli.analyze import table
from rra_monitor.cli.compare import run_compare
from rra_monitor.figures import curves_figure, nnls_figure, ratios_figure
from rra_monitor.page.payload import run_payload
from rra_monitor.page.series import stored_series
from tests.helpers.snapshots import snapshot_of

STORED = ("input", "network.conv1", "network.layer1.0", "network.fc")
SHOWN = ["input", "conv1", "layer1.0", "fc"]


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (STORED, SHOWN),
        (("input", "model.backbone.stem", "model.backbone.head"), ["input", "stem", "head"]),
        (("network.fc",), ["fc"]),
        (("input", "layer1.0", "fc"), ["input", "layer1.0", "fc"]),
        (("input", "features.0", "features.3"), ["input", "features.0", "features.3"]),
        (("encoder.layers.0", "encoder.layers.1"), ["layers.0", "layers.1"]),
        (("layer1.0.conv1", "layer1.0.conv2"), ["layer1.0.conv1", "layer1.0.conv2"]),
        (("input", "network.input", "network.fc"), ["input", "network.input", "network.fc"]),
        ((), []),
    ],
)
def test_displayed_leaves_out_the_module_around_the_network_alone(stored, shown):
    assert list(displayed(stored)) == shown


@pytest.fixture
def wrapped():
    """A snapshot of a network within a module, in which the ID has a peak."""
    return snapshot_of(0, layers=STORED).changed(id=np.array([5.0, 40.0, 20.0, 4.0]))


def test_displayed_names_are_in_tables_pictures_sentences_and_pages_and_stored_ones_in_files(wrapped, tmp_path):
    rra.RunStore(tmp_path / "run").save(wrapped)
    assert rra.RunStore(tmp_path / "run").load("train", 0).layers == STORED
    assert [str(cell) for cell in table(wrapped).columns[0].cells] == SHOWN
    ticks = [label.get_text() for label in curves_figure(wrapped).axes[-1].get_xticklabels()]
    assert ticks == SHOWN
    heatmap = nnls_figure(wrapped, {}).axes[0]
    assert [label.get_text() for label in heatmap.get_yticklabels()] == SHOWN
    titles = [axis.get_title().split("\n")[0] for axis in ratios_figure(wrapped).axes]
    assert titles[: len(SHOWN)] == SHOWN
    finding = next(each for each in rra.findings({"train": wrapped}) if each.kind == "id_peak")
    assert finding.layers == ("network.conv1",)
    assert "peaks at conv1" in finding.sentence
    payload = run_payload(stored_series(rra.RunStore(tmp_path / "run"), "run"))
    assert payload["probes"]["train"]["layers"] == SHOWN
    assert payload["probes"]["train"]["matrices"]["self"]["rows"] == SHOWN
    assert "network." not in json.dumps([each["sentence"] for each in payload["frames"][0]["findings"]])


def test_displayed_names_are_on_both_sides_of_a_comparison(wrapped, tmp_path, capsys):
    rra.RunStore(tmp_path / "wrapped").save(wrapped)
    rra.RunStore(tmp_path / "alone").save(snapshot_of(0, layers=SHOWN, seed=1))
    run_compare([str(tmp_path / name) for name in ("wrapped", "alone")], [], None, None, str(tmp_path / "out"))
    printed = capsys.readouterr().out
    assert "layer1.0" in printed
    assert "network." not in printed
    run_compare([str(tmp_path / name) for name in ("wrapped", "alone")], [], None, None, str(tmp_path / "page.html"))
    assert "network.layer1.0" not in (tmp_path / "page.html").read_text()
