"""What somebody else's run says, checked at the door."""

import json
import resource
import shutil

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.measure.description import described
from rra_monitor.page.series import stored_series
from tests.fuzz import guard
from tests.helpers.snapshots import snapshot_of
from tests.helpers.stored_files import edit, parts, put


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    store = rra.RunStore(folder)
    before = None
    for step in (0, 5, 9):
        snapshot = snapshot_of(step)
        store.save(snapshot, {} if before is None else {"prev": rra.match(snapshot, before, "prev")})
        before = snapshot
    return folder


@pytest.fixture
def run(stored, tmp_path):
    return shutil.copytree(stored, tmp_path / "run")


def files(run, kind="curves"):
    return sorted((run / "snapshots" / "train").glob(f"*.{kind}.safetensors"))


def sample_of(run):
    (path,) = (run / "samples").iterdir()
    return path


def array(name, change):
    """A change of one array."""

    def changed(arrays, about):
        arrays[name] = change(arrays[name])

    return changed


def value(name, new):
    """A change of one value of the metadata."""
    return lambda arrays, about: about.__setitem__(name, new)


def without(name):
    return lambda arrays, about: (arrays if name in arrays else about).pop(name)


def first(new, dtype=None):
    """The array, of another type if one is given, with another first value."""

    def changed(values):
        found = values.astype(dtype or values.dtype)
        found.reshape(-1)[0] = new
        return found

    return changed


(OWN,) = described([rra.Quantity("mine", low=0)], snapshot_of(0).settings)

METADATA = {
    "no layers": without("layers"),
    "no pair": without("pair"),
    "layers, a text": value("layers", "abc"),
    "layers, one twice": value("layers", ["input", "input", "fc"]),
    "layers, one fewer": value("layers", ["input", "fc"]),
    "layers, numbers": value("layers", [1, 2, 3]),
    "layers, none as it is": value("layers", ["a@avg2", "b@avg2", "c@avg2"]),
    "layers, an escape": value("layers", ["input", "a\x1b[2J", "fc"]),
    "layers, a surrogate": value("layers", ["input", "a\ud800", "fc"]),
    "layers, a long name": value("layers", ["input", "a" * 1001, "fc"]),
    "layers, an empty name": value("layers", ["input", "", "fc"]),
    "n, huge": value("n", 8_000_000_000),
    "n, of too many digits": value("n", 10**400),
    "n, another": value("n", 31),
    "n, a text": value("n", "30"),
    "k, huge": value("k", 4_000_000_000),
    "k, as large as n": value("k", 30),
    "k, a truth value": value("k", True),
    "k, zero": value("k", 0),
    "step, another": value("step", 77),
    "step, negative": value("step", -1),
    "probe, another": value("probe", "val"),
    "probe, a path": value("probe", "../../victim/snapshots/train"),
    "epoch, a text": value("epoch", "x"),
    "epoch, negative": value("epoch", -1),
    "seconds, no number": value("seconds", "x"),
    "seconds, infinite": value("seconds", float("inf")),
    "seconds, a huge integer": value("seconds", 10**400),
    "views, lists": value("views", [["full"]]),
    "views, without the full one": value("views", ["avg4"]),
    "views, too many": value("views", ["full", *(f"avg{size}" for size in range(1, 60_000))]),
    "quantities, a text": value("quantities", "abc"),
    "quantities, a name": value("quantities", [{"name": "mine"}]),
    "quantities, a standard one": value("quantities", [OWN | {"name": "id"}]),
    "quantities, one twice": value("quantities", [OWN, OWN]),
    "quantities, odd letters": value("quantities", [OWN | {"title": "\x1b[2J"}]),
    "quantities, no range": value("quantities", [OWN | {"low": "zero"}]),
    "aliases, a list": value("aliases", []),
    "aliases, of no layer": value("aliases", {"fc@avg2": "nowhere"}),
    "aliases, of another layer": value("aliases", {"fc@avg2": "input"}),
    "aliases, in a circle": value("aliases", {"input": "fc", "fc": "input"}),
    "aliases, lists": value("aliases", {"fc@avg2": ["fc"]}),
    "sample, a path": value("sample", "../../secret"),
    "sample, an absolute path": value("sample", "/etc/passwd"),
    "sample, a number": value("sample", 5),
    "sample, an object": value("sample", {"a": 1}),
    "sample, another digest": value("sample", "0123456789abcdef"),
    "schema, a text": value("schema", "1"),
    "an unknown estimator": value("estimator", "twonn"),
    "backends, one fewer": value("backends", ["exact", "exact"]),
    "metric, a list": value("metric", [1, 2]),
    "fingerprint, missing": value("fingerprint", None),
    "matches, a list": value("matches", []),
    "matches, empty": value("matches", {"prev": {}}),
    "nested values": value("metric", json.loads("[" * 400 + "]" * 400)),
}

