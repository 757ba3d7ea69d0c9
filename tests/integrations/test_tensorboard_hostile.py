"""Event files of somebody else: what is wrong in one costs that tensor, or that run in the tab, and never another."""

import json
import tracemalloc

import numpy as np
import pytest
from tensorboard.util import tensor_util

import rra_monitor as rra
from rra_monitor.integrations.tensorboard.arrays import Unreadable, bounded_arrays
from rra_monitor.integrations.tensorboard.tags import described as tag_described
from rra_monitor.measure.description import described
from rra_monitor.page import budget
from tests.helpers.page_runs import array
from tests.helpers.tensorboard_records import (
    claiming,
    made_up_record,
    tensors_of,
    write_records,
    write_tensor,
    write_tensors,
)
from tests.helpers.tensorboard_server import InProcess

MOMENT = b'{"schema": 1, "kind": "moment"}'

(OWN,) = described([rra.Quantity("mine")], made_up_record(0).snapshots["train"].settings)

DESCRIPTIONS = [
    *(("curves", {"chances": "x"}), ("curves", {"chances": {"nnls": "x"}}), ("curves", {"chances": {"nncs": 1e400}})),
    *(("curves", {"n": "x"}), ("curves", {"n": True}), ("curves", {"n": 10**400}), ("curves", {"n": 3.0})),
    *(("curves", {"k": None}), ("curves", {"k": 0}), ("curves", {"k": 50}), ("curves", {"classes": [1]})),
    *(("curves", {"layers": [0, 1, 2]}), ("curves", {"layers": [None] * 3}), ("curves", {"layers": "abc"})),
    *(("curves", {"layers": ["a", "b", "a"]}), ("curves", {"layers": ["a", "b", "c\x1b[2J"]})),
    *(("curves", {"layers": ["a", "b", "c" * 5000]}), ("curves", {"layers": ["a", "b", "\ud800"]})),
    *(("curves", {"views": [["full"]]}), ("curves", {"name": 5}), ("curves", {"name": ""})),
    *(
        ("nnls", {"rows": [0, 1, 2]}),
        ("nnls", {"views": None}),
        ("nnls", {"columns": ["a", "b"]}),
        ("nnls", {"name": 5}),
    ),
]

QUANTITIES = ["x", [5], [{"name": "mine"}], [OWN | {"name": "id"}], [OWN, OWN], [OWN | {"title": "a\x1b"}]]

MOMENTS = [[1e15, 1, 0.1], [-5, 1, 0.1], [1e300, 1, 0.1], [np.inf, 1, 0.1], [np.nan, 1, 0.1], [0.5, 1, 0.1], [1.0, 2.0]]

FINDING = {"kind": "id_peak", "probe": "train", "layers": ["a"], "sentence": "s", "confidence": 1.0, "values": {"a": 1}}

FINDINGS = [
    *({"sentence": 5}, {"sentence": None}, {"sentence": "a" * 20_000}, {"kind": 5}, {"probe": None}, {"layers": [5]}),
    *({"confidence": "x"}, {"confidence": float("nan")}, {"values": [1]}, {"values": {"a": "x"}}, {"values": None}),
]


def answers(folder):
    """The answers on a folder with one good run, which is whole whatever the run beside it holds."""
    write_records(folder / "good", [made_up_record(0)])
    asked = InProcess(folder)
    status, good = asked.run("good")
    assert status == 200
    assert good["notes"] == []
    expected = np.float32(made_up_record(0).snapshots["train"].id)
    np.testing.assert_array_equal(array(good["probes"]["train"]["curves"]["id"])[0, 0], expected)
    return asked


def changed(kind, change):
    """The tensors of a record with another description of one kind."""
    tensors = []
    for tag, content, values in tensors_of(made_up_record(0)):
        about = json.loads(content)
        if about["kind"] == kind:
            for probe in about["probes"]:
                probe.update(change)
            content = json.dumps(about).encode()
        tensors.append((tag, content, values))
    return tensors


@pytest.mark.parametrize("found", QUANTITIES, ids=lambda found: json.dumps(found)[:40])
@pytest.mark.parametrize("kind", ["curves", "nnls"])
def test_tensorboard_tab_leaves_out_quantities_that_none_can_be(kind, found, tmp_path):
    tensors = []
    for tag, content, values in tensors_of(made_up_record(0)):
        about = json.loads(content)
        if about["kind"] == kind:
            content = json.dumps(about | {"quantities": found}).encode()
        tensors.append((tag, content, values))
    write_tensors(tmp_path / "odd", tensors)
    status, found = answers(tmp_path).run("odd")
    if kind == "curves":
        assert status == 422
        assert "quantit" in found
    else:
        assert (status, found["probes"]["train"]["matrices"]) == (200, {})
        assert "quantit" in found["notes"][0]


