"""Whatever a forward pass changes is put back. Each case is shown to change something where nothing is put back."""

import array
import copy
import functools
import random
import types
import weakref
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import rra_monitor as rra
from rra_monitor.capture import kept, objects, state

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))

calls = 0
seen = []
configuration = types.SimpleNamespace(calls=0)
shared = torch.zeros(4)
source = np.random.default_rng(0)
settings = types.ModuleType("settings")
settings.calls = 0


class Changing(nn.Module):
    """A network whose forward pass also calls `change`."""

    def __init__(self, change, **attributes):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        for name, value in attributes.items():
            setattr(self, name, value)
        self.change = change

    def forward(self, x):
        y = self.fc(x)
        self.change(self, y)
        return y


class Changed(Changing):
    """What a network becomes at its first call."""


def attributes(change, **values):
    return lambda: Changing(change, **values)


def plain(value):
    """A value that can be compared, of whatever holds tensors and objects."""
    if isinstance(value, torch.Tensor):
        values = value.detach().to(torch.complex128 if value.is_complex() else torch.float64).flatten().tolist()
        return ("tensor", value.dtype, tuple(value.shape), values, value.requires_grad)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return [(plain(key), plain(each)) for key, each in value.items()]
    if isinstance(value, (list, tuple, deque)):
        return [type(value).__name__, *map(plain, value)]
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, nn.Module):
        return [type(value).__name__, plain(value.__dict__)]
    if isinstance(value, (Slots, Held)):
        return [plain(value.calls), plain(value.values)]
    if isinstance(value, types.SimpleNamespace):
        return value.calls
    return repr(value) if isinstance(value, (array.array, bytearray, int, float, str, bytes, type(None))) else "object"


class Slots:
    __slots__ = ("calls", "later", "values")

    def __init__(self):
        self.calls, self.values = 0, []


@dataclass
class Held:
    calls: int = 0
    values: object = None


class Table(dict):
    """A dictionary that counts how often it is written to by its own method."""

    written = 0

    def __setitem__(self, key, value):
        Table.written += 1
        super().__setitem__(key, value)


Pair = namedtuple("Pair", "a b")


def held(value, change):
    """A network with one attribute, `held`, that its forward pass changes."""
    return lambda: Changing(lambda net, y: change(net.held), held=value())


def setting(name, value):
    return lambda net, y: setattr(net, name, value(net, y))


def circle():
    one = types.SimpleNamespace(calls=0)
    one.values = [vars(one)]
    return one


def added(net, y):
    net.latest = y.detach().mean()


def deleted(net, y):
    if "spare" in net.__dict__:
        del net.spare


def of_closure():
    count, values = 0, []

    def hook(module, inputs, output):
        nonlocal count
        count += 1
        values.append(float(output.detach().mean()))

    hook.read = lambda: (count, list(values))
    return hook


def of_function_attribute():
    def hook(module, inputs, output):
        hook.calls = getattr(hook, "calls", 0) + 1

    hook.read = lambda: getattr(hook, "calls", 0)
    return hook


def of_default():
    def hook(module, inputs, output, values=[]):  # noqa: B006 - a common way to keep something
        values.append(1)

    hook.read = lambda: len(hook.__defaults__[0])
    return hook


class Recorder:
    """An object of the user whose method is a hook."""

    made = 0

    def __init__(self):
        self.activations = {}
        self.count = 0

    def hook(self, module, inputs, output):
        self.count += 1
        self.activations.setdefault("fc", []).append(output.detach())
        Recorder.made += 1

    def read(self):
        return self.count, plain(self.activations), Recorder.made


class Teacher(nn.Module):
    """A student and a teacher that follows it in each forward pass, in evaluation mode, too."""

    def __init__(self, write):
        super().__init__()
        self.student, self.teacher = nn.Linear(4, 4), nn.Linear(4, 4)
        self.teacher.requires_grad_(False)
        self.write = write

    def forward(self, x):
        for old, new in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            self.write(old, new)
        return self.student(x) + self.teacher(x)


