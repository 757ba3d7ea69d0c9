"""Slow and plain: loops over samples in double precision, written from the definitions and not from the package."""

import math


def distances(points):
    """All pairwise distances, by a loop."""
    rows = [[float(value) for value in point.reshape(-1)] for point in points]
    return [[math.dist(a, b) for b in rows] for a in rows]


def neighbours(points, k):
    """(index, distance) of the k nearest others of each sample, equal distances by index."""
    table = distances(points)
    found = []
    for i, row in enumerate(table):
        others = sorted((distance, j) for j, distance in enumerate(row) if j != i)
        found.append([(j, distance) for distance, j in others[:k]])
    return found


def log_ratios(points, near=1, far=2):
    """Logarithms of the distance of one neighbour over that of a nearer one, of samples without a duplicate."""
    rows = neighbours(points, far)
    return [math.log(row[far - 1][1] / row[near - 1][1]) for row in rows if row[near - 1][1] > 0]


def twonn(points):
    """Eq. 3.1 by maximising its logarithm on a fine grid of dimensions."""
    logs = []
    for (_, r1), (_, r2) in neighbours(points, 2):
        if r1 > 0:
            logs.append(math.log(r2 / r1))

    def likelihood(dim):
        return len(logs) * math.log(dim) - (dim + 1) * sum(logs)

    low, high = 1e-3, 1e3
    for _ in range(200):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (left, high) if likelihood(left) < likelihood(right) else (low, right)
    return (low + high) / 2


def nncs(points, labels, k):
    """Eq. 3.4 by counting."""
    same = total = 0
    for i, row in enumerate(neighbours(points, k)):
        for j, _ in row:
            total += 1
            same += int(labels[i] == labels[j])
    return same / total


def nnls(points_a, points_b, k):
    """Eq. 3.2 with Python's sets."""
    sets_a = [{j for j, _ in row} for row in neighbours(points_a, k)]
    sets_b = [{j for j, _ in row} for row in neighbours(points_b, k)]
    return sum(len(a & b) / len(a | b) for a, b in zip(sets_a, sets_b, strict=True)) / len(sets_a)