def with_values(name, values):
    """The tensors of a record with other values under the tags that begin with a name."""
    return [
        (tag, content, values if tag.startswith(f"rra/{name}") else own)
        for tag, content, own in tensors_of(made_up_record(0))
    ]


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a":' * 100_000, b'{"schema": [[1]]}', b'{"schema": 1}', b"\xff"]
)
def test_tensorboard_tab_shows_every_other_run_beside_an_odd_description(content, tmp_path):
    write_tensor(tmp_path / "bad", "rra/moment", content, np.zeros(3))
    found = answers(tmp_path).runs()
    assert [run["name"] for run in found["runs"]] == ["good"]
    assert "bad: rra/moment is left out" in found["message"]
    assert len(found["message"]) < 500


@pytest.mark.parametrize(("kind", "change"), DESCRIPTIONS, ids=lambda value: str(value)[:30])
def test_tensorboard_tab_leaves_out_what_a_description_can_not_mean(kind, change, tmp_path):
    write_tensors(tmp_path / "bad", changed(kind, change))
    status, found = answers(tmp_path).run("bad")
    if kind == "curves":
        assert status == 422
        assert "run 'bad' has no snapshot that can be read" in found
        assert "rra/curves/" in found
    else:
        assert status == 200
        assert found["probes"]["train"]["matrices"] == {}
        assert len(found["notes"]) == 1
        assert found["notes"][0].startswith("rra/nnls_self/")


@pytest.mark.parametrize("values", MOMENTS, ids=str)
def test_tensorboard_tab_leaves_out_a_moment_that_is_none(values, tmp_path):
    write_tensors(tmp_path / "bad", with_values("moment", np.array(values)))
    status, found = answers(tmp_path).run("bad")
    assert status == 422
    assert "the snapshot at step 0 is left out: " in found


@pytest.mark.parametrize("change", FINDINGS, ids=lambda value: str(value)[:30])
def test_tensorboard_tab_leaves_out_findings_that_are_none(change, tmp_path):
    write_tensors(tmp_path / "bad", with_values("findings", json.dumps([FINDING, FINDING | change])))
    status, found = answers(tmp_path).run("bad")
    assert status == 200
    assert found["frames"][0]["findings"] == []
    assert found["notes"][0].startswith("the list of findings at step 0 is left out: ")


@pytest.mark.parametrize("text", ["[" * 100_000, "null", "{}", "[[]]", '"x"', "5"])
def test_tensorboard_tab_reads_a_run_whose_findings_are_no_list(text, tmp_path):
    write_tensors(tmp_path / "bad", with_values("findings", text))
    status, found = answers(tmp_path).run("bad")
    assert status == 200
    assert found["frames"][0]["findings"] == []


@pytest.mark.parametrize(
    ("name", "values"),
    [("curves", 7.0), ("curves", -np.inf), ("nnls_self", 1e30), ("nnls_self", -1.0), ("curves", "x"), ("curves", 0)],
)
def test_tensorboard_tab_leaves_out_values_that_can_not_be(name, values, tmp_path):
    own = next(values for tag, _, values in tensors_of(made_up_record(0)) if tag.startswith(f"rra/{name}"))
    odd = values if isinstance(values, str) else np.full(own.shape, values)
    write_records(tmp_path / "bad", [made_up_record(0)])
    tensors = [(tag, c, odd if tag.startswith(f"rra/{name}") else v) for tag, c, v in tensors_of(made_up_record(1))]
    write_tensors(tmp_path / "bad", tensors, step=1)
    status, found = answers(tmp_path).run("bad")
    assert status == 200
    assert len(found["notes"]) == 1
    assert f"rra/{name}" in found["notes"][0]
    assert "at step 1 is left out: it is not as described: " in found["notes"][0]
    probe = found["probes"]["train"]
    shown = probe["curves"]["id"] if name == "curves" else probe["matrices"]["self"]["values"]
    assert np.isnan(array(shown)).all(axis=tuple(range(1, array(shown).ndim))).tolist() == [False, True]


@pytest.mark.parametrize("shape", [(1 << 30,), (1 << 31, 1 << 31), (1 << 62, 4), (-1,), (7, 1, 1, 3)], ids=str)
@pytest.mark.parametrize("name", ["moment", "curves", "nnls_self", "findings"])
def test_tensorboard_tab_makes_no_array_that_a_file_does_not_hold(name, shape, tmp_path):
    write_tensors(tmp_path / "bad", with_values(name, claiming(*shape)))
    asked = answers(tmp_path)
    tracemalloc.start()
    status, found = asked.run("bad")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
    assert status == (422 if name in ("moment", "curves") else 200)
    assert "left out" in str(found)


def test_tensorboard_tab_loses_one_tensor_to_one_that_can_not_be_converted(tmp_path):
    write_records(tmp_path / "bad", [made_up_record(step) for step in range(3)])
    cut = with_values("nothing", None)
    cut = [(tag, content, _cut(values) if tag.startswith("rra/curves") else values) for tag, content, values in cut]
    write_tensors(tmp_path / "bad", cut, step=3)
    status, found = answers(tmp_path).run("bad")
    assert status == 200
    assert [frame["step"] for frame in found["frames"]] == [0, 1, 2, 3]
    known = ~np.isnan(array(found["probes"]["train"]["curves"]["id"])).all(axis=(1, 2))
    assert known.tolist() == [True, True, True, False]
    assert "at step 3 is left out" in found["notes"][0]


