"""Records in TensorBoard: packed tensors for the tab, some scalars, and figures where tensors cannot be written."""

from collections.abc import Callable
from typing import Any

from rra_monitor.figures.snapshot import curves_figure, nnls_figure, views_figure
from rra_monitor.integrations.tensorboard import PLUGIN
from rra_monitor.integrations.tensorboard.charts import Choice, checked_choice, chosen_scalars, custom_layout
from rra_monitor.integrations.tensorboard.packed import packed_tensors
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.keys import metric_key
from rra_monitor.runs.record import Record


class TensorBoardSink:
    """Writes through a `SummaryWriter` that someone else opens and closes.

    Everything goes into packed tensors, which the tab RRA reads: see `tags`. Scalars are for TensorBoard's own
    dashboards. A tensorboardX writer cannot write the tensors and gets figures.

    Args:
        writer: function that returns the `SummaryWriter` (torch's or tensorboardX's); called at each record.
        scalars: scalars to write: "summaries" of each probe, also those of "layers" without pooling, or "all", with
            those of pooled views. The tab shows all in any case.
    """

    def __init__(self, writer: Callable[[], Any], scalars: Choice = "summaries") -> None:
        self._writer = writer
        self._scalars = checked_choice("scalars", scalars)
        self._first: dict[str, Snapshot] = {}
        self._layout: dict[str, dict[str, list[Any]]] = {}
        self._comparisons: dict[str, None] = {}

    def write(self, record: Record) -> None:
        """Scalars by key, the layout when it changes, and the tensors; or figures of each probe."""
        writer = self._writer()
        for key, value in chosen_scalars(record, self._scalars).items():
            writer.add_scalar(key, value, record.step)
        # Charts are added and never dropped: a reference need not have a value at every epoch.
        found = custom_layout(record, self._scalars)
        layout = {title: self._layout.get(title, {}) | charts for title, charts in found.items()}
        if layout != self._layout:
            writer.add_custom_scalars(layout)
            self._layout = layout
        if takes_tensors(writer):
            self._write_tensors(writer, record)
        else:
            self._write_figures(writer, record)

    def _write_tensors(self, writer: Any, record: Record) -> None:
        from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
        from tensorboard.util.tensor_util import make_tensor_proto

        self._comparisons |= dict.fromkeys(name for matches in record.matches.values() for name in matches)
        summary = Summary()
        for each in packed_tensors(record, self._comparisons):
            about = SummaryMetadata.PluginData(plugin_name=PLUGIN, content=each.content)
            # Without the class of data TensorBoard lists the tag nowhere.
            metadata = SummaryMetadata(plugin_data=about, data_class=DATA_CLASS_TENSOR)
            summary.value.add(tag=each.tag, tensor=make_tensor_proto(each.values), metadata=metadata)
        writer._get_file_writer().add_summary(summary, record.step)

    def _write_figures(self, writer: Any, record: Record) -> None:
        for probe, snapshot in record.snapshots.items():
            first = self._first.setdefault(probe, snapshot)
            writer.add_figure(metric_key(probe, "curves"), curves_figure(snapshot, first), record.step)
            matches = record.matches.get(probe, {})
            writer.add_figure(metric_key(probe, "nnls"), nnls_figure(snapshot, matches), record.step)
            if len(snapshot.settings.views) > 1:
                writer.add_figure(metric_key(probe, "views"), views_figure(snapshot), record.step)


def takes_tensors(writer: Any) -> bool:
    """Whether a `SummaryWriter` writes TensorBoard's own messages; tensorboardX has copies of them, without tensors."""
    try:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        return False
    open_file = getattr(writer, "_get_file_writer", None)
    return open_file is not None and isinstance(getattr(open_file(), "event_writer", None), EventFileWriter)
