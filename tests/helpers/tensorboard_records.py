"""Records with made-up values, and event files that hold them, or something else."""

import time
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.util.tensor_util import make_tensor_proto
from torch.utils.tensorboard import SummaryWriter  # noqa: TID251 - the writer that a Lightning logger opens

import rra_monitor as rra
from rra_monitor.integrations.tensorboard.packed import packed_tensors
from rra_monitor.integrations.tensorboard.sink import TensorBoardSink
from rra_monitor.measure.match import Match
from tests.helpers.snapshots import snapshot_with


def made_up(step, layers=("input", "conv", "fc"), probe="train", n=50, seed=0):
    """A snapshot of made-up values."""
    rng = np.random.default_rng([seed, step])
    count = len(layers)
    nnls = rng.uniform(0.1, 0.9, (count, count))
    nnls = (nnls + nnls.T) / 2
    np.fill_diagonal(nnls, 1)
    settings = rra.Settings(n, 5, "euclidean", "auto", np.arange(n), np.arange(n) % 5, "0123456789abcdef")
    values = {
        "id": rng.uniform(2, 30, count),
        "nncs": rng.uniform(0.2, 1, count),
        "nnls": nnls,
        "ties": np.zeros(count),
        "zeros": np.zeros(count),
        "recall": np.ones(count),
        "id_error": rng.uniform(0.1, 1, count),
        "hubness": rng.uniform(-1, 2, count),
    }
    return snapshot_with(
        values, probe=probe, step=step, epoch=step, layers=tuple(layers), settings=settings, seconds=0.5
    )


def made_up_record(step, matches=(), probes=("train",), **about):
    """A record with a comparison of each name, whose values are the snapshot's own NNLS."""
    snapshots = {probe: made_up(step, probe=probe, **about) for probe in probes}
    found = {
        probe: {name: Match(name, step, step, each.layers, each.nnls * 0.5) for name in matches}
        for probe, each in snapshots.items()
    }
    return rra.Record(step, step, snapshots, found, seconds=0.5, overhead=0.25)


def _writer(folder):
    """A writer of another file, which is read after those that are there: their names begin with the second."""
    if Path(folder).exists():
        time.sleep(1)
    return SummaryWriter(folder)


def write_records(folder, records, **options):
    """Event files as a training leaves them."""
    writer = _writer(folder)
    sink = TensorBoardSink(lambda: writer, **options)
    for record in records:
        sink.write(record)
    writer.close()


def write_tensor(folder, tag, content, values, step=0):
    """One tensor of the plugin rra, with any content under any tag."""
    write_tensors(folder, [(tag, content, values)], step)


def write_tensors(folder, tensors, step=0, more=()):
    """Events, at a step and at more, of tensors of the plugin rra: a tag, any content, and values or a message each."""
    writer = _writer(folder)
    summary = Summary()
    for tag, content, values in tensors:
        about = SummaryMetadata.PluginData(plugin_name="rra", content=content)
        metadata = SummaryMetadata(plugin_data=about, data_class=DATA_CLASS_TENSOR)
        tensor = values if isinstance(values, TensorProto) else make_tensor_proto(values)
        summary.value.add(tag=tag, tensor=tensor, metadata=metadata)
    for each in (step, *more):
        writer._get_file_writer().add_summary(summary, each)
        for value in summary.value:
            value.metadata.plugin_data.content = b""  # TensorBoard keeps the first
    writer.close()


def tensors_of(record):
    """What `write_tensors` takes to write a record as the sink does."""
    return [(each.tag, each.content, each.values) for each in packed_tensors(record)]


def claiming(*shape, value=1.0):
    """A tensor of one value that claims a shape."""
    tensor = make_tensor_proto(value)
    for size in shape:
        tensor.tensor_shape.dim.add().size = size
    return tensor