def in_place(old, new):
    with torch.no_grad():
        old.mul_(0.9).add_(new, alpha=0.1)


def past_the_version(old, new):
    old.data.mul_(0.9).add_(new.data, alpha=0.1)


def of_another_memory(old, new):
    old.data = 0.9 * old.data + 0.1 * new.data


def frozen(net, y):
    net.fc.weight.requires_grad_(False)


def without_gradient(net, y):
    net.fc.weight.grad = None


def zeroed_gradient(net, y):
    if net.fc.weight.grad is not None:
        net.fc.weight.grad.zero_()


def scale():
    return nn.Parameter(torch.tensor(3.0))


def parameter_added(net, y):
    net.register_parameter("late", nn.Parameter(torch.ones(2)))


def module_added(net, y):
    net.late = nn.Linear(2, 2)


def hook_added(net, y):
    net.fc.register_forward_hook(lambda *_: None)


def buffer_resized(net, y):
    net.table.resize_(3).fill_(7)


def with_buffer(change, value):
    def make():
        network = Changing(change)
        network.register_buffer("table", value())
        return network

    return make


def of_globals():
    def hook(module, inputs, output):
        global calls, late
        calls += 1
        late = calls
        seen.append(calls)
        configuration.calls += 1
        settings.calls += 1
        shared.add_(1)
        source.random()

    hook.read = lambda: (
        calls,
        "late" in globals(),
        list(seen),
        configuration.calls,
        settings.calls,
        shared.tolist(),
        source.bit_generator.state["state"],
    )
    return hook


def helper():
    seen.append(2)


def of_a_global_function():
    def hook(module, inputs, output):
        helper()

    hook.read = lambda: list(seen)
    return hook


class Metered(nn.Module):
    def __init__(self):
        super().__init__()
        torchmetrics = pytest.importorskip("torchmetrics")
        self.fc, self.mean, self.cat = nn.Linear(4, 3), torchmetrics.MeanMetric(), torchmetrics.CatMetric()
        self.accuracy = torchmetrics.MetricCollection([torchmetrics.Accuracy("multiclass", num_classes=3)])

    def forward(self, x):
        y = self.fc(x).detach()
        self.mean(y.mean())
        self.cat.update(y[:, 0])
        self.accuracy.update(y, torch.zeros(len(y), dtype=torch.long))
        return self.fc(x)


