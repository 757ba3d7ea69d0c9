import os
import time
import zipfile

import pytest
import torch

from rra_monitor.runs.checkpoint import load_checkpoint
from tests.helpers.checkpoints import save_checkpoints
from tests.helpers.digit_runs import network


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits):
    """With the weights of a network, and Lightning's checkpoint of the module that holds it after two epochs."""
    where = tmp_path_factory.mktemp("checkpoints")
    save_checkpoints(where, digits)
    return where


def doubled(times):
    """A list of lists whose text would be larger than any memory."""
    value = 1
    for _ in range(times):
        value = [value, value]
    return value


class TestLoadCheckpoint:
    def test_a_prefix_is_stripped_where_that_makes_it_fit(self, folder):
        net, other = network(), network()
        assert load_checkpoint(net, folder / "last.ckpt") == (10, 2, ["teacher.weight", "teacher.bias"])
        assert load_checkpoint(other, folder / "weights.pt") == (0, 0, [])
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))

    def test_of_two_networks_the_one_with_the_shorter_prefix_is_taken(self, tmp_path):
        net = network()
        weights = {f"model.{name}": value for name, value in net.state_dict().items()}
        average = {f"average.model.{name}": value * 0 for name, value in net.state_dict().items()}
        torch.save(average | weights, tmp_path / "w.pt")
        copy = network()
        load_checkpoint(copy, tmp_path / "w.pt")
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), copy.parameters(), strict=True))

    def test_what_does_not_fit_is_named(self, tmp_path):
        wrong = network().state_dict() | {"3.weight": torch.zeros(9, 72), "head.bias": torch.zeros(3)}
        del wrong["6.bias"]
        torch.save(wrong, tmp_path / "w.pt")
        with pytest.raises(
            ValueError, match=r"1 missing: 6\.bias; 1 unexpected: head\.bias; 1 of another shape: 3\.weight"
        ):
            load_checkpoint(network(), tmp_path / "w.pt")

    def test_a_model_keeps_its_weights_where_the_checkpoint_does_not_fit(self, tmp_path):
        torch.save({"3.weight": torch.zeros(16, 72)}, tmp_path / "part.pt")
        net = network()
        before = net[3].weight.clone()
        with pytest.raises(ValueError, match=r"5 missing: 0\.weight, 0\.bias, 3\.bias"):
            load_checkpoint(net, tmp_path / "part.pt")
        assert torch.equal(net[3].weight, before)

    def test_a_file_with_code_is_refused(self, tmp_path):
        torch.save(network(), tmp_path / "whole.pt")
        with pytest.raises(ValueError, match=r"cannot be read as weights alone .* torch.save\(model.state_dict"):
            load_checkpoint(network(), tmp_path / "whole.pt")

    @pytest.mark.parametrize(
        ("held", "text"), [({"epoch": 3}, "found the entries epoch"), ([1, 2], "found list"), ({}, "missing: 0.weight")]
    )
    def test_a_file_without_weights_is_an_error(self, tmp_path, held, text):
        torch.save(held, tmp_path / "w.pt")
        with pytest.raises(ValueError, match=text):
            load_checkpoint(network(), tmp_path / "w.pt")

    def test_a_missing_or_cut_off_file_is_an_error(self, tmp_path, folder):
        with pytest.raises(ValueError, match="there is no checkpoint"):
            load_checkpoint(network(), tmp_path / "no.pt")
        (tmp_path / "cut.pt").write_bytes((folder / "weights.pt").read_bytes()[:500])
        with pytest.raises(ValueError, match="cannot be read as weights alone"):
            load_checkpoint(network(), tmp_path / "cut.pt")

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            (lambda w: {1: w["0.bias"]}, r"found the entries \(int\)"),
            (lambda w: {("a",): w["0.bias"]}, r"found the entries \(tuple\)"),
            (lambda w: {"state_dict": {1: w["0.bias"]}}, "found the entries state_dict"),
            (lambda w: {"x" * 10**6: w["0.bias"]}, "unexpected: x{40,50}…x{40,50}"),
            (lambda w: w | {"0.bias": w["0.bias"].to_sparse()}, "0.bias is not dense there"),
            (lambda w: w | {"0.bias": w["0.bias"].to("meta")}, "0.bias is without values there"),
            (lambda w: w | {"0.bias": w["0.bias"].to(torch.complex64)}, "0.bias is complex there, real in MODEL"),
            (lambda w: {"state_dict": w, "global_step": -5}, "global_step is no count"),
            (lambda w: {"state_dict": w, "global_step": 10**30}, "global_step is no count"),
            (lambda w: {"state_dict": w, "global_step": True}, "global_step is no count"),
            (lambda w: {"state_dict": w, "global_step": w["0.bias"]}, "global_step is no count"),
            (lambda w: {"a": doubled(60)}, "found the entries a"),
            (lambda w: {"state_dict": w, "global_step": doubled(60)}, "global_step is no count"),
        ],
    )
    def test_an_odd_checkpoint_is_named_with_what_is_odd(self, tmp_path, change, text):
        torch.save(change(dict(network().state_dict())), tmp_path / "w.pt")
        with pytest.raises(ValueError, match=rf"^{tmp_path}/w\.pt.*{text}"):
            load_checkpoint(network(), tmp_path / "w.pt")

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(100), b"ckpt\nckpt\n", bytes(1000), b"\x80\x02}."])
    def test_a_file_that_is_no_checkpoint_is_named(self, tmp_path, content):
        (tmp_path / "w.pt").write_bytes(content)
        with pytest.raises(ValueError, match=rf"^{tmp_path}/w\.pt "):
            load_checkpoint(network(), tmp_path / "w.pt")

    def test_what_is_no_file_is_no_checkpoint(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
            with pytest.raises(ValueError, match=rf"there is no checkpoint {path}: it is no file"):
                load_checkpoint(network(), path)

    def test_a_checkpoint_that_unpacks_to_far_more_than_its_size_is_refused(self, tmp_path):
        torch.save(network().state_dict(), tmp_path / "w.pt")
        with zipfile.ZipFile(tmp_path / "w.pt", "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("more", bytes(250_000_000))
        with pytest.raises(ValueError, match=r"its \d{6} bytes unpack to 2500\d{5}"):
            load_checkpoint(network(), tmp_path / "w.pt")

    def test_weights_in_half_precision_and_a_state_dict_with_a_step_of_its_own_are_loaded(self, tmp_path):
        net = network()
        net.register_buffer("global_step", torch.tensor(7))
        halves = {name: value.half() for name, value in net.state_dict().items()}
        torch.save(halves, tmp_path / "w.pt")
        assert load_checkpoint(net, tmp_path / "w.pt") == (0, 0, [])

    def test_the_prefix_of_a_checkpoint_is_found_in_time_that_grows_with_its_names(self, tmp_path):
        many = {f"a{at}.3.weight": torch.zeros(1) for at in range(20_000)}
        own = {f"{'b.' * 200}{name}": value for name, value in network().state_dict().items()}
        torch.save(many | own, tmp_path / "w.pt")
        started = time.process_time()
        assert len(load_checkpoint(network(), tmp_path / "w.pt")[2]) == len(many)
        assert time.process_time() - started < 5
