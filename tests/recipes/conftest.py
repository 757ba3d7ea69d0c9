import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Steps this small take longer on two threads, and far longer where both share a core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
