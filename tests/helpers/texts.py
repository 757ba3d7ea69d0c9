"""The texts in the source that a reader may be shown, and what they name."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.helpers import ROOT

NAMED = re.compile(
    r"""
    [\w.]* \. (?: json | npz | safetensors ) \b
    | (?P<option> (?<![\w-]) --[a-z][a-z-]*)
    | rra-monitor \s (?P<command> [a-z]+)
    | (?: rra-monitor | extra\s ) \[ (?P<extras> [a-z,]+) \]
    | \b (?P<file> (?: docs | rra_monitor ) / [\w/.]* \w)
    | \b (?P<recipe> resnet\d+ - [a-z\d-]+)
    | \b (?P<member> [A-Za-z_]\w* (?: \. [A-Za-z_]\w* )+)
    | \b (?P<call> [A-Za-z_]\w*) (?= \( )
    | \b (?P<argument> [a-z]\w*) (?= = )
    | \b (?P<python> [a-z]+ (?: _ [a-z]+ )+ | [A-Z][a-z]+ (?: [A-Z][a-z]+ )+ | RRACallback) \b
    | ' (?P<value> [a-z][a-z-]*) '
    | \b (?P<removal> [Dd]elete | [Rr]emove) \b
    """,
    re.VERBOSE,
)
"""What a text may name; files of data are none of it."""


class Text(NamedTuple):
    """A text in the source; `{}` stands for each value in it."""

    path: Path
    line: int
    words: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.words}"


class Name(NamedTuple):
    """What a text names, and where."""

    kind: str
    name: str
    start: int
    end: int


@cache
def texts() -> list[Text]:
    """The texts of the package that are sentences, or parts of one."""
    paths = [path for top in ("rra_monitor", "integrations") for path in sorted((ROOT / top).rglob("*.py"))]
    # rra_monitor/integrations is a link to integrations/.
    paths = [path for path in paths if "integrations" not in path.relative_to(ROOT).parts[1:]]
    found = [Text(path, line, words) for path in paths for line, words in strings(ast.parse(path.read_text()))]
    return [text for text in found if " " in text.words and not re.search(r"^<|\n", text.words)]


def strings(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and words of each text within a part of a module, but docstrings, helps of options and information."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("_option", "_log.info"):
        return
    if isinstance(node, ast.keyword) and node.arg == "help":
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, re.sub(r"%[.\d]*[dfs]", "{}", node.value)
    parts = ast.iter_child_nodes(node)
    if isinstance(node, ast.JoinedStr):
        yield node.lineno, "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        parts = (part.value for part in node.values if isinstance(part, ast.FormattedValue))
    for part in parts:
        yield from strings(part)


def names(words: str) -> list[Name]:
    """All that a text names."""
    found = [(each.lastgroup, each) for each in NAMED.finditer(words)]
    return [Name(kind, each[kind], each.start(), each.end()) for kind, each in found if kind]


def advised(words: str) -> list[Name]:
    """What a text names, without that whose value it only reports: `k={} for n={} samples`, `--seed {}: expected …`."""
    return [named for named in names(words) if not _has_the_value(words, named)]


def _has_the_value(words: str, named: Name) -> bool:
    if named.start == 0 and named.kind != "removal":
        return True
    before, after = words[: named.start], words[named.end :]
    return after.startswith(("={}", " {}")) and not re.search(r"(?i)\b(pass|give|with) $", before)


def uncovered(words: str, parts: list[str]) -> list[str]:
    """What a text advises that none of its parts holds."""
    spans = [each.span() for part in parts for each in re.finditer(re.escape(part), words)]
    return [
        named.name
        for named in advised(words)
        if not any(start <= named.start and named.end <= end for start, end in spans)
    ]


@cache
def followed() -> dict[str, int]:
    """The parts of texts that tests follow, and how many do; see `tests.helpers.remedies`."""
    found: dict[str, int] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        source = path.read_text()
        for call in ast.walk(ast.parse(source)) if "tests.helpers.remedies" in source else ():
            if (
                isinstance(call, ast.Call)
                and ast.unparse(call.func) in ("Remedy", "refusal", "assert_says", "Damage")
                and isinstance(call.args[0], ast.Constant)
            ):
                found[call.args[0].value] = found.get(call.args[0].value, 0) + 1
    return found
