import numpy as np
import pytest
from coremltools.converters.mil import mil_list

from tests.runtimes.mil.programs import mb, run


@pytest.mark.parametrize("classes", [["cat", "dog", "cow"], [np.int64(7), np.int64(-1), np.int64(3)]], ids=str)
def test_the_best_label_and_all_probabilities(classes):
    x = np.array([[0.25, 0.625, 0.125]], np.float32)
    label, shares = run(lambda x: mb.classify(probabilities=x, classes=mb.const(val=mil_list(classes))), {"x": x})
    assert label == classes[1]
    assert dict(shares) == dict(zip(classes, x[0].tolist()))
