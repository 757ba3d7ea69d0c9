"""The reader of stored runs: snapshots, samples, records and links between them."""

import contextlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import nn

import rra_monitor as rra
from rra_monitor import metrics
from rra_monitor.compare.settling import settling
from rra_monitor.conclusions.findings import findings
from rra_monitor.graph.knn import Audit
from rra_monitor.page.payload import run_payload
from rra_monitor.page.series import stored_series
from rra_monitor.runs.lines import RECORDS

from .harness import Files
from .mutations import (
    NASTY,
    built_safetensors,
    damaged_array,
    damaged_bytes,
    damaged_header,
    damaged_json,
    parsed_safetensors,
)

N, K = 30, 3
STEPS = (0, 5, 10)
METADATA = "rra_monitor"


def whole() -> Files:
    """A run of two probes and three moments, with views, an audit, records and a reference."""
    with tempfile.TemporaryDirectory() as folder:
        _record(Path(folder) / "reference", seed=0)
        run = Path(folder) / "run"
        _record(run, seed=1, references={"seed0": Path(folder) / "reference"})
        return _files(run)


def beside() -> Files:
    """Another run, to compare with."""
    with tempfile.TemporaryDirectory() as folder:
        _record(Path(folder), seed=0)
        return _files(Path(folder))


def _files(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _record(folder: Path, seed: int, references: dict[str, Path] | None = None) -> None:
    generator = torch.Generator().manual_seed(0)
    train, val = torch.randn(2, N, 3, 8, 8, generator=generator)
    probes = {
        "train": rra.FixedSample.from_tensors(train, torch.arange(N) % 3),
        "val": rra.FixedSample.from_tensors(val),
    }
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3))
    layers = ["input", "0", "2", "4"]
    monitor = rra.Monitor(probes, layers=layers, views=["full", "avg4", "avg-global"], k=K, cka=True)
    store = rra.RunStore(folder)
    recorder = rra.Recorder(store, references=references, sinks=[rra.JSONLSink(store)])
    for epoch, step in enumerate(STEPS):
        recorder.record({name: _audited(found) for name, found in monitor.measure(net, step=step, epoch=epoch).items()})
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))


def _audited(snapshot: rra.Snapshot) -> rra.Snapshot:
    """The snapshot with the exact rows that an approximate graph has, at its first layer."""
    rows = np.array([1, 4, 20])
    layer, graph = next(iter(snapshot.graphs.items()))
    audit = Audit(rows, graph.indices[rows], graph.distances[rows], graph.n)
    return replace(snapshot, graphs={**snapshot.graphs, layer: replace(graph, audit=audit)})


def mutated(files: Files, random: Random) -> Files:
    """One to three files damaged, deleted, exchanged, or made links."""
    contents = [data for data in files.values() if isinstance(data, bytes)]
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        name = random.choice(sorted(files))
        data, what = files[name], random.random()
        if not isinstance(data, bytes):
            continue
        if what < 0.03:
            files[name] = files[random.choice(sorted(files))]
        elif what < 0.05:
            del files[name]
        elif what < 0.08:
            files[name] = random.choice(
                [Path("../secret/rra/secret.safetensors"), Path("/dev/zero"), Path(name).parent]
            )
        else:
            try:
                files[name] = _damaged(random, name, data, contents)
            except Exception:
                files[name] = damaged_bytes(random, data, contents)  # damaged before, beyond parsing
    return files


def _damaged(random: Random, name: str, data: bytes, pool: list[bytes]) -> bytes:
    kinds: list[Callable[..., bytes]] = (
        [_records, _records] if name == RECORDS else [damaged_header, *[_about, _arrays] * 3]
    )
    kind = random.choice([*kinds, None])
    return damaged_bytes(random, data, pool) if kind is None else kind(random, data)


