"""Verify: is the exported model still the model? accuracy (labels), agreement (none), gate (verdicts)."""

from edgesmith.plugins import Plugins

PROTOCOLS = Plugins(
    "protocol",
    {
        "agreement": "edgesmith.verify.protocol:AGREEMENT",
        "top1": "edgesmith.verify.top1:TOP1",
        "verification": "edgesmith.verify.verification:VERIFICATION",
        "templates": "edgesmith.verify.templates:TEMPLATES",
        "multilabel": "edgesmith.verify.multilabel:MULTILABEL",
        "albums": "edgesmith.verify.albums:ALBUMS",
        "albums-multilabel": "edgesmith.verify.albums:ALBUMS_MULTILABEL",
    },
)
