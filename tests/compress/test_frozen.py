import torch
from torch import nn

from edgesmith.compress.frozen import with_teacher, without_teacher


def test_a_state_comes_back_whole_with_the_teacher_that_is_at_hand() -> None:
    task = nn.ModuleDict({"student": nn.Linear(2, 2), "teacher": nn.Linear(2, 2)})
    saved = without_teacher(task.state_dict())
    assert set(saved) == {"student.weight", "student.bias"}
    other = nn.Linear(2, 2)
    task["teacher"] = other
    task.load_state_dict(with_teacher(saved, other))
    assert torch.equal(task["teacher"].weight, other.weight)
    assert with_teacher(saved, None) == saved
