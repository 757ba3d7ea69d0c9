"""The monitor in a training loop without any framework: scikit-learn's digits, a minute on a laptop.

python examples/plain_pytorch.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import rra_monitor as rra
from rra_monitor.nn import resnet20

data = load_digits()
images = torch.tensor(data.images / 16, dtype=torch.float32)[:, None]
dataset = TensorDataset(images, torch.tensor(data.target))

torch.manual_seed(0)
model = resnet20(num_classes=10, in_channels=1)
optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

monitor = rra.Monitor({"digits": rra.FixedSample.from_dataset(dataset, n=1000)})
store = rra.RunStore("runs/plain")
recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)])


def measure(step: int, epoch: int) -> None:
    snapshot = recorder.record(monitor.measure(model, step=step, epoch=epoch)).snapshots["digits"]
    print(f"epoch {epoch}: ID {snapshot.id.round(1)}, NNCS of the last layer {snapshot.nncs[-1]:.3f}")


step = 0
measure(step, epoch=0)
for epoch in range(1, 7):
    for inputs, labels in DataLoader(dataset, 64, shuffle=True):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimiser.step()
        step += 1
    measure(step, epoch)
recorder.close()
