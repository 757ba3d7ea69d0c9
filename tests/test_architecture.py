"""What the layout of the package promises: rooms, no circles, and public names that stay where they are."""

import ast
import importlib
import re
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PUBLIC = {
    "rra_monitor": """Comparison FixedSample Finding Group Invariance JSONLSink KnnGraph Match Monitor
        MonitorOptions Pairs Quantity Record Recorder RunStore Settings Settling Sink Snapshot __version__ compare_runs
        default_k findings graph invariance iter_features knn_graph match metric_key metrics pooled scalars settling
        undisturbed write_tables""",
    "rra_monitor.graph": "GraphOfParts KnnGraph PartsPlan ShardedGraph default_k knn_graph parts_plan",
    "rra_monitor.metrics": """Agreement ClassSimilarity Decimation GraphHealth HardClass HardSample InducedErrors Level
        LinearKernel RatioHistogram Scales Turnover adjusted cka_matrix decimated_twonn graph_health gride
        hardest_classes hardest_samples induced_errors k_occurrence levina_bickel linear_cka linear_kernel nncs
        nncs_by_class nncs_ceiling nncs_chance nncs_per_sample nnls nnls_chance nnls_divergence nnls_matrix
        nnls_per_sample ratio_histogram turnover turnovers twonn twonn_standard_error""",
    "rra_monitor.nn": """BAM Cost ResNet STAC SqueezeExcitation insert_attention network_cost resnet20 resnet34""",
    "rra_monitor.figures": "curves_figure montage nnls_figure ratios_figure views_figure",
    "rra_monitor.integrations.lightning": "RRACallback",
    "rra_monitor.integrations.tensorboard.sink": "TensorBoardSink",
    "rra_monitor.integrations.tensorboard.plugin": "RRALoader",
    "rra_monitor.integrations.wandb": "WandbSink reference_path",
    "rra_monitor.recipes.trained": "network_of",
}


def sources():
    """Dotted name of every file of the package to its path; a package's facade goes by the package's name."""
    tops = {"rra_monitor": ROOT / "rra_monitor", "rra_monitor.integrations": ROOT / "integrations"}
    found = {}
    for top, folder in tops.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            if parts[0] != "integrations":  # the link to the folder beside the package
                found[".".join((top, *parts)).removesuffix(".__init__")] = path
    return found


def imported(tree, files):
    """The files that a module imports, also within functions; not those for a type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom) and node.module in files:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in files else node.module for name in below)
        else:
            yield from imported(node, files)


def handed_on(facade):
    """The files that a lazy facade's stub names: to use the facade is to import them."""
    stub = facade.with_suffix(".pyi")
    for node in ast.parse(stub.read_text()).body if stub.exists() else ():
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_the_package_has_rooms_and_no_loose_modules():
    assert [path.name for path in (ROOT / "rra_monitor").glob("*.py")] == ["__init__.py"]
    assert all(
        (folder / "__init__.py").exists() for folder in (ROOT / "rra_monitor").iterdir() if list(folder.glob("*.py"))
    )


def test_hosts_and_dashboards_are_forbidden_to_every_package_below_the_integrations():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if "exhaustive" in contract)
    below = {name for row in layers[layers.index("integrations") + 1 :] for name in row.split(" | ")}
    (forbidden,) = (each["source_modules"] for each in contracts if "lightning" in each.get("forbidden_modules", ()))
    assert set(forbidden) == {f"rra_monitor.{name}" for name in below}


def test_no_file_imports_itself_by_way_of_others():
    files = sources()
    graph = {name: set(imported(ast.parse(path.read_text()), files)) for name, path in files.items()}
    for name, path in files.items():
        # The package's own facade hands everything on to users, and its version to the files of the package.
        if path.name == "__init__.py" and name != "rra_monitor":
            graph[name] |= {f"{name}.{module}" for module in handed_on(path)}
    assert sum(map(len, graph.values())) > 500
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize(("module", "names"), PUBLIC.items(), ids=PUBLIC)
def test_public_names_are_imported_from_where_they_were(module, names):
    found = importlib.import_module(module)
    assert [name for name in names.split() if not hasattr(found, name)] == []
    # Nor does a package of the same name stand before one, once it is imported.
    assert [
        name for name in names.split() if f"{module}.{name}" in sources() and name not in ("graph", "metrics")
    ] == []


HOMES = ("rra_monitor.measure.quantities", "rra_monitor.measure.snapshot", "rra_monitor.compare.groups")
"""Where a quantity may be told by its name: its definition, and properties of a snapshot and of a group."""


def quantity_names():
    from rra_monitor.measure.quantities import KNOWN

    return frozenset(KNOWN)


def branches_by_name(tree, names):
    """Lines that compare with the name of a quantity, subscript by it, or list several."""

    def is_name(node):
        return isinstance(node, ast.Constant) and node.value in names

    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
            parts += [each for part in parts if isinstance(part, ast.Tuple | ast.List | ast.Set) for each in part.elts]
            wrong = any(map(is_name, parts))
        elif isinstance(node, ast.MatchValue):
            wrong = is_name(node.value)
        elif isinstance(node, ast.Subscript):
            wrong = is_name(node.slice)
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            wrong = sum(map(is_name, node.elts)) > 1
        else:
            wrong = False
        if wrong:
            yield node.lineno


def test_no_code_outside_its_home_tells_a_quantity_by_its_name():
    names = quantity_names()
    found = {
        module: lines
        for module, path in sources().items()
        if not module.startswith(HOMES) and (lines := list(branches_by_name(ast.parse(path.read_text()), names)))
    }
    assert found == {}
    sample = "if name == 'id': pass\nx['nncs']\nfor each in ('ties', 'zeros'): pass\nif name in ('cka',): pass\n"
    assert sorted(branches_by_name(ast.parse(sample), names)) == [1, 2, 3, 4]


def test_the_page_tells_no_quantity_by_its_name():
    names = quantity_names()
    literal = re.compile(r"""(["'`])(\w+)\1""")
    found = {
        path.name: words
        for path in (ROOT / "rra_monitor" / "page" / "static").glob("*.js")
        if (words := [word for _, word in literal.findall(path.read_text()) if word in names])
    }
    assert found == {}
    assert [word for _, word in literal.findall('name === "nncs" ? a : `ties`')] == ["nncs", "ties"]
