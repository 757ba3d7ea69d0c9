"""Files of a stored run, changed as somebody would who means harm: the changed file is whole, and its checksum gone."""

import json

import numpy as np
from safetensors.numpy import load, save


def parts(path):
    """The arrays of a file and what its metadata says."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return load(data), json.loads(header["__metadata__"]["rra_monitor"])


def put(path, arrays, about):
    """Write a file of arrays and metadata, without a checksum."""
    about = {name: value for name, value in about.items() if name != "checksum"}
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    path.write_bytes(save(plain, metadata={"rra_monitor": json.dumps(about)}))


def edit(path, change):
    """Change the arrays and the metadata of a file in place."""
    arrays, about = parts(path)
    change(arrays, about)
    put(path, arrays, about)
