"""Runtimes: one file a vendor, one contract (session.py)."""

from edgesmith.plugins import Plugins

RUNTIMES = Plugins(
    "runtime",
    {
        "torch": "edgesmith.runtimes.torch:TorchRuntime",
        "torch-cuda": "edgesmith.runtimes.torch_cuda:TorchCudaRuntime",
        "torch-compile": "edgesmith.runtimes.torch_cuda:TorchCompileRuntime",
        "ort": "edgesmith.runtimes.ort:OrtRuntime",
        "ort-cuda": "edgesmith.runtimes.ort_cuda:OrtCudaRuntime",
        "openvino": "edgesmith.runtimes.openvino:OpenVinoRuntime",
        "coreml": "edgesmith.runtimes.coreml:CoreMLRuntime",
        "executorch": "edgesmith.runtimes.executorch:ExecuTorchRuntime",
        "coreai": "edgesmith.runtimes.coreai:CoreAIRuntime",
        "tensorrt": "edgesmith.runtimes.tensorrt:TensorRTRuntime",
        "tensorrt-rtx": "edgesmith.runtimes.tensorrt:TensorRTRtxRuntime",
        "null": "edgesmith.runtimes.null:NullRuntime",
    },
)
