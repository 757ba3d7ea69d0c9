"""The reader of what a training leaves beside its snapshots: checkpoints, descriptions, numbers, files of options."""

import contextlib
import io
import json
import os
import pickle
import shlex
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn

from rra_monitor.cli.suggest import run_suggest
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.options_file import options_of
from rra_monitor.recipes.plan import training_plan
from rra_monitor.recipes.run_files import MetricsFile, read_result, write_description, write_result
from rra_monitor.recipes.trained import data_of, network_of
from rra_monitor.recipes.training import resumed_from
from rra_monitor.runs.checkpoint import load_checkpoint

from .harness import Files
from .mutations import NASTY, damaged_bytes, damaged_json

OPTIONS = TrainOptions(recipe="resnet20-digits-stac", max_epochs=2, augment="translate", out="out")
STATE, LEGACY, CHECKPOINT = "weights.pt", "legacy.pt", "checkpoints/last.ckpt"
DESCRIPTION, RESULT, CONFIG, YAML, METRICS = "run.json", "result.json", "config.json", "options.yaml", "metrics.csv"


class Evil:
    """Runs a program where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def dumped(held: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(held, stream, **options)
    return stream.getvalue()


def whole() -> Files:
    weights = model().state_dict()
    progress = {"epoch_progress": {"current": {"processed": 3}}}
    within = {f"network.{name}": value for name, value in weights.items()}
    lightning = {"state_dict": within, "global_step": 5, "loops": {"fit_loop": progress}, "callbacks": {}}
    files: Files = {
        STATE: dumped(weights),
        LEGACY: dumped(weights, _use_new_zipfile_serialization=False),
        CHECKPOINT: dumped(lightning),
        YAML: b"recipe: resnet20-digits\nlearning_rate: 1.0e-3\nviews: full,avg2\nmonitor: false\n",
        METRICS: b"epoch,step,train_loss\n1,4,0.5\n2,8,0.25\n",
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_description(folder, training_plan(OPTIONS), classes=[str(digit) for digit in range(10)])
        write_result(folder, {"seed": 0, "epochs": 2, "train_accuracy": 0.5, "val_accuracy": 0.5})
        return files | {name: (folder / name).read_bytes() for name in (DESCRIPTION, RESULT, CONFIG)}


def mutated(files: Files, random: Random) -> Files:
    name = random.choice([STATE, STATE, LEGACY, CHECKPOINT, CHECKPOINT, DESCRIPTION, RESULT, CONFIG, YAML, METRICS])
    data, pool = files[name], [each for each in files.values() if isinstance(each, bytes)]
    assert isinstance(data, bytes)
    what = random.random()
    if what < 0.1 and name in (DESCRIPTION, RESULT, METRICS):  # the others are read because somebody named them
        link = random.choice(["../secret/secret.txt", "/etc/passwd", "/dev/zero", ".", "nowhere", name])
        return files | {name: Path(link)}
    if what < 0.3:
        return files | {name: damaged_bytes(random, data, pool)}
    if name in (DESCRIPTION, RESULT, CONFIG):
        value = json.loads(data)
        for _ in range(random.choice([1, 1, 2, 4])):
            value = damaged_json(random, value, [*NASTY, "--allow-pickle", "'; true; '", "/", "~nobody/x", 10**400])
        texts = [json.dumps(value).encode()] * 8 + [b"[" * 100_000, b'{"options":' * 2000, b"null", b"9" * 5000]
        return files | {name: random.choice(texts)}
    if name == YAML:
        key, value = random.choice(list(asdict(OPTIONS))), random.choice([*NASTY, "!!python/name:os.system", "~"])
        texts = [data + f"\n{key}: {json.dumps(value)}\n".encode(), b"a: &a [*a]", b"recipe: !!python/name:os.system"]
        texts += [b"".join(b"%c: &%c [%s]\n" % (97 + at, 97 + at, b"*%c," % (96 + at) * 9) for at in range(1, 20))]
        return files | {name: random.choice([*texts[:1] * 5, *texts])}
    if name == METRICS:
        rows = [b"step", b"3,\xff,\xff", b"3,9" + b"9" * 5000 + b",1", b"\0" * 100, b"1,2," + b"x" * 200_000, b'"' * 99]
        return files | {name: data + random.choice(rows) + b"\n"}
    if what < 0.6 and data[:2] == b"PK":
        return files | {name: _rezipped(random, data)}
    return files | {name: random.choice([_odd_checkpoint, _nested_checkpoint])(random)}


def _rezipped(random: Random, data: bytes) -> bytes:
    """An archive with an entry that is missing, damaged, repeated or a pickle of anything."""
    found, archive = io.BytesIO(), zipfile.ZipFile(io.BytesIO(data))
    victim, what = random.choice(archive.namelist()), random.randrange(5)
    odd = [Evil(), [], {}, {1: 2}, {"a": Evil()}, "x", None, {"state_dict": 5}, {"state_dict": {"a": [1]}}]
    with zipfile.ZipFile(found, "w", random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as written:
        for name in archive.namelist():
            content = archive.read(name)
            if name == victim and what == 0:
                continue
            if name == victim:
                times = random.choice([0, 2, 1000, 100_000]) if len(content) < 1000 else 2
                content = {
                    1: damaged_bytes(random, content, [data]),
                    2: content * times,
                    3: pickle.dumps(random.choice(odd), 2),
                    4: bytes(300_000_000 if random.random() < 0.02 else 1000),
                }[what]
            written.writestr(name, content)
    return found.getvalue()


def _odd_checkpoint(random: Random) -> bytes:
    """What torch.save can write and is no checkpoint of the model."""
    weights, two = model().state_dict(), torch.zeros(2)
    changes: list[Callable[[torch.Tensor], torch.Tensor]] = [
        *(lambda x: x.double(), lambda x: x.half(), lambda x: x * float("nan"), lambda x: x.to(torch.complex64)),
        *(lambda x: x.to("meta"), lambda x: x.to_sparse(), lambda x: x[None], lambda x: x.reshape(-1)[:1]),
        lambda x: torch.zeros(1).expand(x.shape) if x.ndim else x,
    ]
    change, key = random.choice(changes), random.choice(list(weights))
    odd: list[Any] = [
        *({}, [], 5, None, "x", {1: two}, {None: two}, {("a",): two}, {"state_dict": {1: two}}, {"a": "b"}),
        *({"state_dict": None}, {"state_dict": []}, {"x" * 10**6: two}, {f"a{at}.0.weight": two for at in range(3000)}),
        *(Evil(), {"a": Evil()}, {"a": torch.zeros(1).expand(10**12)}, {"." * 5000 + "0.weight": two}),
        *({"state_dict": weights, "global_step": step} for step in (two, -5, 10**30, True, "5", 1.5, None, [5])),
        *({"state_dict": weights, "loops": loops} for loops in ([], {"fit_loop": []}, {"fit_loop": 3})),
        *({name: change(value) for name, value in weights.items()}, weights | {key: change(weights[key])}) * 4,
        *({name: value for name, value in weights.items() if name != key}, weights | {"more": two}),
        {f"{random.choice(['a.', 'b.', ''])}{name}": value for name, value in weights.items()},
    ]
    return dumped(random.choice(odd), _use_new_zipfile_serialization=random.random() < 0.7)


def _nested_checkpoint(random: Random) -> bytes:
    """Values whose text would be larger than any memory."""
    value: Any = 1
    for _ in range(50):
        value = [value, value]
    return dumped(random.choice([{"global_step": value, "state_dict": model().state_dict()}, {"a": value}, value]))


def reads(run: Path) -> dict[str, Callable[[], object]]:
    """What commands do with these files."""

    def checkpoint(name: str) -> Callable[[], object]:
        def read() -> None:
            into = model()
            step, epoch, left_out = load_checkpoint(into, run / name)
            assert type(step) is type(epoch) is int, "no counts"
            assert step >= 0 <= epoch, "counts below zero"
            assert all(isinstance(each, str) for each in left_out), "names that are none"
            into.eval()(torch.zeros(2, 3))

        return read

    def suggest() -> None:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            run_suggest([str(run)], "uniform", "train", None)
        text = printed.getvalue()
        assert all(line.isprintable() for line in text.splitlines()), "control characters"
        command = next(line for line in text.splitlines() if "rra-monitor train" in line)
        assert "--allow-pickle" not in shlex.split(command), "permission"

    def resume() -> None:
        if not (run / RESULT).is_symlink():
            (run / RESULT).unlink()  # unfinished
        resumed_from(training_plan(replace(OPTIONS, resume=True)), run)

    return {
        "state_dict": checkpoint(STATE),
        "legacy": checkpoint(LEGACY),
        "lightning": checkpoint(CHECKPOINT),
        "network": lambda: network_of(str(run)),
        "data": lambda: data_of(str(run)),
        "suggest": suggest,
        "result": lambda: read_result(run),
        "config": lambda: options_of(run / CONFIG),
        "options": lambda: options_of(run / YAML),
        "numbers": lambda: MetricsFile(run / METRICS).cut(4),  # from here on they write
        "resume": resume,
    }
