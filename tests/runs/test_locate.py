import fsspec
import pytest

from rra_monitor.runs.locate import directories

NAMES = (
    "plain",
    "with space",
    "größe",
    "lr=0.1,model=[a,b]",
    "a#b%20c",
    "it's",
    "run::1",
    "~tilde",
    "star*",
    "[seed0]",
)


@pytest.fixture(params=["disk", "memory"])
def root(request, tmp_path):
    place = str(tmp_path) if request.param == "disk" else f"memory://{tmp_path}"
    system, path = fsspec.core.url_to_fs(place)
    for name in (*NAMES, "a", "s"):
        for run in ("seed0", "seed1"):
            system.makedirs(f"{path}/{name}/{run}")
    return place


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_found_by_its_very_name_and_patterns_within_it(root, name):
    if "://" in root and "::" in name:
        pytest.skip("a chain of file systems")
    assert directories(f"{root}/{name}") == [f"{root}/{name}"]
    assert directories(f"{root}/{name}/seed*") == [f"{root}/{name}/seed0", f"{root}/{name}/seed1"]


def test_a_pattern_without_such_a_folder_is_a_pattern(root):
    assert directories(f"{root}/[as]") == [f"{root}/a", f"{root}/s"]
    assert directories(f"{root}/p*") == [f"{root}/plain"]
    assert directories(f"{root}/nothing") == []