def _about(random: Random, data: bytes) -> bytes:
    arrays, metadata = parsed_safetensors(data)
    about = json.loads(metadata[METADATA])
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        what = random.random()
        if what < 0.6 or "layers" not in about:
            about = damaged_json(random, about)
        elif what < 0.7:
            layers = about["layers"]
            odd = ["é\ud800", "\x1b[2J", "<b>", "a@full", "@avg4", "a@avg4", "input", ""][: len(layers)]
            several = [[], ["x"] * len(layers), layers[:-1], [*layers, "extra"], layers[::-1], "abcdefgh", odd]
            about["layers"] = random.choice([*several, [f"l{number}" for number in range(20_000)]])
        elif what < 0.8:
            layers = about["layers"]
            odd = [{"a": "b", "b": "a"}, {"input@avg4": "input@avg4"}, {each: each for each in layers}]
            odd += [{"0@avg4": "nowhere"}, {"0@avg4": ["x"]}, [], ["ab", "cd"], "x", {"0": "4", "4": "0"}]
            about["aliases"] = random.choice([*odd, {f"input@avg{number}": "input" for number in range(20_000)}])
        elif what < 0.9:
            odd = [[], ["full"], ["avg4"], ["full", "full"], ["x"], ["avg" + "9" * 5000], "full", None, [1], [None]]
            about["views"] = random.choice([*odd, ["full", *(f"avg{number}" for number in range(1, 20_000))]])
        else:
            counts = [-1, 0, 1, 2, 3, 4, 29, 30, 31, 1e9, 10**9, 2**63, 10**400, "3", None, 3.0, 3.5, True, [3]]
            about[random.choice(["n", "k", "step", "epoch", "seconds"])] = random.choice(counts)
        if not isinstance(about, dict):
            break
    return _built(random, arrays, metadata, about)


def _arrays(random: Random, data: bytes) -> bytes:
    arrays, metadata = parsed_safetensors(data)
    for _ in range(random.choice([1, 1, 2, 4])):
        if not arrays:
            break
        name, what = random.choice(sorted(arrays)), random.randrange(10)
        if what == 0:
            del arrays[name]
        elif what == 1:
            names = [
                "id",
                "nnls",
                "0.indices",
                "1.distances",
                "0.audit.rows",
                "0.audit.indices",
                "cka",
                "nncs",
                "labels",
            ]
            odd = [np.zeros(3), np.zeros((3, 3)), np.arange(4), np.full((2, 3), 10**6), np.full(5, -1), np.zeros(0)]
            arrays[random.choice([*names, "ids", "match.prev", "match.x"])] = random.choice(odd)
        elif what == 2:
            other = random.choice([each for each in arrays if each.split(".")[-1] == name.split(".")[-1]])
            arrays[name], arrays[other] = arrays[other], arrays[name]
        elif what == 3:  # other n or k, of one layer or all
            n, k = random.choice(
                [(30, 2), (30, 4), (30, 29), (30, 40), (29, 3), (60, 3), (1, 3), (3, 1), (0, 3), (30, 0)]
            )
            everywhere = random.random() < 0.5
            for each in [each for each in arrays if everywhere or each.split(".")[0] == name.split(".")[0]]:
                if each.endswith(("indices", "distances")) and "audit" not in each:
                    arrays[each] = np.resize(arrays[each], (n, k))
        else:
            arrays[name] = damaged_array(random, arrays[name])
    return _built(random, arrays, metadata, json.loads(metadata[METADATA]))


def _built(random: Random, arrays: dict[str, np.ndarray], metadata: dict[str, str], about: Any) -> bytes:
    """The file; mostly with a checksum that fits, as who damages on purpose would write it."""
    if isinstance(about, dict) and random.random() < 0.9:
        about.pop("checksum", None)
    return built_safetensors(arrays, metadata | {METADATA: json.dumps(about)})


