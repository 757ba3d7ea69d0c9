"""Snapshots that a run left behind: what a killed writer did not finish, and what a restarted training does again."""

import contextlib
import itertools
import re
import uuid

from rra_monitor.runs.files import TEMPORARY, RunFiles
from rra_monitor.runs.lines import RECORDS, parted
from rra_monitor.runs.reading import SAMPLES, SNAPSHOTS, SnapshotReader

ASIDE = "set-aside"
"""Folder of what a restarted training does again: in `1`, `2`, … a run each, with its samples and records."""

_UNFINISHED = re.compile(
    r"(?P<file>(?P<step>[0-9]{9,19})\.(?P<kind>curves|graphs)\.safetensors)\.(?P<mark>[0-9a-f]{32})\.tmp"
)
_STEP = re.compile(r"([0-9]{9,19})\.(?:curves|graphs)\.safetensors")


def finish(files: RunFiles, reader: SnapshotReader, probe: str) -> None:
    """Finish what a killed writer left: curves whose graphs are in place are renamed, the rest is removed."""
    for name in files.names(SNAPSHOTS, probe):
        match = _UNFINISHED.fullmatch(name)
        if match is None:
            continue
        pair = None
        if match["kind"] == "curves":
            with contextlib.suppress(ValueError):
                graphs = reader.decoded((SNAPSHOTS, probe, f"{match['step']}.graphs.safetensors"), "graphs")
                curves = reader.decoded((SNAPSHOTS, probe, name), "curves")
                pair = graphs[1].get("pair") if graphs and curves else None
        if pair == match["mark"]:
            files.move((SNAPSHOTS, probe, name), (SNAPSHOTS, probe, match["file"]))
        else:
            files.remove(SNAPSHOTS, probe, name)


def remove_temporary(files: RunFiles, *folder: str, of: str = "") -> None:
    """Remove what killed writers left of files in a folder whose names begin so."""
    for name in files.names(*folder):
        if name.startswith(of) and name.endswith(TEMPORARY):
            files.remove(*folder, name)


def set_aside(files: RunFiles, after: int) -> int:
    """Move snapshots and records of later steps to a new folder in `set-aside/`; return the number of snapshots.

    Args:
        files: files of the run.
        after: last step that stays, -1 for none.

    Raises:
        ValueError: a folder that is outside the run's directory.
        OSError: an error of the disk or the storage.
    """
    number = next(str(one) for one in itertools.count(1) if not files.names(ASIDE, str(one)))
    count = 0
    for probe in files.names(SNAPSHOTS):
        if not _later(files, probe, after):
            continue
        with files.locked(SNAPSHOTS, probe):
            for name in _later(files, probe, after):
                moved = files.move((SNAPSHOTS, probe, name), (ASIDE, number, SNAPSHOTS, probe, name))
                count += moved and ".curves." in name
    with contextlib.suppress(FileNotFoundError, ValueError):  # no records, or a file that nobody will write to either
        data = files.read(RECORDS)
        earlier, later = parted(data, after)
        if later:
            files.write((ASIDE, number), {RECORDS: later}, uuid.uuid4().hex)
        if earlier != data:
            files.write((), {RECORDS: earlier}, uuid.uuid4().hex)
    if count:
        for name in files.names(SAMPLES):
            with contextlib.suppress(FileNotFoundError, ValueError):
                files.write((ASIDE, number, SAMPLES), {name: files.read(SAMPLES, name)}, uuid.uuid4().hex)
    return count


def _later(files: RunFiles, probe: str, after: int) -> list[str]:
    """Files of a probe's snapshots of later steps."""
    matches = map(_STEP.fullmatch, files.names(SNAPSHOTS, probe))
    return [match[0] for match in matches if match is not None and int(match[1]) > after]
