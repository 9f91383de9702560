"""DINO's loss as printed (Caron et al. 2021, Eqs. 1-4 and Algorithm 1), one pair at a time.

A crop is a batch of outputs, one row an image; the teacher sees the first crops alone (the two
global ones), the student all of them. The teacher's outputs and the centre are constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from tests.loops.contrast import Matrix, Vector, add


def softmax(outputs: Vector, temperature: Decimal) -> list[Decimal]:
    scores = [(o / temperature).exp() for o in outputs]
    return [score / add(scores) for score in scores]


def cross_entropy(
    teacher: Vector, student: Vector, centre: Vector, sharp: Decimal, soft: Decimal
) -> Decimal:
    """-sum of P_t log P_s: the teacher centred and at temperature `sharp`, the student `soft`."""
    wanted = softmax([t - c for t, c in zip(teacher, centre, strict=True)], sharp)
    found = softmax(student, soft)
    return -add([w * f.ln() for w, f in zip(wanted, found, strict=True)])


def loss(
    students: Sequence[Matrix],
    teachers: Sequence[Matrix],
    centre: Vector,
    sharp: Decimal,
    soft: Decimal,
) -> Decimal:
    """The mean over all pairs of a teacher's crop and another crop of the student, and images."""
    found = []
    for t, teacher in enumerate(teachers):
        for s, student in enumerate(students):
            if s == t:
                continue
            for i in range(len(teacher)):
                found.append(cross_entropy(teacher[i], student[i], centre, sharp, soft))
    return add(found) / len(found)


def recentre(centre: Vector, teachers: Sequence[Matrix], momentum: Decimal) -> list[Decimal]:
    """c <- m c + (1 - m) mean of the teacher's outputs, over crops and images (Eq. 4)."""
    rows = [row for crop in teachers for row in crop]
    return [
        momentum * c + (1 - momentum) * add([row[d] for row in rows]) / len(rows)
        for d, c in enumerate(centre)
    ]
