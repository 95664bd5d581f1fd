"""The networks and the forms of compression that the benchmarks of the Core ML interpreter share."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import coremltools as ct
import coremltools.optimize.coreml as cto
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgesmith.models import mobilefacenet as mobilefacenet_model
from edgesmith.models.timm import import_timm


@dataclass(frozen=True)
class Network:
    """A module in eval mode, how an input of it is drawn, and whether it is traced for coremltools or exported."""

    module: nn.Module
    sample: Callable[[int], Tensor]
    traced: bool = False


class UNet(nn.Module):
    """Three levels down and up again, with skips."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        sizes = [3, width, 2 * width, 4 * width]
        self.down = nn.ModuleList(_double(a, b) for a, b in pairwise(sizes))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairwise(sizes[1:]))
        self.join = nn.ModuleList(_double(2 * a, a) for a in sizes[1:-1])
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        for level in (1, 0):
            x = self.join[level](torch.cat([skips[level], self.up[level](x)], 1))
        return self.head(nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))


def _double(a: int, b: int) -> nn.Sequential:
    layers = (nn.Conv2d(a, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
    return nn.Sequential(*layers, nn.Conv2d(b, b, 3, 1, 1), nn.ReLU())


class Tagger(nn.Module):
    """A label for every word: embedding, LSTM in both directions, linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(100, 16)
        self.lstm = nn.LSTM(16, 24, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, 7)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.lstm(self.words(words))[0])


def _images(size: int) -> Callable[[int], Tensor]:
    return lambda seed: torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


def _words(seed: int) -> Tensor:
    return torch.randint(0, 100, (1, 12), generator=torch.Generator().manual_seed(seed))


def _unlike_new(module: nn.Module) -> nn.Module:
    """Eval mode, with statistics and affine parameters of normalisations that are not the trivial ones."""
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1, generator=generator)
            part.running_var.uniform_(0.5, 1.5, generator=generator)
    return module.eval().requires_grad_(False)


def _timm(name: str, size: int, **options: Any) -> Callable[[], Network]:
    def make() -> Network:
        torch.manual_seed(0)
        return Network(_unlike_new(import_timm().create_model(name, num_classes=10, **options)), _images(size))

    return make


def _own(made: Callable[[], nn.Module], sample: Callable[[int], Tensor]) -> Callable[[], Network]:
    def make() -> Network:
        torch.manual_seed(0)
        return Network(_unlike_new(made()), sample, traced=True)

    return make


def mobilefacenet() -> Network:
    """MobileFaceNet at 112 x 112."""
    torch.manual_seed(0)
    return Network(_unlike_new(mobilefacenet_model.build()[0]), _images(112))


NETWORKS: dict[str, Callable[[], Network]] = {
    "ResNet-18": _timm("resnet18", 64),
    "LSTM tagger": _own(Tagger, _words),
    "U-Net": _own(UNet, _images(32)),
    "MobileNetV3": _timm("mobilenetv3_small_100", 64),
    "EfficientNet-Lite": _timm("efficientnet_lite0", 64),
    "GhostNet": _timm("ghostnet_100", 64),
    "RepVGG": _timm("repvgg_a0", 64),
    "ConvNeXt": _timm("convnext_atto", 64),
    "FastViT": _timm("fastvit_t8", 64),
    "MobileViT": _timm("mobilevitv2_050", 64),
    "MobileViT v1": _timm("mobilevit_xxs", 64),
    "EdgeNeXt": _timm("edgenext_xx_small", 64),
    "ViT": _timm("vit_tiny_patch16_224", 64, img_size=64),
    "MobileFaceNet": mobilefacenet,
}


def converted(network: Network, folder: Path, ios18: bool = False) -> Any:
    """The fp32 package of a network, saved as folder/model.mlpackage. Raises: what coremltools raises."""
    example = network.sample(0)
    options: dict[str, Any] = {"compute_precision": ct.precision.FLOAT32, "skip_model_load": True}
    target = ct.target.iOS18 if ios18 else ct.target.iOS17
    if network.traced:
        program: Any = torch.jit.trace(network.module, example, check_trace=False)
        kind = {} if example.is_floating_point() else {"dtype": int}
        options["inputs"] = [ct.TensorType(name="x", shape=tuple(example.shape), **kind)]
    else:
        program = _without_aliases(torch.export.export(network.module, (example,)).run_decompositions({}))
    package = ct.convert(program, convert_to="mlprogram", minimum_deployment_target=target, **options)
    package.save(str(folder / "model.mlpackage"))
    return package


def _without_aliases(program: Any) -> Any:
    """The program without nodes that only rename a value, which coremltools does not read."""
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
    return program


Form = Callable[[Any], Any]


def _linear(joint: bool = False, **options: Any) -> Form:
    config = cto.OpLinearQuantizerConfig(weight_threshold=0, **options)
    return lambda m: cto.linear_quantize_weights(m, cto.OptimizationConfig(global_config=config), joint)


def _palette(joint: bool = False, mode: str = "uniform", **options: Any) -> Form:
    config = cto.OpPalettizerConfig(weight_threshold=0, mode=mode, **options)
    return lambda m: cto.palettize_weights(m, cto.OptimizationConfig(global_config=config), joint)


def _prune(m: Any) -> Any:
    config = cto.OpMagnitudePrunerConfig(target_sparsity=0.6, weight_threshold=0)
    return cto.prune_weights(m, cto.OptimizationConfig(global_config=config))


def _then(*forms: Form) -> Form:
    def both(m: Any) -> Any:
        for form in forms:
            m = form(m)
        return m

    return both


# Name -> the form, and whether it needs a program for iOS 18.
COMPRESSED: dict[str, tuple[Form, bool]] = {
    "int8 a channel": (_linear(dtype="int8"), False),
    "uint8 asymmetric": (_linear(mode="linear", dtype="uint8"), False),
    **{f"palette of {bits} bits": (_palette(nbits=bits), False) for bits in (8, 6, 4, 2, 1)},
    "pruned": (_prune, False),
    "int8 a channel, iOS 18": (_linear(dtype="int8"), True),
    "int4 a block": (_linear(dtype="int4", granularity="per_block", block_size=16), True),
    "uint4 asymmetric a block": (_linear(mode="linear", dtype="uint4", granularity="per_block", block_size=16), True),
    **{f"palette of {bits} bits, iOS 18": (_palette(nbits=bits), True) for bits in (8, 6, 4, 3, 2, 1)},
    "grouped palette": (_palette(nbits=4, granularity="per_grouped_channel", group_size=16), True),
    "palette with scales": (_palette(nbits=4, enable_per_channel_scale=True), True),
    "vector palette": (_palette(mode="kmeans", nbits=4, cluster_dim=2), True),
    "pruned, iOS 18": (_prune, True),
    "pruned and int8": (_then(_prune, _linear(joint=True, dtype="int8")), True),
    "pruned and palette": (_then(_prune, _palette(joint=True, nbits=4)), True),
    "palette of int8 entries": (_then(_palette(nbits=4), _linear(True, dtype="int8", granularity="per_tensor")), True),
}


def folded(network: Network) -> Network:
    """MobileFaceNet as coremltools sees it: every batch normalisation after a convolution is in its weights."""
    module = copy.deepcopy(network.module)
    names = dict(module.named_modules())
    last: tuple[str, nn.Conv2d] | None = None
    for name, part in names.items():
        if isinstance(part, nn.Conv2d):
            last = (name, part)
        elif isinstance(part, nn.BatchNorm2d) and last is not None and part.num_features == last[1].out_channels:
            module.set_submodule(last[0], fuse_conv_bn_eval(last[1], part))
            module.set_submodule(name, nn.Identity())
            last = None
    return Network(module, network.sample)


def with_weights_of(network: Network, package: Any) -> Network:
    """The folded network with the weights of a package whose form coremltools itself has undone."""
    dense = cto.decompress_weights(package)
    values = {name: one.val for name, one in cto.get_weights_metadata(dense, weight_threshold=0).items()}
    network = folded(network)
    layers = [part for part in network.module.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    (block,) = dense.get_spec().mlProgram.functions["main"].block_specializations.values()
    operations = [one for one in block.operations if one.type in ("conv", "linear")]
    if len(layers) != len(operations):
        raise ValueError(f"{len(operations)} operations with weights for {len(layers)} layers")
    for layer, operation in zip(layers, operations):
        for key, parameter in (("weight", layer.weight), ("bias", layer.bias)):
            if key in operation.inputs and parameter is not None:
                value = values.get(operation.inputs[key].arguments[0].name)
                if value is not None:
                    parameter.data = torch.from_numpy(value.astype("float32").reshape(tuple(parameter.shape)))
    return network
