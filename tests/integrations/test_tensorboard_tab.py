"""The plugin RRA in a real TensorBoard, under both of its loaders."""

import base64
import json
import re
import shutil
from urllib.parse import quote

import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter  # noqa: TID251

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.integrations.tensorboard.notes import few
from rra_monitor.integrations.tensorboard.packed import packed_tensors
from rra_monitor.integrations.tensorboard.tab import SCHEMA
from rra_monitor.page import payload
from rra_monitor.page.assets import static_files
from rra_monitor.page.series import stored_series
from tests.helpers.tensorboard_records import claiming, made_up_record, write_records, write_tensor, write_tensors
from tests.helpers.tensorboard_server import FAST, SLOW, accepts_gzip, serving, until
from tests.helpers.training import fit

ODD = "odd <b>&\"'% ü"
ODD_LAYERS = ("input", "a/b c", "<i>&amp;", "net.0@avg2", "ü:é")


@pytest.fixture(scope="module")
def logdir(digits, tmp_path_factory):
    """A folder of runs that are good, odd and bad."""
    path = tmp_path_factory.mktemp("trainings") / "logs"
    path.mkdir()
    first = RRACallback(dirpath=path.parent / "first-store")
    fit(digits, path, [first], logger=[TensorBoardLogger(path, name="trained", version="first")], epochs=1)
    second = RRACallback(
        dirpath=path.parent / "store", views=["full", "max2", "avg-global"], references={"first": first.store.path}
    )
    fit(digits, path, [second], logger=[TensorBoardLogger(path, name="trained", version="second")], epochs=2)
    write_records(path / "many", (made_up_record(step, ["prev"]) for step in range(0, 2500, 10)))
    write_records(path / "thousand", (made_up_record(step, layers=("input", "out")) for step in range(1000)))
    write_records(path / ODD, [made_up_record(0, ["ref-my run/é"], probes=("a b",), layers=ODD_LAYERS)])
    whole = [made_up_record(step) for step in range(5)]
    write_records(path / "half", whole)
    (events,) = (path / "half").iterdir()
    events.write_bytes(events.read_bytes()[:-200])
    write_records(path / "resumed", [made_up_record(step) for step in range(6)])
    write_records(path / "resumed", [made_up_record(step, layers=("input", "new", "fc")) for step in range(4, 8)])
    write_tensor(path / "newer", "rra/moment", b'{"schema": 2, "kind": "moment"}', np.zeros(3))
    write_tensor(path / "foreign", "wh\u00e4t <ever>", b"\xff\x00", np.zeros(3))
    write_records(path / "misshapen", whole)
    content = json.dumps({"schema": 1, "kind": "moment"}).encode()
    curves = next(each.content for each in packed_tensors(whole[4]) if each.tag.startswith("rra/curves"))
    moment = np.array([8.0, 0.5, 0.25])
    tensors = [("rra/curves", curves, np.zeros((20, 1, 1, 2))), ("rra/moment", content, moment)]
    write_tensors(path / "misshapen", tensors, step=8)
    write_tensor(path / "misshapen", "rra/moment", content, np.zeros((2, 2)), step=9)
    write_tensor(path / "lone", "rra/moment", content, np.zeros(3))
    write_records(path / "huge", whole[:2])
    write_tensors(path / "huge", [("rra/curves", curves, claiming(1 << 30)), ("rra/moment", content, moment)], step=8)
    write_tensor(path / "huge", "rra/moment", content, claiming(1 << 31), step=9)
    write_tensor(path / "nested", "rra/moment", b"[" * 100_000, np.zeros(3))
    (path / "garbage").mkdir()
    (path / "garbage" / events.name).write_bytes(bytes(range(256)) * 10)
    plain = SummaryWriter(path / "plain")
    plain.add_scalar("loss", 1.0, 0)
    plain.close()
    return path


@pytest.fixture(scope="module", params=[FAST, SLOW], ids=["fast", "slow"])
def server(logdir, request):
    with serving(logdir, *request.param) as found:
        until(found.names, lambda names: {"many", "thousand", "resumed", ODD} <= set(names))
        yield found.settled()


def decoded(array):
    """An array of a payload; undefined is NaN."""
    kind = {"f4": "<f4", "u2": "<u2"}[array["type"]]
    values = np.frombuffer(base64.b64decode(array["data"]), kind).reshape(array["shape"])
    return values if array["type"] == "f4" else np.where(values == payload.UNDEFINED, np.nan, values / payload.STEPS)


