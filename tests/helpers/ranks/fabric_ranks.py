"""Run by test_sharing_trainers.py: a loop on two ranks that Fabric has launched, `fabric_ranks.py FOLDER`."""

import json
import sys
from pathlib import Path

import lightning as L
import torch

import rra_monitor as rra
from tests.helpers.ranks.sharing_ranks import images, network, numbers, sample


def main():
    torch.set_num_threads(1)
    fabric = L.Fabric(accelerator="cpu", devices=2, strategy="ddp", precision="bf16-true")
    fabric.launch()
    model, optimiser = fabric.setup(network(), torch.optim.SGD(network().parameters(), lr=0.1))
    group = torch.distributed.new_group()
    monitor = rra.Monitor({"p": sample()})
    found = numbers(monitor.measure(model, step=0, epoch=0, group=group)["p"])
    inputs, labels = images()
    fabric.backward(torch.nn.functional.cross_entropy(model(inputs), labels))
    optimiser.step()
    monitor.measure(model, step=1, epoch=1, group=group)
    Path(sys.argv[1], f"fabric-rank{fabric.global_rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
