"""The command `rra-monitor`. Each subcommand imports what it needs when it runs, so that --help is instant."""

import inspect
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable

from jsonargparse import ArgumentParser, DefaultHelpFormatter


def demo(out: str | None = None, epochs: int = 10) -> None:
    """Train ResNet20 on scikit-learn's digits with two seeds, monitored; no network needed, two minutes on two cores.

    The first seed is the reference of the second. Ends with a table of ID, NNCS and NNLS per layer, two pictures, and
    the command that opens the dashboard.

    Args:
        out: directory for runs and pictures; the first free of rra-demo, rra-demo-1, … by default.
        epochs: of training for each seed.
    """
    try:
        from rra_monitor.demo import run_demo
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"rra-monitor demo needs the package {error.name!r}. Install rra-monitor with its extra [recipes]."
        ) from error
    run_demo(out, epochs)


def compare(
    runs: list[str], group: list[list[str]], probe: str | None = None, epoch: int | None = None, out: str | None = None
) -> None:
    """Compare runs, or groups of runs, from their stored graphs: what differs, layer by layer.

    Prints ID and NNCS of every layer (mean ± standard deviation over the runs of a group), the NNLS of each layer with
    the layer of the same name in other runs (over all pairs of runs, within a group and across two), and how far each
    layer was from its final state, by epoch. Writes the same, all epochs and whole matrices as CSV and JSON.

    Two runs, each by itself:
      rra-monitor compare rra-demo/seed0 rra-demo/seed1
    Two recipes with several seeds each; quote the patterns:
      rra-monitor compare --group plain='runs/plain-*' --group augmented='runs/aug-*' --out comparison
    Training and validation sample of one group:
      rra-monitor compare --group A='runs/a*' --probe train,val

    Seeds that differ less from the other group than among themselves show no effect of the recipe. What can not be
    compared (other samples, another k) is left out, and the reason is printed.

    Args:
        runs: directories of runs.
        group: names with patterns of directories.
        probe: sample to compare, or several with commas; `train` by default, or else the first that all runs have.
        epoch: at which runs are paired, in completed epochs; the last snapshot of each by default.
        out: folder of the CSV and JSON files; the first free of rra-compare, rra-compare-1, … by default.
    """
    from rra_monitor.compare_command import run_compare

    try:
        run_compare(runs, group, probe, epoch, out)
    except ValueError as error:
        raise SystemExit(f"rra-monitor compare: {error}") from error


def _compare_parser() -> ArgumentParser:
    parser = _parser(compare, skip={"runs", "group"})
    parser.add_argument("runs", nargs="*", default=[], metavar="RUN", help="directory of a run, each one by itself")
    parser.add_argument(
        "--group",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME=GLOB", "GLOB"),
        help="runs of one recipe, averaged and paired; once for each group",
    )
    return parser


class _Help(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the lines of a description, and its examples with them."""


def _parser(command: Callable[..., None], skip: set[str] | None = None) -> ArgumentParser:
    """A parser of a function's arguments, with its docstring as the help."""
    parser = ArgumentParser(description=_description(command), formatter_class=_Help)
    parser.add_function_arguments(command, as_group=False, skip=set(skip or ()))
    return parser


def _description(command: Callable[..., None]) -> str:
    return (inspect.getdoc(command) or "").split("\n\nArgs:")[0]


def main() -> None:
    """Watch every layer of a vision network while it trains."""
    commands: dict[Callable[..., None], ArgumentParser] = {demo: _parser(demo), compare: _compare_parser()}
    parser = ArgumentParser(prog="rra-monitor", description=main.__doc__)
    choice = parser.add_subcommands()
    for command, own in commands.items():
        choice.add_subcommand(command.__name__, own, help=_description(command).split("\n")[0])
    given = parser.parse_args()
    {command.__name__: command for command in commands}[given.subcommand](**given[given.subcommand].as_dict())


if __name__ == "__main__":
    main()
