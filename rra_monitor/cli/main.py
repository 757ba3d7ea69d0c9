"""The command `rra-monitor`. Each subcommand imports what it needs when it runs, so that --help is instant."""

import inspect
import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Literal, NoReturn

from jsonargparse import ActionYesNo, ArgumentParser, DefaultHelpFormatter

from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.options_file import OptionsFile, refused_words
from rra_monitor.utils.nearest import nearest
from rra_monitor.utils.terminal import one_sentence, print_trace


def demo(out: str | None = None, epochs: int = 10) -> None:
    """Train ResNet20 on scikit-learn's digits with two seeds, monitored; no network needed, a minute on two cores.

    The seeds are trainings of the recipe resnet20-digits; the first is the reference of the second. Ends with a table
    of ID, NNCS and NNLS per layer, what they show, two pictures, a report for any browser, and the command that opens
    the dashboard.

    Args:
        out: directory for runs and pictures; the first free of rra-demo, rra-demo-1, … by default.
        epochs: epochs of training for each seed.
    """
    try:
        from rra_monitor.cli.demo import run_demo
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"rra-monitor demo needs the package {error.name!r}. Install rra-monitor with its extra [recipes]."
        ) from error
    with one_sentence("demo"):
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

    The same as a page to look at and to send, one file that works offline:
      rra-monitor compare --group A='runs/a*' --group B='runs/b*' --out report.html

    If runs of two groups are as similar as runs of one group, the recipes made no difference. What cannot be compared
    (other samples, another k) is left out, and the reason is printed.

    Args:
        runs: directories of runs.
        group: names with patterns of directories.
        probe: sample to compare, or several with commas; `train` by default, or else the first that all runs have.
        epoch: epoch at which runs are paired, in completed epochs; the last snapshot of each by default.
        out: folder of the CSV and JSON files, or a report that ends in .html; the first free of rra-compare,
            rra-compare-1, … by default.
    """
    from rra_monitor.cli.compare import run_compare

    with one_sentence("compare"):
        run_compare(runs, group, probe, epoch, out)


def _compare_parser() -> ArgumentParser:
    parser = _parser(compare, skip={"runs", "group"})
    parser.add_argument("runs", nargs="*", metavar="RUN", help="directory of a run, each one by itself")
    _add_groups(parser, "runs of one recipe, averaged and paired; once for each group")
    return parser


def _add_groups(parser: ArgumentParser, words: str) -> None:
    parser.add_argument("--group", nargs="+", action="append", default=[], metavar=("NAME=GLOB", "GLOB"), help=words)


def report(runs: list[str], group: list[list[str]], out: str | None = None) -> None:
    """Write runs as one HTML file to look at and to send: every epoch of every layer, works offline, at most 8 MB.

    Shows ID and NNCS over the layers and NNLS matrices with one slider over the epochs, how each layer develops, the
    difference of any two runs or epochs, the findings in words, and the cost of measuring.

    The demo's two runs:
      rra-monitor report rra-demo
    Two runs of your own:
      rra-monitor report runs/a0 runs/b0 --out a-and-b.html
    Seeds of two recipes, each drawn as its mean and range; quote the patterns:
      rra-monitor report --group plain='runs/plain-*' --group augmented='runs/aug-*'

    A run is the directory with snapshots/ in it, or the logger's directory that holds it; of a directory of runs all
    are taken. Where all epochs would exceed 8 MB, some are left out evenly, and the page says so.

    Args:
        runs: directories of runs.
        group: names with patterns of directories.
        out: name of the file; the first free of rra-report.html, rra-report-1.html, … by default.
    """
    from rra_monitor.cli.report import run_report

    with one_sentence("report"):
        run_report(runs, group, out)


def _report_parser() -> ArgumentParser:
    parser = _parser(report, skip={"runs", "group"})
    parser.add_argument("runs", nargs="*", metavar="RUN", help="directory of a run, or of several")
    _add_groups(parser, "runs of one recipe, drawn together; once for each group")
    return parser


def analyze(
    model: str | None,
    source: str | None,
    data: str | None = None,
    checkpoint: str | None = None,
    out: str | None = None,
    n: int | None = None,
    k: int | None = None,
    views: str | None = None,
    layers: str | None = None,
    probe: str | None = None,
    arguments: str | None = None,
    size: int | None = None,
    seed: int = 0,
    backend: str | None = None,
    estimator: str | None = None,
    cka: bool = False,
) -> None:
    """Analyse one network on one data set, without training: ID, NNCS and the health of every layer's graph.

    Stores the graphs as a run, so that `rra-monitor compare` and every other command can read it, and writes the curves
    and the NNLS of all pairs of layers as CSV, JSON and pictures. Prints what the curves show, one sentence each.

    A checkpoint of a function that builds the network (my_code.py is in this directory):
      rra-monitor analyze my_code:build --checkpoint last.ckpt --data my_code:validation_data
    A torchvision (or timm) network on folders of images, DIR/<class>/* or DIR/train/<class>/* and DIR/val/<class>/*:
      rra-monitor analyze torchvision:resnet18 --arguments num_classes=10 --checkpoint w.pt --data DIR --size 224
    Some layers of ResNet20 on CIFAR-10, with and without pooling:
      rra-monitor analyze rra_monitor.nn:resnet20 --data cifar10:DIR --layers 'input,layer3.*' --views full,avg-global
    Without data of your own, scikit-learn's digits (1 x 16 x 16):
      rra-monitor analyze rra_monitor.nn:resnet20 --arguments in_channels=1 --data digits
    The same numbers again from the stored graphs, without network or data:
      rra-monitor analyze --from rra-analysis

    Several checkpoints of one training may go to one --out: each becomes a snapshot of that run.

    Args:
        model: the network.
        source: a stored run.
        data: a folder of images by class (scaled as for ImageNet), `cifar10:DIR`, `digits`, `run:RUN` (the data of a
            run of `rra-monitor train`: images from the directory that the run names, which is printed, never pickles;
            `pickled-run:RUN:DIR` reads pickles in DIR, which runs the code they contain), a file that
            `FixedSample.save` wrote, or `module:function` that returns a Dataset, or a dictionary of them by name.
            Without random augmentation.
        checkpoint: a Lightning checkpoint or a state_dict; by default the weights of the network as it is built.
        out: folder of the run and of the CSV and JSON files; the first free of rra-analysis, rra-analysis-1, … by
            default.
        n: samples of each split of the data; 2000 by default, fewer if there are not enough.
        k: neighbours of each sample; n / (10 · classes) by default.
        views: views of every layer with commas, such as `full,avg2,max-global`; `full` by default.
        layers: names and patterns with commas; the input, the stem, every block, pool and classifier by default.
        probe: split of the data to use, `train` or `val`; for data in one split its name in the run.
        arguments: arguments of the function that builds the network, such as `num_classes=10,in_channels=1`.
        size: size of the images of a folder: their shorter side is scaled to it and the centre cut out.
        seed: seed of the draw of the samples, and of the weights without a checkpoint.
        backend: backend of the graphs, `exact`, `nndescent` or `auto`; `auto` by default.
        estimator: estimator of the ID, `ml`, `regression` or `censored`; `ml` by default, as in the thesis. The others
            are not lowered by near-duplicates among the samples.
        cka: whether to compute the linear CKA, too.
    """
    from rra_monitor.cli.analyze import run_analyze

    with one_sentence("analyze", TypeError):
        run_analyze(
            model,
            data,
            source,
            out,
            probe,
            seed,
            checkpoint=checkpoint,
            arguments=arguments,
            size=size,
            n=n,
            k=k,
            views=_listed(views),
            layers=layers if layers == "auto" else _listed(layers),
            backend=backend,
            estimator=estimator,
            cka=cka or None,
        )


def _analyze_parser() -> ArgumentParser:
    parser = _parser(analyze, skip={"model", "source", "cka"})
    forms = "module:function that returns the network, torchvision:NAME or timm:NAME"
    parser.add_argument("model", nargs="?", metavar="MODEL", help=forms)
    parser.add_argument("--from", dest="source", metavar="RUN", help="a stored run, in place of MODEL and --data")
    cka = "also compute the linear CKA of all pairs of layers, for comparison with the NNLS"
    parser.add_argument("--cka", action="store_true", help=cka)
    return parser


def recipes(pattern: str | None) -> None:
    """List the recipes: every training of the thesis by name, with the thesis's accuracy.

    All of ResNet20 on CIFAR-10:
      rra-monitor recipes 'resnet20-cifar10*'

    Args:
        pattern: pattern of names.
    """
    from rra_monitor.cli.recipes import print_recipes

    with one_sentence("recipes"):
        print_recipes(pattern)


def _recipes_parser() -> ArgumentParser:
    parser = _parser(recipes, skip={"pattern"})
    parser.add_argument("pattern", nargs="?", metavar="PATTERN", help="of names, quoted: 'resnet20-cifar10*'")
    return parser


def train(name: str | None = None, config: Sequence[dict[str, Any]] = (), **options: Any) -> None:
    """Train a recipe of the thesis with the monitor on; `rra-monitor recipes` lists them.

    Leaves checkpoints, numbers by epoch, the graphs and curves of every layer, its whole configuration and the versions
    in one folder for each seed, and continues where it was interrupted.

    Without data of your own, scikit-learn's digits; about two minutes on two CPU cores:
      rra-monitor train resnet20-digits
    Model B of the thesis, and the same in a quarter of an hour on two CPU cores:
      rra-monitor train resnet20-cifar10-aug --seed 3 --data DIR
      rra-monitor train resnet20-cifar10-aug --data DIR --short
    Eight seeds, one after another; the same again continues after an interruption:
      rra-monitor train resnet20-cifar10 --data DIR --seeds 0-7
    STAC with other windows, for another number of epochs:
      rra-monitor train resnet20-cifar10-stac --data DIR --window 8,4,8 --max-epochs 40
    Options from a file; the command line takes precedence:
      rra-monitor train --config runs/resnet20-digits/seed0/config.json --out again

    A file may come from somebody else. So where images are read from (--data, --download), where the training is stored
    (--out, --resume) and whether pickles are read, which runs the code they contain (--allow-pickle), is taken from the
    command line alone; what a file says about these is printed and ignored.
    """
    try:
        from rra_monitor.cli.train import run_train
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"rra-monitor train needs the package {error.name!r}. Install rra-monitor with its extra [recipes]."
        ) from error
    with one_sentence("train", TypeError):
        chosen = TrainOptions(**options | {"recipe": name or options["recipe"]})
        if words := refused_words(config, chosen):
            print(f"rra-monitor train: {words}", file=sys.stderr)
        run_train(chosen)


def _train_parser() -> ArgumentParser:
    parser = _Parser(description=_description(train), formatter_class=_Help)
    parser.add_argument(
        "--config",
        action=OptionsFile,
        metavar="FILE",
        help="options in JSON or YAML, but for --data, --download, --out, --resume and --allow-pickle",
    )
    for option in fields(TrainOptions):
        name = "--" + option.name.replace("_", "-")
        kind: dict[str, Any] = {"default": option.default, "help": option.metadata["help"]}
        if option.name == "recipe":
            # An absent positional would hide a file's entry of the same name.
            parser.add_argument("name", nargs="?", metavar="RECIPE", help=kind["help"])
            kind["help"] = "the same, for configuration files"
        if option.type is bool:
            parser.add_argument(name, action=ActionYesNo(no_prefix="no-"), **kind)
        else:
            parser.add_argument(name, type=option.type, **kind)
    return parser


def suggest(
    runs: list[str],
    strategy: Literal["max-cs", "uniform", "greedy"] = "max-cs",
    probe: str = "train",
    side: int | None = None,
) -> None:
    """Read the windows of STAC from a run: what its analysis suggests for the next training.

    max-cs: for each stage the average-pooling window at which the classes are most separable (NNCS), the mean over its
    blocks; needs one run with pooled views. uniform: one window for all, the side of the last stage's map. greedy:
    for each stage the window of the highest validation accuracy, from runs with STAC in that stage alone.

    Windows, with their margins, and the command that trains with them:
      rra-monitor suggest runs/resnet20-cifar10/seed0
    From one training for each stage and window:
      rra-monitor suggest runs/resnet20-cifar10-stac-s*/seed0 --strategy greedy

    Args:
        runs: directories of runs.
        strategy: strategy that chooses the windows (thesis, Table 7.6).
        probe: sample whose NNCS counts, for max-cs.
        side: side of the images in pixels, for a network of rra_monitor.nn that was not trained by `rra-monitor train`.
    """
    from rra_monitor.cli.suggest import run_suggest

    with one_sentence("suggest"):
        run_suggest(runs, strategy, probe, side)


def _suggest_parser() -> ArgumentParser:
    parser = _parser(suggest, skip={"runs"})
    parser.add_argument("runs", nargs="+", metavar="RUN", help="directory of a run; several for greedy")
    return parser


def _listed(names: str | None) -> list[str] | None:
    return None if names is None else [name.strip() for name in names.split(",")]


class _Help(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the lines of a description, and its examples with them."""