def _cut(values):
    tensor = tensor_util.make_tensor_proto(values)
    tensor.tensor_content = tensor.tensor_content[:-3]
    return tensor


def test_arrays_are_bounded_while_ours_are_read_and_at_no_other_time():
    with bounded_arrays():
        assert isinstance(tensor_util.make_ndarray(claiming(1000)), Unreadable)
        assert tensor_util.make_ndarray(tensor_util.make_tensor_proto(np.arange(3.0))).tolist() == [0, 1, 2]
        assert tensor_util.make_ndarray(tensor_util.make_tensor_proto("text")).item() == b"text"
    assert tensor_util.make_ndarray(claiming(1000)).shape == (1000,)


def test_tensorboard_tab_shows_the_newest_of_moments_with_other_layers_each_in_bounded_memory(tmp_path):
    records = (made_up_record(step, layers=[f"s{step}l{layer}" for layer in range(10)]) for step in range(300))
    write_records(tmp_path / "run", records)
    size = sum(file.stat().st_size for file in (tmp_path / "run").iterdir())
    asked = InProcess(tmp_path)
    tracemalloc.start()
    status, found = asked.run("run")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert status == 200
    assert peak < 10 * size + 200e6
    steps = [frame["step"] for frame in found["frames"]]
    assert 10 < len(steps) < 300
    assert steps == list(range(300))[-len(steps) :]
    assert found["notes"][0].startswith(f"the newest {len(steps)} of 300 snapshots are shown")
    newest = array(found["probes"]["train"]["matrices"]["self"]["values"])[-1, 0]
    expected = made_up_record(299, layers=range(10)).snapshots["train"].nnls
    np.testing.assert_allclose(newest[:10, :10], expected, atol=1e-4)
    assert np.isnan(newest[10:]).all()


@pytest.mark.parametrize("probes", [1000, 1], ids=["probes", "metrics"])
def test_tensorboard_tab_takes_bounded_memory_for_many_small_arrays(probes, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "SPARE", budget.SPARE // 10)
    about = {"n": 50, "k": 5, "classes": 5, "chances": {"nnls": 0.1}, "views": ["full"]}
    metrics = ["id", "nncs"] if probes > 1 else [f"nnls_{number}" for number in range(1000)]
    axes = {"layers": ["a"], "curves": metrics}
    several = [{"name": f"p{number}"} | about | axes for number in range(probes)]
    content = json.dumps({"schema": 1, "kind": "curves", "metrics": metrics, "probes": several}).encode()
    values = np.full((len(metrics), probes, 1, 1), 0.5, np.float32)
    moments = [("rra/curves", content, values), ("rra/moment", MOMENT, np.array([1.0, 0.5, 0.1]))]
    write_tensors(tmp_path / "run", moments, more=range(1, 40))
    size = sum(file.stat().st_size for file in (tmp_path / "run").iterdir())
    asked = InProcess(tmp_path)
    tracemalloc.start()
    status, found = asked.run("run")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert status == 200
    assert peak < 10 * size + 200e6 // 10
    assert [frame["step"] for frame in found["frames"]] == list(range(40))[-len(found["frames"]) :]
    assert 10 < len(found["frames"]) < 40


@pytest.mark.slow
def test_tensorboard_tab_shows_5000_moments_in_bounded_memory(tmp_path):
    layers = [f"layer{number}" for number in range(13)]
    write_records(tmp_path / "run", (made_up_record(step, ["prev"], layers=layers) for step in range(5000)))
    size = sum(file.stat().st_size for file in (tmp_path / "run").iterdir())
    asked = InProcess(tmp_path)
    tracemalloc.start()
    status, found = asked.run("run")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert status == 200
    assert peak < 10 * size + 200e6
    assert found["notes"] == []
    assert [frame["step"] for frame in found["frames"]] == list(range(5000))
    assert array(found["probes"]["train"]["matrices"]["prev"]["values"]).shape == (5000, 1, 13, 13)


@pytest.mark.parametrize("estimator", ["twonn", None, 5, ["ml"]])
def test_tensorboard_tab_leaves_out_an_estimator_that_none_can_be(estimator):
    tensors = {tag: content for tag, content, _ in tensors_of(made_up_record(0))}
    about = json.loads(next(content for content in tensors.values() if json.loads(content)["kind"] == "curves"))
    about["probes"][0]["estimator"] = "censored"
    titles = {one.title for one in tag_described(json.dumps(about).encode())["quantities"]}
    assert "Intrinsic dimension (censored)" in titles
    about["probes"][0]["estimator"] = estimator
    with pytest.raises(ValueError, match=r"expected one of .ml., .regression., .censored."):
        tag_described(json.dumps(about).encode())
    # Earlier versions wrote none.
    del about["probes"][0]["estimator"]
    assert tag_described(json.dumps(about).encode())["probes"][0]["estimator"] == "ml"
