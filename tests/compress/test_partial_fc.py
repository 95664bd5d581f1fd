import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgesmith.compress.margins import MarginLogits, arcface
from edgesmith.compress.partial_fc import PartialFC, sgd_rows, shard
from edgesmith.errors import UsageError
from tests.compress import ranks
from tests.compress.ranks import CLASSES, KINDS, SIZES


@pytest.fixture(scope="module")
def found_by(tmp_path_factory):
    """Size of the world -> what its ranks found; a world of one has no process group at all."""
    known: dict[int, list[dict]] = {1: [{"full_rate": ranks.full_rate(0, 1)}]}

    def find(world: int) -> list[dict]:
        if world not in known:
            known[world] = ranks.run(world, tmp_path_factory.mktemp("ranks"))
        return known[world]

    return find


@pytest.fixture
def two(found_by) -> list[dict]:
    return found_by(2)


def reference(kind: str, world: int):
    """Loss and gradients of the full softmax, by the plain route."""
    z, labels = ranks.batch(SIZES[world])
    z, w, face = z.requires_grad_(), ranks.centres().requires_grad_(), ranks.face(kind)
    loss = F.cross_entropy(face(z, w, labels).logits, labels)
    loss.backward()
    return loss.detach(), z.grad, w.grad, dict(face.named_buffers())


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_forward_and_backward_are_those_of_the_full_softmax(found_by, world, kind) -> None:
    found = found_by(world)
    loss, grad_z, grad_w, buffers = reference(kind, world)
    for frozen in (False, True):
        own = [rank["full_rate"][f"{kind}-{frozen}"] for rank in found]
        assert all(close(each[0], loss) for each in own)
        assert close(torch.cat([each[1] for each in own]), grad_z)
        assert all(torch.equal(each[3][name], buffers[name]) for each in own for name in buffers)
    assert close(torch.cat([rank["full_rate"][f"{kind}-False"][2] for rank in found]), grad_w)
    assert all(rank["full_rate"][f"{kind}-True"][2] is None for rank in found)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_all_centres_are_in_order_on_every_rank(found_by, world) -> None:
    assert all(torch.equal(rank["full_rate"]["all"], ranks.centres()) for rank in found_by(world))


@pytest.mark.parametrize("world", [2, 4])
def test_training_beside_ddp_is_training_on_one_process(found_by, world) -> None:
    """DDP averages the net's gradients over the ranks, though their batches differ in size: still the exact one."""
    torch.manual_seed(0)
    net, w = nn.Linear(ranks.IN, ranks.D, dtype=torch.float64), nn.Parameter(ranks.centres())
    optimizer = torch.optim.SGD([*net.parameters(), w], lr=0.1, momentum=0.9, weight_decay=1e-3)
    labels, face = ranks.batch(SIZES[world])[1], ranks.face("arcface")
    for step in range(3):
        optimizer.zero_grad()
        z = net(ranks.inputs(step, sum(SIZES[world])))
        F.cross_entropy(face(z, w, labels).logits, labels).backward()
        optimizer.step()
    found = found_by(world)
    for rank in found:
        assert all(close(rank["trained"]["net"][name], value) for name, value in net.state_dict().items())
    assert close(torch.cat([rank["trained"]["centres"] for rank in found]), w.detach())


def test_on_two_ranks_every_class_of_the_batch_takes_part_also_where_a_rank_has_none(two) -> None:
    first, second = (rank["partial"] for rank in two)
    assert len(first["rows"]) == len(second["rows"]) == CLASSES // 2 // 100
    assert {7, 11, 12, 19_000} <= set(first["rows"].tolist()) and min(second["rows"]) >= CLASSES // 2
    assert torch.equal(first["loss"], second["loss"]) and first["loss"].isfinite()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("label", "rank 1 has label 50005 (1 such in its batch)"),
        ("negative", "rank 0 has label -1"),
        ("width", "rank 1 has embeddings of size 9"),
        ("shape", "rank 0 has embeddings and labels of shapes that do not go together"),
        ("empty", "no rank has a sample"),
    ],
)
def test_one_ranks_mistake_is_an_error_on_all(two, fault, said) -> None:
    for rank in two:
        assert rank["faults"][fault].startswith("UsageError") and said in rank["faults"][fault]


def test_after_a_refused_batch_the_ranks_can_go_on(two) -> None:
    assert [rank["faults"]["still fine"] for rank in two] == ["nothing", "nothing"]


def test_centres_and_states_of_another_rank_are_refused(two) -> None:
    for number, rank in enumerate(two):
        assert f"rank {number} was given (9, 8)" in rank["faults"]["centres"]
        assert f"load the centres of rank {number}" in rank["faults"]["state"]


@pytest.mark.parametrize(
    ("how", "what"), [("dies", "all-gather"), ("hangs", "all-gather"), ("dies in backward", "all-reduce")]
)
def test_a_lost_rank_is_an_error_on_the_others_within_the_time_out(tmp_path, how, what) -> None:
    left, gone = ranks.run(2, tmp_path, how)
    assert gone is None
    assert left["text"].startswith(f"TrainingFailed: {what} on rank 0 of 2: it failed, as when another rank is gone")
    assert left["seconds"] < ranks.TIME_OUT.total_seconds() / 2  # the group's own time-out is much shorter


