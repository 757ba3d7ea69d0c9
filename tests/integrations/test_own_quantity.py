import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch.loggers import TensorBoardLogger

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.page.payload import run_payload
from rra_monitor.page.series import stored_series
from tests.helpers.page_runs import array
from tests.helpers.tensorboard_server import InProcess
from tests.helpers.training import fit
from tests.helpers.wandb_files import offline_runs
from tests.helpers.wandb_runs import wandb_logger

pytestmark = pytest.mark.usefixtures("wandb_offline", "wandb_finished")


def test_a_quantity_of_ten_lines_is_everywhere(digits, tmp_path):
    # What a user writes.
    def label_spread(graph, labels):
        return float(np.mean([len(set(labels[row])) for row in graph.indices])) / graph.k

    own = rra.Quantity("label_spread", label_spread, title="Spread of labels", symbol="LS", low=0, high=1)
    callback = RRACallback(n=100, layers=["input", "net.*"], k=5, quantities=[own], on_error="raise")

    torch.manual_seed(0)
    loggers = [TensorBoardLogger(tmp_path, name="tb", version="v"), wandb_logger(tmp_path, "w")]
    fit(digits, tmp_path, [callback], logger=loggers, epochs=2)
    wandb.finish()

    store = rra.RunStore(callback.store.path)
    last = store.load("train", store.steps("train")[-1])
    curve = last.curves["label_spread"]
    expected = [label_spread(last.graphs[layer], last.settings.labels) for layer in last.layers]
    np.testing.assert_array_equal(curve, expected)

    line = json.loads(Path(store.path, "records.jsonl").read_text().splitlines()[-1])
    assert line["probes"]["train"]["label_spread"] == expected

    payload = run_payload(stored_series(store, "run"))
    np.testing.assert_array_equal(array(payload["probes"]["train"]["curves"]["label_spread"])[-1, 0], np.float32(curve))
    title = payload["titles"]["curves"]["label_spread"]
    assert (title["title"], title["symbol"], title["choice"]) == ("Spread of labels", "LS", "LS: spread of labels")

    tab = InProcess(tmp_path / "tb")
    status, served = tab.run(tab.runs()["runs"][0]["name"])
    assert status == 200
    np.testing.assert_array_equal(array(served["probes"]["train"]["curves"]["label_spread"])[-1, 0], np.float32(curve))
    assert served["titles"]["curves"]["label_spread"] == title

    (run,) = offline_runs(tmp_path)
    table = {row[4]: row[5] for row in run.table() if row[:4] == (2, "train", "full", "label_spread")}
    assert table == pytest.approx(dict(zip(last.layers, expected, strict=True)))
    assert run.rows("rra/train/label_spread_last")[-1]["rra/train/label_spread_last"] == pytest.approx(expected[-1])

    rra.write_tables(rra.compare_runs({"A": [store.path]}, probe="train"), tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "curves.csv").open()))
    found = {row["layer"]: row["mean"] for row in rows if row["quantity"] == "label_spread" and row["epoch"] == "last"}
    assert {layer: float(value) for layer, value in found.items()} == dict(zip(last.layers, expected, strict=True))
