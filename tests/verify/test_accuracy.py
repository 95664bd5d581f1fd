import numpy as np
import pytest

from edgesmith.errors import UsageError
from edgesmith.verify import PROTOCOLS
from edgesmith.verify.accuracy import headline, judge, judge_all
from edgesmith.verify.protocol import EvaluationProtocol


def test_refusals():
    with pytest.raises(UsageError, match="run the reference too"):
        judge("top1", {"labels": np.zeros(1)}, {"a": np.zeros((1, 2))}, "torch-fp32")
    with pytest.raises(UsageError, match="whole split"):
        judge("top1", {"labels": np.zeros(2)}, {"a": np.zeros((1, 2))}, "a")
    with pytest.raises(UsageError, match="protocol 'map': no such name"):
        judge("map", {}, {}, "a")
    assert judge("agreement", {}, {}, "a") == ()
    with pytest.raises(UsageError, match=r"shape \(2, 2, 2\), not \(N, d\)"):
        judge("top1", {"labels": np.zeros(2)}, {"a": np.zeros((2, 2, 2))}, "a")


def test_every_protocol_of_the_table_is_one():
    for name in PROTOCOLS.names():
        row = PROTOCOLS.get(name)
        assert isinstance(row, EvaluationProtocol) and row.__doc__
        assert headline(name) == row.headline
    assert (headline("top1"), headline("verification"), headline("agreement")) == ("top1", "accuracy", "")


def test_outputs_are_judged_by_name_and_not_by_place() -> None:
    labels = np.arange(40) % 4
    right, other = np.eye(4)[labels], np.zeros((40, 4))
    outputs = {
        "torch-fp32": {"logits": right, "features": other},
        "turned": {"features": other, "logits": right},
        "renamed": {"a": right, "b": other},
        "smaller": {"logits": right[:, :3], "features": other},
    }
    found = {row.target: row.estimate.value for row in judge_all("top1", {"labels": labels}, outputs, "torch-fp32")}
    assert found == {"torch-fp32": 1.0, "turned": 1.0}  # the agreement says what is wrong with the others
    alone = {"torch-fp32": {"logits": right}, "renamed": {"y": right}}
    assert len(judge_all("top1", {"labels": labels}, alone, "torch-fp32")) == 2
