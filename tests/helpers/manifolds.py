"""Points of a normal distribution and of a torus, which has no border to pull an estimate down."""

import math

import numpy as np


def cloud(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def torus(n, d, seed=0):
    angles = 2 * math.pi * np.random.default_rng(seed).random((n, d))
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
