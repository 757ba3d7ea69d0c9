import pytest

from rra_monitor.page.assets import plotly_bundle, static_files


def test_every_module_that_is_imported_is_there():
    files, imported = static_files(), set()
    for name, path in files.items():
        for line in path.read_text().splitlines():
            if name.endswith(".js") and " from " in line and line.startswith(("import", "export", "}")):
                imported.add(module := line.split('"')[1].removeprefix("./"))
                assert module in files, f"{name}: {line}"
    # All but the page of TensorBoard's tab and the report's are imported by another.
    assert {name for name in files if name.endswith(".js")} - imported <= {"tensorboard.js", "report.js"}


def test_plotly_comes_from_its_package():
    assert b"plotly.js" in plotly_bundle().read_bytes()[:200]


def test_no_plotly_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"rra-monitor\[report"):
        plotly_bundle()
