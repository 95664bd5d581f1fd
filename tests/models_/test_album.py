from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgesmith.errors import UsageError
from edgesmith.models.album import EDGE, PAPER, build
from edgesmith.models.count import count_macs
from edgesmith.models.weights import save_weights
from tests.albums import SIZE, TINY, album_net, albums

POOLINGS = [{"layers": 2}, {"layers": 2, "norm": "pre"}, {"pooling": "embeddings"}, {"pooling": "scores"}]
pytestmark = pytest.mark.usefixtures("without_gradients")


@pytest.fixture
def without_gradients():
    with torch.no_grad():
        yield


def padded(photos: Tensor, mask: Tensor, places: int, value: int = 0) -> tuple[Tensor, Tensor]:
    """The same albums with empty places behind their photos."""
    more = places - photos.shape[1]
    return F.pad(photos, (0,) * 6 + (0, more), value=value), F.pad(mask, (0, more))


def close(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, atol=1e-5)


@pytest.mark.parametrize("options", POOLINGS)
def test_the_order_of_photos_does_not_matter(options: dict) -> None:
    net, _ = album_net(**options)
    photos, mask = albums(3, 5)
    mask[1, 2] = 0
    order = torch.tensor([3, 0, 4, 2, 1])
    logits, importance = net(photos, mask)
    again, moved = net(photos[:, order], mask[:, order])
    assert close(logits, again) and close(importance[:, order], moved)
    assert not close(logits[0], logits[1])  # it does see the photos


@pytest.mark.parametrize("options", POOLINGS)
@pytest.mark.parametrize("places", [8, 16])
def test_places_without_a_photo_change_nothing(options: dict, places: int) -> None:
    net, _ = album_net(**options)
    photos, mask = albums(2, 5)
    logits, importance = net(photos, mask)
    for value in (0, 255):  # whatever stands in the empty places
        longer, shown = net(*padded(photos, mask, places, value))
        assert close(logits, longer) and close(importance, shown[:, :5])
        assert not shown[:, 5:].any()


def test_positions_make_the_order_matter_and_fix_the_number_of_photos() -> None:
    net, _ = album_net(positions=True, photos=4)
    torch.nn.init.normal_(net.pooling.positions)
    photos, mask = albums(2, 4)
    assert not close(net(photos, mask)[0], net(photos.flip(1), mask)[0])
    with pytest.raises(UsageError, match="3 photos"):
        net(photos[:, :3], mask[:, :3])


@pytest.mark.parametrize("options", POOLINGS)
def test_one_photo_many_photos_and_none(options: dict) -> None:
    net, _ = album_net(**options)
    for count in (1, 40):
        logits, importance = net(*albums(1, count))
        assert logits.isfinite().all() and importance.shape == (1, count) and (importance > 0).all()
    photos, mask = albums(2, 3)
    empty, nothing = net(photos, mask * 0)
    assert empty.isfinite().all() and close(empty[0], empty[1]) and not nothing.any()


def test_importance_is_a_share_of_cls_attention() -> None:
    net, _ = album_net(layers=2)
    _, importance = net(*albums(3, 5))
    assert (importance > 0).all() and (importance.sum(1) < 1).all()


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_pooling_is_torchs_transformer_encoder(norm: str) -> None:
    """Post-norm layers with torch's defaults are what the released weights were trained in."""
    pooling = album_net(layers=2, norm=norm)[0].pooling
    layer = torch.nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, norm_first=norm == "pre")
    theirs = torch.nn.TransformerEncoder(layer, 2, torch.nn.LayerNorm(16), enable_nested_tensor=False).eval()
    for own, other in zip(pooling.blocks, theirs.layers):
        parts = (own.attention.query, own.attention.key, own.attention.value)
        other.self_attn.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        other.self_attn.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        pairs = ((own.attention.project, other.self_attn.out_proj), (own.expand, other.linear1),
                 (own.contract, other.linear2), (own.norm1, other.norm1), (own.norm2, other.norm2))  # fmt: skip
        for ours, copy in pairs:
            copy.load_state_dict(ours.state_dict())
    z, kept = torch.randn(3, 5, 16), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
    album, importance = pooling(z, kept)
    tokens = torch.cat([pooling.cls.expand(3, -1, -1), z], 1)
    ignored = F.pad(~kept, (1, 0))
    assert close(album, theirs(tokens, src_key_padding_mask=ignored)[:, 0])
    last = theirs.layers[1]
    before = theirs.layers[0](tokens, src_key_padding_mask=ignored)
    before = last.norm1(before) if norm == "pre" else before
    _, attention = last.self_attn(before, before, before, key_padding_mask=ignored)  # mean over heads
    assert close(importance, attention[:, 0, 1:])


def test_the_papers_aggregator_has_its_151_million_parameters() -> None:
    from edgesmith.models.album_pooling import TransformerPooling
    from edgesmith.models.count import count_parameters

    sizes = {key: PAPER[key] for key in ("dim", "layers", "heads", "ffn")}
    with torch.device("meta"):
        paper = TransformerPooling(**sizes, norm="post", positions=PAPER["photos"], dropout=0.1)
    assert count_parameters(paper.blocks) == 6 * (6 * 2048**2 + 10 * 2048)
    assert round(count_parameters(paper) / 1e6) == 151
    edge = build(**EDGE, size=16)[0]
    assert count_parameters(edge.pooling) < 0.6e6


