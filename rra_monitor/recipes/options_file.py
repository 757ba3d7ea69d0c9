"""A file of options for `rra-monitor train --config`. Imports nothing heavy, since --help reads it."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped] # comes with jsonargparse
from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]

from rra_monitor.recipes.options import FLAGS, TrainOptions
from rra_monitor.utils.nearest import nearest
from rra_monitor.utils.text import sentence, visible

COMMAND_LINE_ALONE = ("data", "download", "out", "resume", "allow_pickle")
"""Options that decide what is read, written and executed. A file may come from somebody else."""

MOST_BYTES = 1 << 20
"""Largest file of options in bytes; one has less than one thousand."""


class OptionsFile(ActionConfigFile):
    """Takes the options of a file; those of `COMMAND_LINE_ALONE` only go into the parser's `config`."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Read the file."""
        try:
            options = options_of(Path(values))
        except (ValueError, OSError) as error:
            raise TypeError(sentence(error)) from error
        refused = {name: options.pop(name) for name in COMMAND_LINE_ALONE if name in options}
        # As text, so that nothing in it is taken for a path. It is one flat mapping by now.
        super().__call__(parser, cfg, json.dumps(options), option_string)  # type: ignore[no-untyped-call]
        cfg[self.dest][-1] = {"file": str(values)} | refused


def options_of(file: Path) -> dict[str, Any]:
    """The options in a file of JSON or YAML, by name.

    Raises:
        ValueError: no file, one that is not a mapping of options to plain values, or an unknown option.
    """
    file = Path(os.path.expanduser(file))
    if not file.is_file():
        raise ValueError(f"--config {file}: there is no such file")
    if (size := file.stat().st_size) > MOST_BYTES:
        raise ValueError(f"--config {file} has {size} bytes, expected a few options, less than {MOST_BYTES} bytes")
    try:
        found = _read(file.read_text(encoding="utf-8"))
    # RecursionError: brackets within brackets. TypeError: a mapping as a key.
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"--config {file} is neither JSON nor YAML ({type(error).__name__})") from error
    if not isinstance(found, dict):
        raise ValueError(f"--config {file} holds a {type(found).__name__}, expected options by name: seed: 3")
    known = [option.name for option in fields(TrainOptions)]
    for name, value in found.items():
        if name not in known:
            near = nearest(str(name), known)
            raise ValueError(
                f"--config {file}: there is no option {name!r:.80}" + (f"; did you mean {near}?" if near else "")
            )
        if isinstance(value, str) and not value.isprintable():
            raise ValueError(f"--config {file}: {name} is {value!r:.80}, expected visible letters")
        if not (value is None or isinstance(value, (str, bool, int, float))):
            raise ValueError(f"--config {file}: {name} is a {type(value).__name__}, expected a number or a text")
    return found


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return yaml.safe_load(text)


def refused_words(files: Sequence[Mapping[str, Any]] | None, chosen: TrainOptions) -> str:
    """A note on options of `COMMAND_LINE_ALONE` in files that the command line does not set; "" for none."""
    defaults = TrainOptions()
    said = []
    for found in files or ():
        words = []
        for name in COMMAND_LINE_ALONE:
            default, value = getattr(defaults, name), found.get(name)
            if value in (None, default) or getattr(chosen, name) != default:
                continue
            option = f"--{name.replace('_', '-')}"
            words += [option] if name in FLAGS else [f"{option}={value}"]
        if words:
            said.append(
                f"{visible(os.fspath(found['file']))} also says {visible(shlex.join(words))}, which is taken from the "
                "command line alone, since a file may come from somebody else; add it there if you mean it"
            )
    return "; ".join(said)
