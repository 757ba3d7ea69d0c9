"""Class and layer similarity, chance, births and deaths, CKA and hubs, by loops over lists of neighbours."""

import math
from collections import Counter


def nncs_per_sample(neighbours, agree):
    """neighbours[i] lists positions; agree(i, j) is True, False or a degree."""
    return [sum(float(agree(i, j)) for j in row) / len(row) for i, row in enumerate(neighbours)]


def class_shares(neighbours, labels):
    """{(a, b): fraction of class b among the neighbours of class a}, for all pairs of classes."""
    shares = {}
    for a in set(labels):
        found = [labels[j] for i, row in enumerate(neighbours) if labels[i] == a for j in row]
        for b in set(labels):
            shares[a, b] = found.count(b) / len(found)
    return shares


def chance(n, agree):
    """Mean agreement of all ordered pairs of two different samples."""
    return sum(float(agree(i, j)) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))


def ceiling(n, k, agree):
    """Mean agreement where each sample has its best k others as neighbours."""
    best = 0.0
    for i in range(n):
        best += sum(sorted((float(agree(i, j)) for j in range(n) if j != i), reverse=True)[:k])
    return best / (n * k)


def nnls_per_sample(before, after):
    return [len(set(a) & set(b)) / len(set(a) | set(b)) for a, b in zip(before, after, strict=True)]


def pairs(neighbours):
    """The set of directed pairs."""
    return {(i, j) for i, row in enumerate(neighbours) for j in row}


def entropy(shares):
    return -sum(share * math.log2(share) for share in shares if share > 0)


def divergence(matrix_p, matrix_q):
    """Eq. 5.2: entropy of the mixture minus mean of the entropies, of two Bernoulli distributions per cell."""
    total = count = 0
    for row_p, row_q in zip(matrix_p, matrix_q, strict=True):
        for p, q in zip(row_p, row_q, strict=True):
            middle = (p + q) / 2
            total += entropy([middle, 1 - middle]) - (entropy([p, 1 - p]) + entropy([q, 1 - q])) / 2
            count += 1
    return total / count


def kernel(points):
    return [[sum(float(x) * float(y) for x, y in zip(a, b, strict=True)) for b in points] for a in points]


def cka(points_a, points_b):
    """From whole kernel matrices, centred twice."""

    def centred(table):
        n = len(table)
        rows = [sum(row) / n for row in table]
        columns = [sum(table[i][j] for i in range(n)) / n for j in range(n)]
        mean = sum(rows) / n
        return [[table[i][j] - rows[i] - columns[j] + mean for j in range(n)] for i in range(n)]

    k, m = centred(kernel(points_a)), centred(kernel(points_b))

    def product(x, y):
        return sum(a * b for row_x, row_y in zip(x, y, strict=True) for a, b in zip(row_x, row_y, strict=True))

    return product(k, m) / math.sqrt(product(k, k) * product(m, m))


def unbiased_hsic(points_a, points_b):
    """The mean over all ordered quadruples of different samples of the definition of HSIC with expectations.

    k(x, x') l(x, x') + k(x, x') l(x'', x''') - 2 k(x, x') l(x, x'') has the HSIC as its expectation.
    """
    k, m, n = kernel(points_a), kernel(points_b), len(points_a)
    total = count = 0
    for a in range(n):
        for b in range(n):
            for c in range(n):
                for d in range(n):
                    if len({a, b, c, d}) == 4:
                        total += k[a][b] * (m[a][b] + m[c][d] - 2 * m[a][c])
                        count += 1
    return total / count


def occurrence(neighbours):
    counts = Counter(j for row in neighbours for j in row)
    return [counts[j] for j in range(len(neighbours))]


def skewness(values):
    n = len(values)
    mean = sum(values) / n
    second = sum((value - mean) ** 2 for value in values) / n
    return sum((value - mean) ** 3 for value in values) / n / second**1.5
