"""Models: `build(**options) -> (nn.Module, Card)` by name."""

from edgesmith.plugins import Plugins

MODELS = Plugins(
    "model",
    {
        "album": "edgesmith.models.album:build",
        "mobilefacenet": "edgesmith.models.mobilefacenet:build",
        "asap_net": "edgesmith.models.asap_net:build",
        "chain_net": "edgesmith.models.chain_net:build",
        "cifar-resnet": "edgesmith.models.cifar_resnet:build",
        "iresnet": "edgesmith.models.iresnet:build",
        "mobilefacenet-wide": "edgesmith.models.mobilefacenet_wide:build",
        "resnet": "edgesmith.models.resnet:build",
        "semantic": "edgesmith.models.semantic_head:build",
        "tresnet_m": "edgesmith.models.tresnet:tresnet_m",
        "tresnet_l": "edgesmith.models.tresnet:tresnet_l",
        "timm": "edgesmith.models.timm:build",
    },
)