def _records(random: Random, data: bytes) -> bytes:
    lines = data.decode("utf-8", "surrogateescape").splitlines() or [""]
    for _ in range(random.choice([1, 1, 2])):
        at, what = random.randrange(len(lines)), random.randrange(6)
        if what <= 2:
            # Curves are not read from here; damage what is.
            value = json.loads(lines[at])
            rest = {key: value.pop(key) for key in ("probes",) if key in value}
            changed = damaged_json(random, value, [*NASTY, 10**400, -(10**400)])
            lines[at] = json.dumps(changed | rest if isinstance(changed, dict) else changed)
            if random.random() < 0.1:
                lines[at] = lines[at].replace('"step": ', '"step": 1e999, "x": ', 1)
        elif what == 3:
            lines[at] = lines[at][: random.randrange(len(lines[at]) + 1)]
        elif what == 4:
            lines.insert(at, lines[at] + lines[at][: random.randrange(200)])
        else:
            head = '{"step":5,"epoch":1,"findings":[],'
            odd = ["[" * 200_000, "null", "1", "[]", "{}", "\0", '{"step": 1e400}', '{"step": "5"}', '{"step": NaN}']
            odd += [head + '"seconds":[],"overhead":0}', head + '"seconds":1e999,"overhead":NaN}']
            odd += [head + '"seconds":' + "9" * 400 + ',"overhead":0}', '{"step": ' + "9" * 5000 + "}"]
            odd += ['{"step": 5, "epoch": 1, "findings": [{}]}']
            lines[at] = random.choice(odd)
    return "\n".join(lines).encode("utf-8", "surrogateescape") + b"\n"


def reads(run: Path) -> dict[str, Callable[[], object]]:
    """What commands, the page and a training do with a run."""
    other = run.parent / "beside"
    shutil.rmtree(f"{run}-1", ignore_errors=True)

    def snapshots(graphs: bool = True) -> list[rra.Snapshot]:
        """All that can be read; the error of the last one that cannot where there is none."""
        store = rra.RunStore(run)
        found, error = [], None
        for probe in store.probes():
            for step in store.steps(probe):
                try:
                    snapshot = store.load(probe, step, graphs)
                except ValueError as refused:
                    error = refused
                    continue
                check_promises(snapshot, probe, step)
                found.append(snapshot)
        if error is not None:
            raise error
        return found

    def matches() -> None:
        store = rra.RunStore(run)
        for probe in store.probes():
            for step in store.steps(probe):
                here = store.load(probe, step, graphs=False)
                for each in store.matches(probe, step).values():
                    assert each.nnls.shape == (len(here.layers), len(each.layers)), "a match of other layers"
                    each.same_layer(here.layers)

    def values() -> None:
        """The metrics: whatever was read can be computed with, or is refused by a metric for its content."""
        for snapshot in snapshots():
            graphs, labels = list(snapshot.graphs.values()), snapshot.settings.labels
            assert np.isfinite(snapshot.nnls_chance)
            if graphs:
                metrics.nnls_matrix(graphs)
            for graph in graphs:
                metrics.graph_health(graph)
                metrics.k_occurrence(graph)
                if labels is not None:
                    metrics.nncs(graph, labels)
                if graph.audit is not None:
                    graph.audit.standard_error(graph)
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "ID undefined")
                    metrics.twonn(graph)

    def found() -> None:
        store = rra.RunStore(run)
        last = {probe: store.load(probe, store.steps(probe)[-1]) for probe in store.probes()}
        earlier = {probe: before for probe, here in last.items() if (before := store.previous(probe, here.step))}
        with contextlib.suppress(ValueError):  # of snapshots that cannot be compared; they name no file
            findings(last, earlier)

    def report() -> None:
        json.dumps(run_payload(stored_series(rra.RunStore(run), "run")), allow_nan=False)

    def reference() -> None:
        here = rra.RunStore(other).load("train", STEPS[1])
        rra.Recorder(None, references={"run": run}).compare(here)

    def going_on() -> None:
        """A training that resumes, there or in `run-1`: later snapshots set aside, the next stored, with pruning."""
        here = {probe: rra.RunStore(other).load(probe, STEPS[2]) for probe in ("train", "val")}
        store = rra.RunStore(run, keep_graphs=1)
        recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)], resume_step=STEPS[1])
        recorder.record(here)
        recorder.close()

    return {
        "load": snapshots,
        "load curves": lambda: snapshots(graphs=False),
        "curves": lambda: [rra.RunStore(run).curves(probe) for probe in rra.RunStore(run).probes()],
        "matches": matches,
        "epochs": lambda: rra.RunStore(run).epochs("train"),
        "previous": lambda: rra.RunStore(run).previous("train", 100),
        "metrics": values,
        "findings": found,
        "report": report,
        "compare": lambda: rra.compare_runs({"A": [run], "B": [other]}),
        "one group": lambda: rra.compare_runs({"A": [run, other]}, epoch=1),
        "settling": lambda: settling(str(run)),
        "reference": reference,
        "going on": going_on,  # the last: it writes
    }