def test_the_last_layer_is_computed_for_cls_alone() -> None:
    net, _ = album_net(layers=1)
    z, kept = torch.randn(1, 7, 16), torch.ones(1, 7, dtype=torch.bool)
    for_cls, for_all = 2 * 16 * 16 + 2 * 16 * 24, 2 * 8 * 16 * 16
    assert count_macs(net.pooling, z, kept) == for_cls + for_all


def test_training_shows_the_encoder_only_photos_that_are_there() -> None:
    net, _ = album_net()
    photos, mask = albums(2, 4)
    mask[:, 3] = 0
    net.train()
    seen = []
    net.frames.encoder.register_forward_pre_hook(lambda *_: None)
    embed = net.frames.encoder.embed
    net.frames.encoder.embed = lambda images: (seen.append(len(images)), embed(images))[1]
    net(photos, mask)
    assert seen == [6]


def test_bytes_are_normalised_as_the_encoder_wants() -> None:
    net, _ = album_net(encoder="mobilefacenet", encoder_options={"width": 0.25, "embedding": 16}, size=32)
    photos = torch.randint(0, 256, (1, 2, 32, 32, 3), dtype=torch.uint8)
    wanted = (photos[0].permute(0, 3, 1, 2).float() / 255 - 0.5) / (128 / 255)
    found, _ = net.frames(photos, torch.ones(1, 2))
    assert torch.allclose(found[0], net.frames.encoder.embed(wanted), rtol=1e-3)


def test_mean_scores_and_mean_embedding_are_what_they_say() -> None:
    photos, mask = albums(2, 3)
    mask[0, 2] = 0
    scores, _ = album_net(pooling="scores")
    own = scores.head(scores.frames(photos, mask)[0]).softmax(2)
    logits, importance = scores(photos, mask)
    assert close(logits.softmax(1)[0], own[0, :2].mean(0)) and close(logits.softmax(1)[1], own[1].mean(0))
    assert close(importance[1], own[1] @ own[1].mean(0))
    mean, _ = album_net(pooling="embeddings")
    assert close(mean(photos, mask)[0], mean.head(mean.embed(photos, mask)))


def test_card_weights_and_bottleneck(tmp_path) -> None:
    net, card = album_net(dim=8, photos=6, labels=("a", "b", "c"))
    assert [(spec.name, spec.shape, spec.dtype) for spec in card.inputs] == [
        ("photos", (1, 6, SIZE, SIZE, 3), "uint8"), ("mask", (1, 6), "uint8")]  # fmt: skip
    assert [spec.name for spec in card.outputs] == ["logits", "importance"] and card.labels == ("a", "b", "c")
    assert net.frames.bottleneck.weight.shape == (8, 16)
    save_weights(tmp_path / "w.safetensors", net)
    again, _ = build(**{**TINY, "dim": 8}, classes=3, seed=3, weights=str(tmp_path / "w.safetensors"))
    pairs = albums(1, 6)
    assert torch.equal(net(*pairs)[0], again(*pairs)[0])
    assert build(**TINY, photos=2)[1].outputs[0].name == "embedding"


def test_an_encoder_may_bring_its_own_weights(tmp_path) -> None:
    net, _ = album_net(seed=1)
    save_weights(tmp_path / "encoder.safetensors", net.frames.encoder)
    again, _ = build(**TINY, seed=2, encoder_weights=str(tmp_path / "encoder.safetensors"))
    first, second = net.frames.encoder.state_dict(), again.frames.encoder.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("photos", "mask"),
    [((2, 3, 8, 8, 3), (2, 3)), ((2, 3, 3, SIZE, SIZE), (2, 3)), ((3, SIZE, SIZE, 3), (3,)),
     ((2, 0, SIZE, SIZE, 3), (2, 0)), ((2, 3, SIZE, SIZE, 3), (2, 4)), ((2, 3, SIZE, SIZE, 3), (2,))],
)  # fmt: skip
def test_photos_or_a_mask_of_the_wrong_shape_are_named(photos: tuple, mask: tuple) -> None:
    net, _ = album_net()
    with pytest.raises(UsageError, match=r"photos|mask"):
        net(torch.zeros(photos, dtype=torch.uint8), torch.ones(mask, dtype=torch.uint8))


@pytest.mark.parametrize(
    "options",
    [{"photos": 0}, {"heads": 3}, {"layers": 0}, {"dropout": 1.0}, {"pooling": "scores", "classes": 0},
     {"labels": ("a",)}, {"encoder": "album"}, {"encoder_options": {"depth": 9}}, {"encoder": "no-such"}],
)  # fmt: skip
def test_wrong_options_are_usage_errors(options: dict) -> None:
    with pytest.raises(UsageError):
        build(**{**TINY, "classes": 3, **options})