@pytest.mark.parametrize(("classes", "world"), [(10, 3), (7, 7), (50_000, 4), (93_431, 8)])
def test_shards_cover_all_classes_once_and_evenly(classes, world) -> None:
    parts = [shard(classes, rank, world) for rank in range(world)]
    assert [number for part in parts for number in part] == list(range(classes))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for wrong in ((world - 1, 0, world), (classes, world, world)):
        with pytest.raises(UsageError):
            shard(*wrong)


def small(classes: int = 200, **options) -> PartialFC:
    return PartialFC(4, classes, MarginLogits(arcface(), 8.0), **{"seed": 1, **options})


LABELS = torch.tensor([5, 5, 17, 199])


def embeddings() -> torch.Tensor:
    return torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("sparse", [False, True])
def test_only_sampled_rows_get_a_gradient(sparse) -> None:
    torch.manual_seed(0)
    made = small(sample_rate=0.1, sparse=sparse)
    made(embeddings(), LABELS).backward()
    grad = made.centres.grad
    assert grad.is_sparse == sparse
    dense = grad.to_dense() if sparse else grad
    rows = dense.abs().sum(1).nonzero()[:, 0].tolist()
    assert len(rows) == 20 and {5, 17, 199} <= set(rows)


def test_the_sampled_loss_is_that_of_the_sampled_classes() -> None:
    made = small(sample_rate=0.1)
    torch.manual_seed(3)
    rows, moved = made.sample(LABELS)
    assert torch.equal(rows[moved], LABELS) and torch.equal(rows, rows.sort().values)
    torch.manual_seed(3)
    z = embeddings()
    expected = F.cross_entropy(made.face(z, made.centres[rows], moved).logits, moved)
    assert torch.allclose(made(z, LABELS), expected)
    assert made(z, LABELS) < small()(z, LABELS)  # fewer negatives: a smaller sum


def test_more_positives_than_the_sample_all_take_part() -> None:
    rows, moved = small(sample_rate=0.01).sample(LABELS)
    assert rows.tolist() == [5, 17, 199] and moved.tolist() == [0, 0, 1, 2]


def test_negatives_are_drawn_evenly() -> None:
    torch.manual_seed(0)
    made, draws = small(sample_rate=0.25), 2000
    counts = torch.zeros(200)
    for _ in range(draws):
        counts[made.sample(LABELS)[0]] += 1
    assert (counts[[5, 17, 199]] == draws).all()
    counts[[5, 17, 199]] = float("nan")
    chance = (50 - 3) / (200 - 3)
    spread = (draws * chance * (1 - chance)) ** 0.5
    assert ((counts[~counts.isnan()] - draws * chance).abs() < 5 * spread).all()


def test_a_frozen_head_has_nothing_to_learn_and_is_normalised_once() -> None:
    given = torch.randn(200, 4)
    made = small(centres=given, frozen=True, sample_rate=0.1)
    before, z = made.centres.clone(), embeddings()
    made(z, LABELS).backward()
    assert not list(made.parameters()) and z.grad.abs().sum() > 0
    assert torch.equal(made.centres, before) and torch.equal(before, F.normalize(given, dim=1))
    assert torch.equal(PartialFC(4, 200, MarginLogits(None), centres=given, frozen=True).centres, given)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_step_on_rows_is_sgd_where_all_rows_are_sampled(momentum) -> None:
    dense, sparse = nn.Parameter(torch.randn(6, 3)), nn.Parameter(torch.zeros(6, 3))
    sparse.data.copy_(dense.data)
    optimizer = torch.optim.SGD([dense], lr=0.1, momentum=momentum, weight_decay=0.01)
    velocity = torch.zeros(6, 3)
    for _ in range(3):
        dense.grad = torch.randn(6, 3)
        sparse.grad = dense.grad.to_sparse(1)
        optimizer.step()
        sgd_rows(sparse, velocity, 0.1, momentum, 0.01)
    assert torch.allclose(dense, sparse, atol=1e-6)


def test_rows_that_are_not_sampled_do_not_move() -> None:
    made = small(sample_rate=0.1, sparse=True)
    before, velocity = copy.deepcopy(made.centres), torch.zeros(200, 4)
    with pytest.raises(UsageError, match="not sparse"):
        sgd_rows(made.centres, velocity, 0.1)
    made(embeddings(), LABELS).backward()
    sgd_rows(made.centres, velocity, 0.1, 0.9, 0.1)
    moved = (made.centres != before).any(1).nonzero()[:, 0]
    assert torch.equal(moved, made.centres.grad.coalesce().indices()[0])


def test_the_gradient_is_fp32_for_embeddings_of_half_precision() -> None:
    z = embeddings().detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = small()(z, LABELS)
    loss.backward()
    assert loss.dtype == torch.float32 and z.grad.dtype == torch.bfloat16
    assert torch.allclose(loss, small()(z.detach().float(), LABELS))


def test_new_centres_come_from_the_seed_and_a_state_loads_where_it_belongs() -> None:
    assert torch.equal(small().centres, small().centres) and not torch.equal(small().centres, small(seed=2).centres)
    other = small(seed=2)
    other.load_state_dict(small().state_dict())
    assert torch.equal(other.centres, small().centres)
    with pytest.raises(UsageError, match="each rank's own state"):
        small(classes=201).set_extra_state(small().get_extra_state())


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1])
def test_a_wrong_rate_is_a_usage_error(rate) -> None:
    with pytest.raises(UsageError, match="sample_rate"):
        small(sample_rate=rate)