class _Parser(ArgumentParser):
    """Names the nearest option to an unknown one."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if message.startswith("unrecognized arguments:"):
            known = re.findall(r"(?<![\w-])--[a-z][a-z-]*", self.format_help())
            unknown = [word for word in message.split() if word.startswith("--")]
            near = [found for word in unknown if (found := nearest(word.partition("=")[0], known))]
            message += f"; did you mean {', '.join(near)}?" if near else ""
        super().error(message, ex)


def _parser(command: Callable[..., None], skip: set[str] | None = None) -> ArgumentParser:
    """A parser of a function's arguments, with its docstring as the help."""
    parser = _Parser(description=_description(command), formatter_class=_Help)
    parser.add_function_arguments(command, as_group=False, skip=set(skip or ()))
    return parser


def _description(command: Callable[..., None]) -> str:
    return (inspect.getdoc(command) or "").split("\n\nArgs:")[0]


def main() -> None:
    """Watch every layer of a vision network while it trains."""
    commands: dict[Callable[..., None], ArgumentParser] = {
        demo: _parser(demo),
        analyze: _analyze_parser(),
        compare: _compare_parser(),
        report: _report_parser(),
        recipes: _recipes_parser(),
        train: _train_parser(),
        suggest: _suggest_parser(),
    }
    sys.excepthook = print_trace
    parser = _Parser(prog="rra-monitor", description=main.__doc__, formatter_class=_Help)
    choice = parser.add_subcommands()
    for command, own in commands.items():
        choice.add_subcommand(command.__name__, own, help=_description(command).split("\n")[0])
    given = parser.parse_args()
    options = given[given.subcommand].as_dict()
    {command.__name__: command for command in commands}[given.subcommand](**options)


if __name__ == "__main__":
    main()
