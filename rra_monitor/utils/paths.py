"""Directories by pattern on any file system, in time that grows linearly with each name.

fsspec's own `glob` makes one backtracking regular expression of the pattern, which a long name in somebody else's
bucket can keep busy for hours.
"""

import fnmatch
import glob
import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def directories_matching(filesystem: Any, pattern: str) -> list[str]:
    """The directories that a pattern without protocol matches; `*`, `?` and `[…]` within a name, `**` any depth.

    A folder that has the very name is meant by it.
    """
    names = pattern.rstrip("/").split("/")
    fixed = next((place for place, name in enumerate(names) if glob.has_magic(name)), len(names))
    found = ["/".join(names[:fixed])]
    for name in names[fixed:]:
        several = (_within(filesystem, place, name) for place in found)
        found = list(dict.fromkeys(one for places in several for one in places))
    return [place for place in found if filesystem.isdir(place)]


def _within(filesystem: Any, place: str, name: str) -> Iterable[str]:
    if name == "**":
        return [folder for folder, _, _ in filesystem.walk(place)]
    if not glob.has_magic(name) or filesystem.isdir(f"{place}/{name}"):
        return [f"{place}/{name}"]
    if not filesystem.isdir(place):
        return []
    listed = (each.rstrip("/") for each in filesystem.ls(place, detail=False))
    return [each for each in listed if fnmatch.fnmatchcase(posixpath.basename(each), name)]


def free_path(name: str) -> Path:
    """A file or folder of that name, or the first of name-1, name-2, … that is not there yet."""
    path, number = Path(name), 0
    while path.exists():
        number += 1
        path = Path(name).with_stem(f"{Path(name).stem}-{number}")
    return path


def named_folder(out: str) -> Path:
    """The folder that --out names, there already or not.

    Raises:
        ValueError: it is a file.
    """
    if Path(out).is_file():
        raise ValueError(f"--out {out} is a file; name a folder")
    return Path(out)
