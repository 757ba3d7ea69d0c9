"""Where a run's files lie, by the path of the run."""

import os

import fsspec
from fsspec.implementations.local import LocalFileSystem

from rra_monitor.runs.files import RunFiles
from rra_monitor.runs.local import local_files
from rra_monitor.runs.remote import remote_files


def files_of(path: str) -> RunFiles:
    """The files below a directory, or any address that fsspec opens."""
    if "://" not in path:  # `a::b` is a directory, too, not a chain of file systems
        return local_files(os.path.abspath(os.path.expanduser(path)))
    system, root = fsspec.core.url_to_fs(path)
    return local_files(root) if isinstance(system, LocalFileSystem) else remote_files(system, root)