def check_promises(snapshot: rra.Snapshot, probe: str, step: int) -> None:
    """What holds of every snapshot that was read without an error."""
    count, settings = len(snapshot.layers), snapshot.settings
    promise((snapshot.probe, snapshot.step) == (probe, step), "of another probe or step")
    promise(type(snapshot.epoch) is int and snapshot.epoch >= 0, "epoch")
    promise(isinstance(snapshot.layers, tuple) and len(set(snapshot.layers)) == count > 0, "layers")
    promise(all(isinstance(layer, str) and layer for layer in snapshot.layers), "names of layers")
    for name in ("id", "id_error", "nncs", "ties", "zeros", "recall", "hubness"):
        curve = getattr(snapshot, name)
        promise(curve is not None or name == "nncs", f"{name} is missing")
        if curve is not None:
            promise(curve.shape == (count,) and curve.dtype == np.float64, name)
            if name in ("nncs", "ties", "zeros", "recall"):
                promise(((curve >= -1e-9) & (curve <= 1 + 1e-9)).all(), f"{name} outside 0 to 1")
    promise(snapshot.nnls.shape == (count, count), "nnls")
    promise(((snapshot.nnls >= -1e-9) & (snapshot.nnls <= 1 + 1e-9)).all(), "nnls outside 0 to 1")
    promise(type(settings.n) is int and type(settings.k) is int and 1 <= settings.k < settings.n, "n, k")
    promise(settings.ids.shape == (settings.n,) and settings.ids.dtype == np.int64, "ids")
    if settings.labels is not None:
        promise(settings.labels.shape == (settings.n,) and settings.labels.dtype == np.int64, "labels")
    promise((settings.labels is None) == (snapshot.nncs is None), "NNCS without labels, or the reverse")
    promise(set(snapshot.aliases.values()) <= set(snapshot.layers), "an alias of no layer")
    promise(isinstance(snapshot.seconds, float) and np.isfinite(snapshot.seconds), "seconds")
    for graph in snapshot.graphs.values():
        check_graph(graph, settings.n, settings.k)


def promise(holds: object, what: str) -> None:
    """Fail where it does not hold."""
    if not holds:
        raise AssertionError(f"broken promise: {what}")


def check_graph(graph: rra.KnnGraph, n: int, k: int) -> None:
    """What holds of every graph that was read."""
    promise(graph.indices.shape == graph.distances.shape == (n, k), "n, k of a graph")
    promise(graph.indices.dtype == np.int32 and graph.distances.dtype == np.float32, "types of a graph")
    promise(((graph.indices >= 0) & (graph.indices < n)).all(), "neighbours that are none")
    promise(not (graph.indices == np.arange(n)[:, None]).any(), "a sample its own neighbour")
    promise(all(len(set(row)) == k for row in graph.indices.tolist()), "a neighbour twice")
    promise(np.isfinite(graph.distances).all() and (graph.distances >= 0).all(), "distances")
    promise((np.diff(graph.distances.astype(np.float64), axis=1) >= 0).all(), "distances that descend")
    if graph.audit is not None:
        promise(((graph.audit.rows >= 0) & (graph.audit.rows < n)).all(), "rows of an audit")
        promise(graph.audit.indices.shape == (len(graph.audit.rows), k), "shape of an audit")