def test_the_plugin_is_listed_and_enabled(server):
    about = server.json("data/plugins_listing")["rra"]
    assert about["enabled"]
    assert about["tab_name"] == "RRA"
    assert about["loading_mechanism"] == {"type": "IFRAME", "module_path": "/data/plugin/rra/tensorboard.js"}


@pytest.mark.parametrize(("name", "steps"), [("many", range(0, 2500, 10)), ("thousand", range(1000))])
def test_every_logged_step_is_served(server, name, steps):
    run = server.run(name)
    assert [frame["step"] for frame in run["frames"]] == list(steps)
    probe = run["probes"]["train"]
    for place in (0, 100, -1):
        record = made_up_record(steps[place], ["prev"], layers=probe["layers"])
        np.testing.assert_array_equal(
            decoded(probe["curves"]["id"])[place, 0], np.float32(record.snapshots["train"].id)
        )
        matrix = decoded(probe["matrices"]["self"]["values"])[place, 0]
        np.testing.assert_allclose(matrix, record.snapshots["train"].nnls, atol=1 / payload.STEPS)


def test_a_trained_run_is_the_one_that_the_store_has(server, logdir):
    stored = stored_series(rra.RunStore(logdir.parent / "store"), "trained/second")
    expected = json.loads(json.dumps(payload.run_payload(stored)))
    found = server.run("trained/second")
    assert found["notes"] == []
    assert found["frames"] == expected["frames"]
    assert len(found["frames"]) == 3
    assert list(found["probes"]) == ["train", "val"]
    for name, probe in expected["probes"].items():
        mine = found["probes"][name]
        for key in set(probe) - {"curves", "matrices"}:
            assert mine[key] == probe[key], key
        assert mine["views"] == ["full", "max2", "avg-global"]
        assert set(mine["curves"]) == set(probe["curves"]) >= {"id", "nncs", "nnls_prev", "nnls_ref-first"}
        for curve, array in probe["curves"].items():
            np.testing.assert_array_equal(decoded(mine["curves"][curve]), decoded(array), err_msg=curve)
        assert set(mine["matrices"]) == set(probe["matrices"]) == {"self", "inter", "prev", "ref-first"}
        for kind, matrix in probe["matrices"].items():
            theirs = mine["matrices"][kind]
            assert {**theirs, "values": None} == {**matrix, "values": None}
            steps = decoded(matrix["values"])
            np.testing.assert_allclose(decoded(theirs["values"]), steps, atol=1.01 / payload.STEPS, err_msg=kind)


def test_names_may_have_any_characters(server):
    run = server.run(ODD)
    assert run["name"] == ODD
    probe = run["probes"]["a b"]
    assert probe["layers"] == ["input", "a/b c", "<i>&amp;", "ü:é"]
    assert "nnls_ref-my run/é" in probe["curves"]
    assert probe["matrices"]["ref-my run/é"]["columns"] == probe["layers"]


def test_a_half_written_event_is_left_out_and_the_rest_is_served(server):
    assert [frame["step"] for frame in server.run("half")["frames"]] == [0, 1, 2, 3]


def test_what_a_resumed_training_wrote_again_replaces_what_it_had_written(server):
    run = server.run("resumed")
    assert [frame["step"] for frame in run["frames"]] == list(range(8))
    probe = run["probes"]["train"]
    assert probe["layers"] == ["input", "new", "fc", "conv"]
    curve = decoded(probe["curves"]["id"])[:, 0]
    assert np.isnan(curve[:4, 1]).all()
    assert np.isnan(curve[4:, 3]).all()
    before, after = made_up_record(3), made_up_record(4, layers=("input", "new", "fc"))
    np.testing.assert_array_equal(curve[3, [0, 3, 2]], np.float32(before.snapshots["train"].id))
    np.testing.assert_array_equal(curve[4, :3], np.float32(after.snapshots["train"].id))


def test_what_can_not_be_read_is_said_and_hides_nothing_else(server):
    runs = server.runs()
    assert {"newer", "foreign", "garbage", "plain", "nested"}.isdisjoint(run["name"] for run in runs["runs"])
    assert "newer: rra/moment is left out: schema 2, expected 1; read it with the version" in runs["message"]
    assert "nested: rra/moment is left out: not written by rra-monitor" in runs["message"]
    assert "foreign: whät <ever> is left out: not written by rra-monitor" in runs["message"]
    assert not any(name in runs["message"] for name in ("many", "garbage", "plain"))
    run = server.run("misshapen")
    assert [frame["step"] for frame in run["frames"]] == [0, 1, 2, 3, 4, 8]
    assert np.isnan(decoded(run["probes"]["train"]["curves"]["id"])).all(axis=(1, 2)).tolist() == [False] * 5 + [True]
    assert len(run["notes"]) == 2
    assert run["notes"][0].startswith("the snapshot at step 9 is left out: ")
    assert re.match("rra/curves at step 8 is left out: it is not as described: shape ", run["notes"][1])


