import pytest

from rra_monitor.cli.arguments import groups_named, run_names


def test_groups_take_several_patterns_and_directories_alone(tmp_path):
    for name in ("a0", "a1", "b0"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.txt").touch()
    found = groups_named([[f"my runs={tmp_path}/a*", f"{tmp_path}/b0"]])
    assert found == {"my runs": [f"{tmp_path}/{name}" for name in ("a0", "a1", "b0")]}


def test_names_of_runs_are_what_differs_in_their_paths():
    assert run_names(["runs/a", "runs/b/c"]) == {"a": "runs/a", "b/c": "runs/b/c"}
    assert run_names(["runs/a"]) == {"runs/a": "runs/a"}
    with pytest.raises(ValueError, match="named twice"):
        run_names(["a", "a"])