class Lazy(nn.Module):
    """Caches that are made at the first call."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    @functools.cached_property
    def mask(self):
        return self.fc.weight * 2

    def forward(self, x):
        return self.fc(x) * self.mask.sum()


class Computed(nn.Module):
    """A property that changes the network when it is read."""

    def __init__(self):
        super().__init__()
        self.fc, self.reads, self.calls = nn.Linear(4, 4), 0, 0

    @property
    def weight(self):
        self.reads += 1
        return self.fc.weight

    def forward(self, x):
        self.calls += 1
        return self.fc(x)


CASES = {
    "a counter": attributes(setting("calls", lambda net, y: net.calls + 1), calls=0),
    "a new attribute": attributes(added),
    "a deleted attribute": attributes(deleted, spare=[1]),
    "a list": held(list, lambda held: held.append(1)),
    "a list within a tuple": held(lambda: ([], 1), lambda held: held[0].append(1)),
    "a named tuple of lists": held(lambda: Pair([], []), lambda held: held.b.append(1)),
    "a cleared list": held(lambda: [torch.ones(2)], lambda held: held.clear()),
    "a dictionary": held(lambda: {"a": 1, "b": 2}, lambda held: held.update(a=held.pop("b") if "b" in held else 0)),
    "the order of a dictionary": held(
        lambda: OrderedDict(a=1, b=2), lambda held: held.move_to_end(next(iter(held)))
    ),
    "a default dictionary": held(lambda: defaultdict(list), lambda held: held["x"].append(1)),
    "a counter of names": held(Counter, lambda held: held.update("ab")),
    "a set": held(lambda: {1, 2}, lambda held: held.add(len(held) + 1)),
    "a deque": held(lambda: deque([1, 2, 3], maxlen=3), lambda held: held.append(len(held) * 7)),
    "bytes": held(lambda: bytearray(b"a"), lambda held: held.extend(b"b")),
    "an array of numbers": held(lambda: array.array("d", [1]), lambda held: held.append(2)),
    "a list of lists": held(lambda: [[1], [2]], lambda held: held[1].append(3)),
    "an object": held(Held, lambda held: setattr(held, "calls", held.calls + 1)),
    "an object with slots": held(Slots, lambda held: setattr(held, "calls", held.calls + 1)),
    "a list in a slot": held(Slots, lambda held: held.values.append(1)),
    "objects in objects": held(lambda: Held(values=[Held(values=[])]), lambda held: held.values[0].values.append(1)),
    "an object in a cycle": held(circle, lambda held: held.values[0].update(calls=held.calls + 1)),
    "a tensor": held(lambda: torch.zeros(4), lambda held: held.add_(1)),
    "a tensor that was replaced": attributes(setting("mean", lambda net, y: net.mean + 1), mean=torch.zeros(2)),
    "a tensor in a list": held(lambda: [torch.zeros(4)], lambda held: held[0].add_(1)),
    "a tensor in half precision": held(lambda: torch.zeros(4, dtype=torch.bfloat16), lambda held: held.add_(1)),
    "a complex tensor": held(lambda: torch.zeros(4, dtype=torch.complex64), lambda held: held.add_(1)),
    "a part of a tensor": held(lambda: torch.zeros(4, 6)[:, ::2], lambda held: held[1:].add_(1)),
    "an array": held(lambda: np.zeros(3), lambda held: held.__iadd__(1)),
    "a buffer": with_buffer(lambda net, y: net.table.add_(1), lambda: torch.zeros(2)),
    "a buffer of truths": with_buffer(lambda net, y: net.table.logical_not_(), lambda: torch.tensor([True, False])),
    "a buffer that was replaced": with_buffer(setting("table", lambda net, y: net.table + 1), lambda: torch.zeros(2)),
    "a buffer of another size": with_buffer(buffer_resized, lambda: torch.zeros(2)),
    "a teacher": lambda: Teacher(in_place),
    "a teacher by .data": lambda: Teacher(past_the_version),
    "a teacher in other memory": lambda: Teacher(of_another_memory),
    "a clamped parameter": lambda: Changing(lambda net, y: net.scale.data.clamp_(max=1), scale=scale()),
    "a frozen parameter": attributes(frozen),
    "a new parameter": attributes(parameter_added),
    "a new module": attributes(module_added),
    "a new hook": attributes(hook_added),
    "a cached property": Lazy,
    "another class": attributes(setting("__class__", lambda net, y: Changed)),
    "metrics": Metered,
    "a network out of sight": held(lambda: [nn.BatchNorm1d(4)], lambda held: held[0](X)),
    "a network behind a weak reference": lambda: behind_a_reference(),
}  # fmt: skip


def behind_a_reference():
    other = nn.BatchNorm1d(4)
    network = Changing(lambda net, y: net.other()(X), other=weakref.ref(other))
    network.keep = lambda: other
    return network


def read(network):
    gradients = [None if each.grad is None else plain(each.grad) for each in network.parameters()]
    others = [plain(cell.cell_contents) for cell in getattr(getattr(network, "keep", None), "__closure__", None) or ()]
    attributes = {key: each for key, each in network.__dict__.items() if key != "change"}
    return type(network).__name__, plain(attributes), gradients, others


def pass_through(network):
    with rra.undisturbed(network):
        network(X)
        network(X)


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_what_a_forward_pass_changes_in_the_network_is_put_back(make):
    network = make()
    before = read(network)
    pass_through(network)
    assert read(network) == before
    network.eval()
    before = read(network)
    network(X)
    assert read(network) != before


@pytest.mark.parametrize("name", [name for name in CASES if "tensor" in name or "buffer" in name or "teacher" in name])
def test_tensors_are_compared_all_at_once_where_a_wait_is_long(name, monkeypatch):
    monkeypatch.setattr(kept, "WAITING", frozenset())
    network = CASES[name]()
    before = read(network)
    pass_through(network)
    assert read(network) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("write", [in_place, past_the_version, of_another_memory])
@pytest.mark.parametrize("size", ["small", "large"])
def test_a_teacher_on_a_gpu_is_put_back(write, size, monkeypatch):
    monkeypatch.setattr(kept, "COPIED_BYTES", kept.COPIED_BYTES if size == "small" else 0)
    network = Teacher(write).cuda()
    before = plain(network.state_dict())
    sample = rra.FixedSample.from_tensors(torch.rand(40, 4))
    rra.Monitor({"p": sample}).measure(network, step=0, epoch=0)
    assert plain(network.state_dict()) == before


@pytest.mark.parametrize(
    "hook",
    [of_closure, of_function_attribute, of_default, of_globals, of_a_global_function],
)
@pytest.mark.parametrize("wrapped", [lambda hook: hook, partial], ids=["function", "partial"])
def test_what_a_hook_of_the_user_leaves_behind_is_put_back(hook, wrapped):
    made = hook()
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    network[0].register_forward_hook(wrapped(made))
    before = made.read()
    pass_through(network)
    assert made.read() == before
    network(X)
    assert made.read() != before


def test_what_a_hook_that_is_a_method_leaves_behind_is_put_back():
    recorder = Recorder()
    network = nn.Sequential(nn.Linear(4, 4))
    network[0].register_forward_hook(recorder.hook)
    before = recorder.read()
    pass_through(network)
    assert recorder.read() == before
    network(X)
    assert recorder.read() != before


def test_a_hook_on_all_modules_is_a_hook_of_the_network():
    made = of_closure()
    network = nn.Linear(4, 4)
    handle = nn.modules.module.register_module_forward_hook(made)
    try:
        before = made.read()
        pass_through(network)
        assert made.read() == before
    finally:
        handle.remove()


@pytest.mark.parametrize("change", [without_gradient, zeroed_gradient])
def test_gradients_that_a_forward_pass_clears_are_put_back(change):
    network = Changing(change)
    network.fc(X).sum().backward()
    gradient, values = network.fc.weight.grad, network.fc.weight.grad.clone()
    pass_through(network)
    assert network.fc.weight.grad is gradient
    assert torch.equal(gradient, values)


@pytest.mark.parametrize(
    "generator",
    [
        lambda: torch.Generator().manual_seed(1),
        lambda: np.random.default_rng(1),
        lambda: np.random.RandomState(1),
        lambda: random.Random(1),
    ],
    ids=["torch", "numpy", "numpy before 1.17", "python"],
)
def test_generators_of_the_network_go_on_where_they_were(generator):
    def draw(made):
        if isinstance(made, torch.Generator):
            return float(torch.rand((), generator=made))
        return float(made.random())

    network = Changing(lambda net, y: [draw(net.held) for _ in range(3)], held=generator())
    pass_through(network)
    assert draw(network.held) == draw(generator())


def test_a_dictionary_is_put_back_without_a_call_of_its_methods():
    network = Changing(lambda net, y: net.held.pop("a", None), held=Table(a=1))
    written = Table.written
    pass_through(network)
    assert network.held == {"a": 1}
    assert Table.written == written


def test_no_property_is_read():
    network = Computed()
    rra.Monitor({"p": rra.FixedSample.from_tensors(torch.rand(40, 4))}).measure(network, step=0, epoch=0)
    assert (network.reads, network.calls) == (0, 0)


def test_a_backward_pass_that_needs_what_a_forward_pass_changed_goes_on():
    network = Changing(lambda net, y: net.table.add_(1))
    network.register_buffer("table", torch.ones(4))
    twin = copy.deepcopy(network)
    loss, same = ((net.fc(X) * net.table).square().sum() for net in (network, twin))
    pass_through(network)
    loss.backward()
    same.backward()
    assert torch.equal(network.fc.weight.grad, twin.fc.weight.grad)


def test_an_optimiser_and_a_trainer_are_left_alone():
    class Trainer:
        __module__ = "lightning.pytorch.trainer.trainer"

        def __init__(self):
            self.steps = 0

    def change(net, y):
        net.trainer.steps += 1

    network = Changing(change, trainer=Trainer())
    network.optimiser = torch.optim.SGD(network.fc.parameters(), lr=0.1)
    pass_through(network)
    assert network.trainer.steps == 2


def test_everything_is_put_back_when_the_user_interrupts_a_forward_pass():
    def interrupt(net, y):
        net.calls += 1
        net.held.append(1)
        if net.calls == 2:
            raise KeyboardInterrupt

    network = Changing(interrupt, calls=0, held=[])
    with pytest.raises(KeyboardInterrupt):
        pass_through(network)
    assert (network.calls, network.held, network.training) == (0, [], True)


def test_an_interrupt_while_things_are_put_back_waits_until_they_are(monkeypatch):
    interrupted = []

    def once():
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt

    reached = objects.reached

    def with_interrupt(model):
        found = reached(model)
        found.undo.insert(len(found.undo) // 2, once)
        return found

    monkeypatch.setattr(state, "reached", with_interrupt)
    network = Changing(lambda net, y: net.held.append(1), held=[])
    with pytest.raises(KeyboardInterrupt):
        pass_through(network)
    assert network.held == []


def test_an_object_that_cannot_be_looked_into_is_left_alone():
    class Odd:
        def __getattribute__(self, name):
            raise RuntimeError("not today")

        def __eq__(self, other):
            raise RuntimeError("not today")

        __hash__ = None

    network = Changing(lambda net, y: net.held.append(1), held=[Odd()])
    pass_through(network)
    assert len(network.held) == 1


def test_weights_that_are_cached_for_a_step_are_not_those_of_a_measurement():
    network = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)))
    with parametrize.cached():
        pass_through(network)
        loss = network(X).sum()
    loss.backward()
    assert network[0].parametrizations.weight.original1.grad is not None


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_tensors_of_every_kind_are_recorded_or_left_alone():
    network = Changing(lambda net, y: net.held["sparse"].mul_(2))
    network.held = {
        "sparse": torch.eye(3).to_sparse(),
        "quantised": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "without values": torch.ones(3, device="meta"),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "expanded": torch.ones(1).expand(5),
        "of bytes": torch.ones(3).to(torch.float8_e4m3fn),
        "empty": torch.empty(0),
        "of double complex numbers": torch.ones(2, dtype=torch.complex128),
    }
    pass_through(network)
    assert torch.equal(network.held["sparse"].to_dense(), torch.eye(3))


def test_a_container_of_very_many_items_is_left_alone(monkeypatch):
    monkeypatch.setattr(objects, "MOST_ITEMS", 100)
    network = Changing(lambda net, y: net.held.append(1), held=[0] * 101)
    pass_through(network)
    assert len(network.held) == 103


def test_only_so_many_objects_are_recorded(monkeypatch):
    monkeypatch.setattr(objects, "MOST_OBJECTS", 20)
    network = Changing(lambda net, y: setattr(net, "calls", net.calls + 1), calls=0, held=[[i] for i in range(500)])
    pass_through(network)
    assert network.calls == 0


class TestNetworksTooLargeForACopy:
    @pytest.fixture(autouse=True)
    def _nothing_fits(self, monkeypatch):
        monkeypatch.setattr(kept, "COPIED_BYTES", 0)

    @pytest.mark.parametrize("write", [in_place, past_the_version, of_another_memory])
    def test_the_pass_that_finds_the_layers_finds_the_parameters_that_change(self, write, recwarn):
        network = Teacher(write)
        before = plain(network.state_dict())
        monitor = rra.Monitor({"p": rra.FixedSample.from_tensors(torch.rand(40, 4))})
        monitor.plan(network)
        monitor.measure(network, step=0, epoch=0)
        assert plain(network.state_dict()) == before
        assert not [each for each in recwarn if "changed" in str(each.message)]

    def test_a_parameter_that_changes_later_is_named_and_put_back_the_next_time(self):
        network = Changing(lambda net, y: net.scale.data.mul_(2), scale=nn.Parameter(torch.ones(())))
        with pytest.warns(UserWarning, match=r"changed scale \(1 parameters in all\)"), rra.undisturbed(network):
            network(X)
        assert network.scale.item() == 2
        with rra.undisturbed(network):
            network(X)
        assert network.scale.item() == 2


CONVOLUTION, LINEAR = partial(nn.Conv2d, 1, 4, 3), partial(nn.Linear, 8, 4)
NORMALISED = {
    "spectral norm": (parametrizations.spectral_norm, CONVOLUTION),
    "linear layer under spectral norm": (parametrizations.spectral_norm, LINEAR),
    "spectral norm by hooks": (nn.utils.spectral_norm, CONVOLUTION),
    "weight norm": (parametrizations.weight_norm, CONVOLUTION),
    "orthogonal": (parametrizations.orthogonal, LINEAR),
    "pruned": (partial(prune.l1_unstructured, name="weight", amount=0.3), CONVOLUTION),
}


@pytest.mark.parametrize(
    ("norm", "layer"),
    [
        pytest.param(*each, id=name, marks=[] if name.startswith("spectral norm") else [pytest.mark.slow])
        for name, each in NORMALISED.items()
    ],
)
def test_a_training_with_normalised_weights_is_the_same_with_the_monitor(norm, layer):
    def trained(monitored):
        torch.manual_seed(0)
        network = nn.Sequential(norm(layer()), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
        images = torch.randn(40, 1, 8, 8)
        network(images)
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
        probes = {"p": rra.FixedSample.from_tensors(images)}
        monitor = rra.Monitor(probes, layers=["0", "1"], views=["full", "avg2"])
        for step in range(20):
            optimiser.zero_grad()
            loss = network(images[step : step + 20]).square().mean()
            loss.backward()
            if monitored and step % 7 == 0:
                monitor.measure(network, step=step, epoch=0)
            optimiser.step()
        return network.state_dict()

    alone, watched = trained(False), trained(True)
    assert alone.keys() == watched.keys()
    assert all(torch.equal(alone[name], watched[name]) for name in alone)


def test_attributes_of_a_parameter_and_hooks_on_its_gradient_are_as_before():
    class Marking(nn.Linear):
        def forward(self, x):
            self.weight.calls = getattr(self.weight, "calls", 0) + 1
            self.weight.register_hook(lambda gradient: gradient * 2)
            return super().forward(x)

    net = Marking(4, 3)
    net.weight.calls = 5
    sample = rra.FixedSample.from_tensors(torch.randn(20, 4))
    rra.Monitor({"p": sample}, layers=["input"]).plan(net)
    assert net.weight.calls == 5
    net(torch.ones(1, 4)).sum().backward()
    assert net.weight.grad.unique().tolist() == [2.0]


def test_a_tensor_whose_memory_was_freed_is_left_alone():
    net = Changing(lambda module, y: None, weights=torch.rand(1000))
    view = net.weights[10:]
    net.view = view
    net.weights.untyped_storage().resize_(0)
    with rra.undisturbed(net):
        net(X)
    assert net.view is view
    assert net.weights.untyped_storage().nbytes() == 0
