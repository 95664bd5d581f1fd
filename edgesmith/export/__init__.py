"""Exporters: one file a format, one contract (exporter.py)."""

from edgesmith.plugins import Plugins

EXPORTERS = Plugins(
    "exporter",
    {
        "torch": "edgesmith.export.torch:export",
        "onnx": "edgesmith.export.onnx:export",
        "openvino": "edgesmith.export.openvino:export",
        "coreml": "edgesmith.export.coreml:export",
        "executorch": "edgesmith.export.executorch:export",
        "coreai": "edgesmith.export.coreai:export",
        "tensorrt": "edgesmith.export.tensorrt:export",
        "tensorrt-rtx": "edgesmith.export.tensorrt:export_rtx",
    },
)
