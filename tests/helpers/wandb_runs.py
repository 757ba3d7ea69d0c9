"""Runs of W&B without a network, and records to log to them."""

import wandb
from lightning.pytorch.loggers import WandbLogger

import rra_monitor as rra
from tests.helpers.snapshots import snapshot_of


def wandb_logger(path, name, kind=WandbLogger, **options):
    return kind(save_dir=path, project="tests", version=name, offline=True, **options)


def offline_run(path, name):
    path.mkdir(exist_ok=True)
    return wandb.init(project="tests", dir=path, id=name, resume="allow")


def records(count, probes=("train", "val"), **options):
    """Records of made-up snapshots, each compared with the one before."""
    made, before = [], {}
    for step in range(count):
        now = {probe: snapshot_of(step, probe=probe, seed=len(probe), **options) for probe in probes}
        matches = {probe: {"prev": rra.match(now[probe], before[probe], "prev")} if before else {} for probe in now}
        made.append(rra.Record(step, step, now, matches, 1.0, 0.1))
        before = now
    return made
