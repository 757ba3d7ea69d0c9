"""Arguments that several commands share: names of runs and groups of them."""

from collections.abc import Iterable, Sequence

from rra_monitor.runs.locate import CALLBACK_FOLDER, directories

Named = tuple[str, str | None, str]
"""A run's name, its group and its directory."""


def named(found: Iterable[tuple[str | None, str]]) -> list[Named]:
    """Short names for runs of groups; a run of two groups is named after each.

    >>> named([("A", "out/seed0/rra"), ("B", "out/seed1/rra")])
    [('seed0', 'A', 'out/seed0/rra'), ('seed1', 'B', 'out/seed1/rra')]
    """
    found = list(dict.fromkeys(found))
    paths = [path for _, path in found]
    names = {path: name for name, path in run_names(list(dict.fromkeys(paths))).items()}
    if len(names) == 1:
        parts = paths[0].rstrip("/").split("/")
        names = {paths[0]: parts[-2] if parts[-1] == CALLBACK_FOLDER and len(parts) > 1 else parts[-1]}
    several = {path for path in paths if paths.count(path) > 1}
    return [(f"{group}/{names[path]}" if path in several else names[path], group, path) for group, path in found]


def run_names(runs: Sequence[str]) -> dict[str, str]:
    """Short names for runs: their paths without the common beginning and end.

    >>> run_names(["out/seed0/rra", "out/seed1/rra"])
    {'seed0': 'out/seed0/rra', 'seed1': 'out/seed1/rra'}
    """
    twice = next((run for run in runs if runs.count(run) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is named twice; name each run once")
    parts = [run.rstrip("/").split("/") for run in runs]
    if len(runs) < 2:
        return {run: run for run in runs}
    for end in (0, -1):
        while min(map(len, parts)) > 1 and len({part[end] for part in parts}) == 1:
            parts = [part[1:] if end == 0 else part[:-1] for part in parts]
    return {"/".join(part): run for part, run in zip(parts, runs, strict=True)}


def groups_named(arguments: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Name to the directories that its patterns match, of arguments [["A=runs/a*", "more/a*"], ["B=runs/b*"]].

    Raises:
        ValueError: an argument without a name, a pattern that matches nothing.
    """
    groups: dict[str, list[str]] = {}
    for first, *more in arguments:
        name, _, pattern = first.partition("=")
        name = name.strip()
        if not name or not pattern:
            raise ValueError(f"--group {first!r}: expected NAME=GLOB, as in --group A='runs/a*'")
        for one in (pattern, *more):
            found = directories(one)
            if not found:
                raise ValueError(
                    f"group {name!r}: {one!r} matches no directory. Begin each group with a --group of its own, and "
                    "quote patterns"
                )
            groups.setdefault(name, []).extend(found)
    return groups
