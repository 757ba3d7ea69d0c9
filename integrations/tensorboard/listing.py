"""The runs that TensorBoard has data of, through its data provider: fast, since the page asks every few seconds."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rra_monitor.integrations.tensorboard import PLUGIN
from rra_monitor.integrations.tensorboard.arrays import bounded_arrays
from rra_monitor.integrations.tensorboard.notes import left_out
from rra_monitor.integrations.tensorboard.tags import MOMENT, described

EVERY_STEP = 10**9
"""Number of steps that a data provider may return, which has to be stated."""


@dataclass(frozen=True)
class LoggedRun:
    """A run with data of the plugin.

    Attributes:
        name: name in TensorBoard.
        version: text that changes whenever there is something new to read.
        tags: readable tags to their descriptions.
        notes: remarks on what cannot be read, with the reason.
    """

    name: str
    version: str
    tags: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...] = field(default=())

    @property
    def readable(self) -> bool:
        """Whether it has any step."""
        return any(about["kind"] == MOMENT for about in self.tags.values())


class Events:
    """The data logged for the plugin, by run and tag.

    Args:
        provider: TensorBoard's data provider.
        context: context of the request.
        experiment: experiment of the request.
    """

    def __init__(self, provider: Any, context: Any, experiment: str) -> None:
        self._provider = provider
        self._about = {"experiment_id": experiment, "plugin_name": PLUGIN}
        self._context = context

    def runs(self) -> list[LoggedRun]:
        """Every run with data of the plugin, by name."""
        found = self._provider.list_tensors(self._context, **self._about)
        return [_run(name, found[name]) for name in sorted(found)]

    def read(self, run: str, tag: str) -> list[Any]:
        """The tag's data in the order of writing, each with `step`, `wall_time` and `numpy`, see `arrays`."""
        from tensorboard.data.provider import RunTagFilter

        # One tag at a time, since the fast loader's answers are limited to 256 MiB.
        only = RunTagFilter(runs=[run], tags=[tag])
        about = self._about | {"run_tag_filter": only, "downsample": EVERY_STEP}
        with bounded_arrays():
            found = self._provider.read_tensors(self._context, **about)
        return list(found.get(run, {}).get(tag, []))


def _run(name: str, series: Mapping[str, Any]) -> LoggedRun:
    # Of every tag: a loader in Python may be met between two tensors of one event.
    state = [(tag, series[tag].max_step, series[tag].max_wall_time) for tag in sorted(series)]
    tags, notes = {}, []
    for tag in sorted(series):
        try:
            tags[tag] = described(series[tag].plugin_content)
        except Exception as error:  # whatever is in the file: it must not hide the other runs
            notes.append(left_out(tag, error))
    return LoggedRun(name, hashlib.sha256(repr(state).encode()).hexdigest()[:12], tags, tuple(notes))
