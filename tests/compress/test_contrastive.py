import pytest
import torch

from edgesmith.compress.contrastive import Contrast
from edgesmith.errors import UsageError

CPU = torch.device("cpu")
LABELS = torch.tensor([2, 0, 2, 1, 0, 2, 2])


def contrast(negatives: int = 64, labels: torch.Tensor = LABELS) -> Contrast:
    made = Contrast((4, 4), 8, negatives, 0.07, 0.5, seed=0)
    made.fill(labels, CPU)
    return made


def test_negatives_are_all_the_samples_of_other_classes_and_no_other() -> None:
    made, labels = contrast(1000, LABELS.repeat(40)), LABELS.repeat(40)
    rows = torch.arange(7)
    drawn = made.draw(rows)
    assert drawn.shape == (7, 280)
    for row, others in zip(rows, drawn):
        assert (labels[others] != labels[row]).all()
    torch.manual_seed(0)
    seen = torch.cat([contrast().draw(torch.tensor([3])) for _ in range(20)], 1).unique()
    assert seen.tolist() == [0, 1, 2, 4, 5, 6]


def test_never_more_negatives_than_samples() -> None:
    assert contrast(negatives=3).draw(torch.tensor([0, 1])).shape == (2, 3)
    assert contrast(negatives=10**6).draw(torch.tensor([0, 1])).shape == (2, 7)


def test_copying_rows_and_scoring_the_whole_bank_agree(monkeypatch) -> None:
    losses = []
    for factor in (0, 1000):
        monkeypatch.setattr("edgesmith.compress.contrastive.WHOLE_BANK", factor)
        torch.manual_seed(0)
        losses.append(float(contrast(negatives=2)(torch.ones(2, 4), torch.ones(2, 4), torch.tensor([0, 3]))))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_training_pulls_both_sides_of_a_sample_together() -> None:
    torch.manual_seed(0)
    made, rows = contrast(), torch.arange(7)
    z_s, z_t = torch.randn(7, 4, requires_grad=True), torch.randn(7, 4)
    optimizer = torch.optim.SGD([z_s, *made.parameters()], lr=0.1)
    first = None
    for _ in range(60):
        loss = made(z_s, z_t, rows)
        first = first or float(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.7 * first
    with torch.no_grad():
        s, t = (torch.nn.functional.normalize(layer(z)) for layer, z in ((made.student, z_s), (made.teacher, z_t)))
    scores = s @ t.T
    assert (scores.diag()[:, None] + 1e-6 >= torch.where(LABELS[:, None] == LABELS, -2.0, scores)).all()


def test_the_bank_rests_in_eval_mode_and_its_scale_is_fixed_once() -> None:
    made, rows = contrast().eval(), torch.tensor([0, 1])
    before = made.bank_s.clone()
    made(torch.randn(2, 4), torch.randn(2, 4), rows)
    norms = made.norms.clone()
    made.train()(5 * torch.randn(2, 4), torch.randn(2, 4), rows)
    assert (norms > 0).all() and torch.equal(norms, made.norms)
    assert not torch.equal(before[:2], made.bank_s[:2]) and torch.equal(before[2:], made.bank_s[2:])


def test_bank_and_scale_are_part_of_the_state() -> None:
    made = contrast()
    made(torch.randn(2, 4), torch.randn(2, 4), torch.tensor([0, 1]))
    again = contrast()
    again.load_state_dict(made.state_dict())
    assert torch.equal(again.bank_t, made.bank_t) and torch.equal(again.norms, made.norms)
    assert {"bank_s", "bank_t", "norms"} <= set(made.state_dict()) and "order" not in made.state_dict()


@pytest.mark.parametrize(("labels", "words"), [(None, "no labels"), (torch.full((4,), 3), "class 3")])
def test_data_without_negatives_are_refused(labels, words) -> None:
    with pytest.raises(UsageError, match=words):
        contrast(labels=labels)


def test_an_empty_bank_and_wrong_options_are_refused() -> None:
    bare = Contrast((4, 4), 8, 2, 0.07, 0.5, seed=0)
    with pytest.raises(UsageError, match="empty memory bank"):
        bare(torch.ones(1, 4), torch.ones(1, 4), torch.tensor([0]))
    with pytest.raises(UsageError, match="row numbers"):
        contrast()(torch.ones(1, 4), torch.ones(1, 4), None)
    for options in ((0, 2, 0.07, 0.5), (8, 0, 0.07, 0.5), (8, 2, 0.0, 0.5), (8, 2, 0.07, 1.0)):
        with pytest.raises(UsageError):
            Contrast((4, 4), *options, seed=0)
