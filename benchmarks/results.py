"""What all benchmarks report alike: the machine, the command line, and a marked section of RESULTS.md."""

import datetime
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("RESULTS.md")


@dataclass
class Sheet:
    """A table for the terminal and for RESULTS.md; its first `texts` columns are set left, the rest right."""

    title: str
    header: Sequence[str]
    texts: int = 1
    rows: list[list[str]] = field(default_factory=list)

    def print(self, console: Console) -> None:
        table = Table(title=self.title)
        for position, name in enumerate(self.header):
            table.add_column(name, justify="left" if position < self.texts else "right")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> str:
        rule = ["---" if position < self.texts else "---:" for position in range(len(self.header))]
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.header, rule, *self.rows)]
        return f"{self.title}\n\n" + "\n".join(lines)


def processor() -> str:
    """The CPU's own name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} cores)" if names else platform.processor() or platform.machine()


def provenance(threads: int, versions: Mapping[str, str]) -> str:
    """What was run, when and on what."""
    # Where something lies on this machine is nobody's business.
    words = ["PATH" if "/" in word else word for word in sys.argv[1:]]
    command = "python benchmarks/" + shlex.join([Path(sys.argv[0]).name, *words])
    software = [f"{name} {version}" for name, version in {"Python": platform.python_version(), **versions}.items()]
    day = datetime.date.today().isoformat()
    return f"`{command}`, {', '.join((day, processor(), f'{threads} threads', *software))}."


def write_section(name: str, text: str) -> None:
    """Replace what stands between <!-- name:begin --> and <!-- name:end --> in RESULTS.md, or append it."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    page = RESULTS.read_text()
    if begin in page and end in page:
        before, rest = page.split(begin, 1)
        page = before + section + rest.split(end, 1)[1]
    else:
        page = f"{page.rstrip()}\n\n{section}\n"
    RESULTS.write_text(page)