CURVES = {
    "ties, missing": without("ties"),
    "id, one longer": array("id", lambda id: np.append(id, 99.0)),
    "id, two-dimensional": array("id", lambda id: np.stack([id, id])),
    "id, infinite": array("id", first(np.inf)),
    "id, negative": array("id", first(-1)),
    "id, integers": array("id", lambda id: id.astype(np.int64)),
    "nncs, 7": array("nncs", first(7)),
    "nncs, missing though there are labels": without("nncs"),
    "ties, negative": array("ties", first(-1)),
    "recall, undefined": array("recall", first(np.nan)),
    "nnls, one-dimensional": array("nnls", lambda nnls: nnls[0]),
    "nnls, undefined": array("nnls", first(np.nan)),
    "match, smaller": array("match.prev", lambda nnls: nnls[:2, :2]),
    "match, missing": without("match.prev"),
}

GRAPHS = {
    "no pair": without("pair"),
    "an array is missing": without("2.indices"),
    "one-dimensional": array("0.indices", np.ravel),
    "wrapped index": array("0.indices", first(2**32 + 5, np.uint64)),
    "index no whole number": array("0.indices", first(7.9, np.float64)),
    "signed index": array("0.indices", first(-1, np.int32)),
    "index of no sample": array("0.indices", first(200)),
    "index n": array("0.indices", first(30)),
    "neighbour three times": array("0.indices", lambda found: np.repeat(found[:, :1], 4, axis=1)),
    "sample its own neighbour": array("0.indices", first(0)),
    "other k": array("0.indices", lambda found: found[:, :3]),
    "other n": array("0.indices", lambda found: found[:29]),
    "distances descending": array("0.distances", lambda found: found[:, ::-1]),
    "distances negative": array("0.distances", first(-1)),
    "distances undefined": array("0.distances", first(np.nan)),
    "distances infinite": array("0.distances", lambda found: np.full_like(found, np.inf)),
    "distances in half precision": array("0.distances", lambda found: found.astype(np.float16)),
    "audit of no sample": lambda arrays, about: arrays.update({"0.audit.rows": np.array([30])}),
    "audit without distances": lambda arrays, about: arrays.update({"0.audit.rows": np.array([3])}),
}

SAMPLE = {
    "no ids": without("ids"),
    "labels of one more": array("labels", lambda labels: np.arange(31)),
    "labels undefined": array("labels", lambda labels: np.full(30, np.nan)),
    "other labels": array("labels", lambda labels: labels + 40),
    "ids in two dimensions": array("ids", lambda ids: ids.reshape(15, 2)),
}


class TestRunStoreOneOddFile:
    """It costs its snapshot, with a warning that names it; the others are read."""

    @pytest.mark.parametrize("change", [*METADATA.values(), *CURVES.values()], ids=[*METADATA, *CURVES])
    def test_store_leaves_out_curves_that_no_snapshot_has(self, run, change):
        path = files(run)[1]
        edit(path, change)
        with pytest.raises(ValueError, match=r"safetensors") as refused:
            rra.RunStore(run).load("train", 5, graphs=False)
        assert str(path) in str(refused.value) or "/samples/" in str(refused.value)
        assert len(str(refused.value)) < 1000
        with pytest.warns(UserWarning, match="safetensors"):
            assert [snapshot.step for snapshot in rra.RunStore(run).curves("train")] == [0, 9]
        with pytest.warns(UserWarning, match="safetensors"):
            assert rra.RunStore(run).epochs("train") == {0: 0, 9: 9}
        with pytest.warns(UserWarning, match="safetensors"):
            assert [frame.step for frame in stored_series(rra.RunStore(run), "run").frames] == [0, 9]

    @pytest.mark.parametrize("change", GRAPHS.values(), ids=GRAPHS)
    def test_store_leaves_out_graphs_that_are_none(self, run, change):
        path = files(run, "graphs")[1]
        edit(path, change)
        with pytest.raises(ValueError, match=r"000000005\.graphs\.safetensors"):
            rra.RunStore(run).load("train", 5)
        with pytest.warns(UserWarning, match=r"000000005\.graphs\.safetensors"):
            assert rra.RunStore(run).previous("train", 9).step == 0
        assert [snapshot.step for snapshot in rra.RunStore(run).curves("train")] == [0, 5, 9]

    @pytest.mark.parametrize("change", SAMPLE.values(), ids=SAMPLE)
    def test_store_refuses_a_sample_that_is_none(self, run, change):
        path = sample_of(run)
        edit(path, change)
        with pytest.raises(ValueError, match=str(path)):
            rra.RunStore(run).load("train", 5)
        with (
            pytest.raises(ValueError, match="no snapshot that can be read"),
            pytest.warns(UserWarning, match=str(path)),
        ):
            stored_series(rra.RunStore(run), "run")

    @pytest.mark.parametrize("text", ["[" * 100_000, "[]", "5", "null", '"x"', '{"schema": ' + "9" * 5000 + "}"])
    def test_store_leaves_out_metadata_that_is_none(self, run, text):
        path = files(run)[1]
        data = path.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.dumps(json.loads(data[8:end]) | {"__metadata__": {"rra_monitor": text}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + data[end:])
        with pytest.warns(UserWarning, match=f"{path} is no complete file"):
            assert [snapshot.step for snapshot in rra.RunStore(run).curves("train")] == [0, 9]

    @pytest.mark.parametrize(
        "entry",
        [
            {"shape": [2**62]},
            {"shape": [2**32, 2**32]},
            {"shape": [-3]},
            {"shape": "x"},
            {"shape": [1] * 100 + [3]},
            {"data_offsets": [0, 2**63]},
            {"data_offsets": [8, 0]},
            {"data_offsets": [0, 8]},
            {"dtype": "F8_E4M3"},
            {"dtype": ["F64"]},
        ],
        ids=str,
    )
    def test_store_compares_a_header_with_the_size_of_its_file(self, run, entry):
        path = files(run)[1]
        data = path.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        header["id"] |= entry
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])
        with pytest.raises(ValueError, match=f"{path} is no complete file"):
            rra.RunStore(run).load("train", 5)

    @pytest.mark.parametrize("length", [0, 2**31, 2**63, 2**64 - 1])
    def test_store_refuses_a_header_that_its_file_does_not_hold(self, run, length):
        path = files(run)[1]
        path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
        with pytest.raises(ValueError, match=f"{path} is no complete file"):
            rra.RunStore(run).load("train", 5)


