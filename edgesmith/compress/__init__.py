"""Compression: training methods as Tasks (task.py), one loop (fit.py), quantization (quantize/)."""

from edgesmith.plugins import Plugins

METHODS = Plugins(
    "method",
    {
        "asap": "edgesmith.compress.asap.methods:asap",
        "darts": "edgesmith.compress.asap.methods:darts",
        "asap_retrain": "edgesmith.compress.retrain:retrain",
        "plain": "edgesmith.compress.task:plain",
        "distil": "edgesmith.compress.distil:distil",
        "kd": "edgesmith.compress.head_sharing:kd",
        "th_kd": "edgesmith.compress.head_sharing:th_kd",
        "margin": "edgesmith.compress.margin_softmax:margin",
        "asl": "edgesmith.compress.asl:asl",
        "asl_single": "edgesmith.compress.asl:asl_single",
        "csl": "edgesmith.compress.csl:csl",
        "sdl": "edgesmith.compress.sdl_task:sdl",
        "peta": "edgesmith.compress.peta:peta",
        "kd_multilabel": "edgesmith.compress.multilabel_distil:kd_multilabel",
    },
)