def test_a_tensor_that_claims_a_huge_shape_is_left_out(server):
    run = server.run("huge")
    assert [frame["step"] for frame in run["frames"]] == [0, 1, 8]
    assert len(run["notes"]) == 2
    assert all("shape [" in note and "expected one that" in note for note in run["notes"])


@pytest.mark.parametrize("name", ["../../etc/passwd", "\0", "<script>alert(1)</script>", "a" * 5000, "many/", ""])
def test_a_run_of_an_odd_name_is_not_found(server, name):
    status, headers, body = server.get(f"data/plugin/rra/run?name={quote(name, safe='')}")
    assert (status, headers["X-Content-Type-Options"]) == (404, "nosniff")
    assert b"TensorBoard has no run" in body


def test_a_run_that_is_not_there_or_has_no_snapshots_is_refused_in_words(server):
    status, _, body = server.get("data/plugin/rra/run?name=none")
    assert status == 404
    assert "no run 'none'" in body.decode()
    assert "'many'" in body.decode()
    status, _, body = server.get("data/plugin/rra/run?name=lone")
    assert status == 422
    assert "run 'lone' has no snapshot that can be read" in body.decode()


def test_a_run_that_appears_or_grows_has_another_version(server, logdir, request):
    name = f"late-{request.node.callspec.id}"
    write_records(logdir / name, [made_up_record(0)])
    runs = until(lambda: {run["name"]: run["version"] for run in server.runs()["runs"]}, lambda runs: name in runs)
    first = runs[name]
    assert [frame["step"] for frame in server.run(name)["frames"]] == [0]
    write_records(logdir / name, [made_up_record(1)])
    runs = until(
        lambda: {run["name"]: run["version"] for run in server.runs()["runs"]}, lambda runs: runs[name] != first
    )
    assert runs[name] != first
    found = server.run(name, lambda run: len(run["frames"]) == 2)
    assert [frame["step"] for frame in found["frames"]] == [0, 1]
    shutil.rmtree(logdir / name)


def test_the_pages_files_are_served_and_no_others(server):
    files = static_files()
    assert {"tensorboard.js", "page.css"} <= set(files)
    for name, path in files.items():
        status, headers, body = server.get(f"data/plugin/rra/{name}")
        assert (status, body) == (200, path.read_bytes())
        kind = {".js": "text/javascript", ".css": "text/css"}[path.suffix]
        assert headers["Content-Type"].startswith(kind)
        for imported in re.findall(r'(?:from|import\() ?"\./([^"]+)"', body.decode()):
            assert imported in files, f"{name} imports {imported}"
    status, headers, body = server.get("data/plugin/rra/plotly.min.js")
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/javascript")
    assert b"plotly.js v" in body[:300]
    for path in (
        "../../../../../etc/passwd",
        "..%2fpayload.py",
        "%2e%2e/payload.py",
        "static/tensorboard.js",
        "payload.py",
    ):
        assert server.get(f"data/plugin/rra/{path}")[0] == 404


def test_a_run_is_compressed_on_its_way_where_that_is_accepted(server):
    path = "data/plugin/rra/run?name=many"
    assert json.loads(accepts_gzip(server, path)) == server.run("many")


def test_answers_have_the_version_that_the_page_checks(server):
    assert SCHEMA == payload.SCHEMA == server.runs()["schema"] == server.run("many")["schema"]


def test_of_many_notes_the_first_are_said():
    assert few(["a"] * 6) == ["a"] * 6
    assert few([str(number) for number in range(1000)]) == ["0", "1", "2", "3", "4", "And 995 more."]


@pytest.mark.parametrize("loader", [FAST, SLOW], ids=["fast", "slow"])
def test_an_empty_folder_has_a_tab_that_is_not_enabled_and_no_runs(loader, tmp_path):
    with serving(tmp_path, *loader) as server:
        assert server.runs() == {"schema": 1, "runs": [], "message": None}
        about = server.json("data/plugins_listing")["rra"]
        assert (about["enabled"], about["tab_name"]) == (False, "RRA")