@pytest.mark.parametrize("kind", ["curves", "graphs"])
def test_store_notices_any_flipped_bit(run, kind):
    path = files(run, kind)[1]
    whole = path.read_bytes()
    for at in range(8, len(whole), len(whole) // 40):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(ValueError, match="safetensors"):
            rra.RunStore(run).load("train", 5)
    path.write_bytes(whole)
    rra.RunStore(run).load("train", 5)


@pytest.mark.skipif(not guard.data_bytes(), reason="the system does not tell the memory of a process")
def test_store_takes_little_memory_for_small_files_that_speak_of_large_arrays(run):
    for path in files(run):
        edit(path, lambda arrays, about: about.update(n=8_000_000_000, k=4_000_000_000))
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (guard.data_bytes() + guard.SPARE, before[1]))
    try:
        with pytest.warns(UserWarning, match="its n is 8000000000"):
            assert rra.RunStore(run).curves("train") == []
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


class TestRunStoreSaving:
    @pytest.mark.parametrize("probe", ["../../victim/snapshots/train", "..", "a/b", "a\\b", "a\nb", "", "a" * 300, 5])
    def test_store_saves_no_probe_whose_name_is_a_path(self, tmp_path, probe):
        store = rra.RunStore(tmp_path / "mine")
        with pytest.raises(ValueError, match="probe"):
            store.save(snapshot_of(1, probe=probe))
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]

    def test_store_copies_no_snapshot_into_another_run(self, run, tmp_path):
        victim = shutil.copytree(run, tmp_path / "victim")
        before = {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()}
        for kind in ("curves", "graphs"):
            for path in files(run, kind):
                edit(path, value("probe", "../../victim/snapshots/train"))
        mine = rra.RunStore(tmp_path / "mine", keep_graphs="last")
        with pytest.raises(ValueError, match="which is a path"):
            mine.save(rra.RunStore(run).load("train", 5))
        assert before == {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()}

    @pytest.mark.parametrize("step", [-1, 2**63, 10**30])
    def test_store_saves_no_step_that_it_would_not_list(self, tmp_path, step):
        snapshot = snapshot_of(1)
        object.__setattr__(snapshot, "step", step)
        with pytest.raises(ValueError, match=f"its step is .*{str(step)[-5:]}.*, expected a whole number, 0 to"):
            rra.RunStore(tmp_path).save(snapshot)
        assert rra.RunStore(tmp_path).steps("train") == ()

    def test_store_saves_nothing_that_it_would_not_read(self, tmp_path):
        snapshot = snapshot_of(1)
        snapshot.nncs[0] = 7
        with pytest.raises(ValueError, match="'nncs' holds 7"):
            rra.RunStore(tmp_path).save(snapshot)

    @pytest.mark.parametrize("probe", ["../secret", "..", "/etc"])
    def test_store_lists_and_loads_no_probe_whose_name_is_a_path(self, run, probe):
        store = rra.RunStore(run)
        for act in (store.steps, store.graph_steps, store.curves, lambda probe: store.load(probe, 5)):
            with pytest.raises(ValueError, match="which is a path"):
                act(probe)


def test_store_reads_arrays_that_it_does_not_know_past(run):
    for path in files(run):
        arrays, about = parts(path)
        put(path, arrays | {"of a later version": np.arange(3)}, about | {"new": 1})
    assert [snapshot.step for snapshot in rra.RunStore(run).curves("train")] == [0, 5, 9]
