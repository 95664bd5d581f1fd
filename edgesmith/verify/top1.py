"""Protocol "top1": arrays {"labels": (N,)}, outputs logits (N, C)."""

from __future__ import annotations

import math

import numpy as np

from edgesmith import intervals, metrics
from edgesmith.errors import UsageError
from edgesmith.results import Accuracy, Interval
from edgesmith.tensors import Arrays
from edgesmith.verify.protocol import EvaluationProtocol, Outputs, mcnemar, non_finite

NOTHING = Interval(math.nan, None, None)
ONE_CLASS = {"classes": 1.0}


def judge(arrays: Arrays, outputs: Outputs, reference: str) -> tuple[Accuracy, ...]:
    """Share of right answers with Wilson's interval; the drop is paired. Raises: UsageError for labels out of range.

    Where all labels are of one class n = 0, since a constant answer would be right each time; extra["classes"] is 1.
    """
    labels = arrays["labels"]
    for target, output in outputs.items():
        if len(labels) and labels.max() >= output.shape[1]:
            found = f"label {labels.max()}, but {output.shape[1]} scores a sample"
            raise UsageError(f"top1 of {target}", found, "give the labels this model was trained with")
    if len(labels) > 1 and len(np.unique(labels)) == 1:
        return tuple(Accuracy(name, "top1", NOTHING, None, 0, ONE_CLASS | non_finite(o)) for name, o in outputs.items())
    right = {name: metrics.correct(output, labels) for name, output in outputs.items()}
    rows = []
    for name, answers in right.items():
        drop = None if name == reference else intervals.paired_drop(right[reference], answers)
        extra = non_finite(outputs[name])
        if name != reference:
            extra |= {"mcnemar_p": mcnemar(right[reference], answers)}
        estimate = intervals.wilson(int(answers.sum()), len(answers))
        rows.append(Accuracy(name, "top1", estimate, drop, len(answers), extra))
    return tuple(rows)


TOP1 = EvaluationProtocol("top1", lambda arrays: (len(arrays["labels"]), "d"), judge)
