"""What int8_{speed,accuracy,cifar}.py compare: our artefacts, float ones, and those of other quantizers.

Other quantizers get the original float net, and, as "rewritten", the float net with everything our plan of that runtime
changes before it quantizes (forms of activations, equalised channels). They are used as their documentation says:
ONNX Runtime's quantize_static (QDQ, per channel, u8 activations) behind its quant_pre_process, and NNCF's quantize with
a preset on ONNX and on OpenVINO models.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.artifact import Exported, save_exported
from edgesmith.bench.adopt import adopt
from edgesmith.compress.quantize.corrections import Corrections
from edgesmith.export import EXPORTERS
from edgesmith.graph.program import Program
from edgesmith.graph.rewrite import planned
from edgesmith.pipeline.produce import build_targets, capture_source, tensor_batches
from edgesmith.pipeline.quantizing import Setting, quantized
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.pipeline.wishes import Wishes
from edgesmith.quant import QuantPlan
from edgesmith.targets import target

INT8 = ("ort-int8", "openvino-int8")
FLOAT = ("torch-fp32", "ort-fp32", "openvino-fp32", "openvino-bf16")
HISTOGRAM_SAMPLES = 100  # ONNX Runtime keeps every value of every sample for its histograms: gigabytes


@dataclass(frozen=True)
class Maker:
    """A net with its calibration samples, our plans of it, and the folder in which artefacts are made."""

    source: Source
    program: Program
    calibration: Inputs
    plans: Mapping[str, QuantPlan]
    folder: Path

    def batches(self, most: int) -> list[np.ndarray]:
        """Calibration samples one by one."""
        pieces = tensor_batches(self.program.inputs, self.calibration, self.source.preprocessing, 1)
        return [piece[0].numpy() for piece, _ in zip(pieces, range(most))]

    @property
    def input_name(self) -> str:
        return self.program.inputs[0].name


def make(source: Source, calibration: Inputs, folder: Path, adaround: bool) -> Maker:
    """Calibrate and plan as a recipe does; adaround: with `quantize: {adaround: true}`."""
    program = capture_source(source)
    setting = Setting(program, source, calibration, None, None, None, print)
    _, found = quantized(setting, INT8, Wishes(corrections=Corrections(adaround=adaround)))
    return Maker(source, program, calibration, {made.plan.family: made.plan for made in found}, folder)


def ours(maker: Maker, names: tuple[str, ...] = (*FLOAT, *INT8)) -> dict[str, Exported]:
    """Our artefacts and the float ones."""
    bundle = build_targets(maker.program, maker.source, names, maker.plans, maker.folder / "ours", print)
    return dict(bundle.exported)


def rewritten(maker: Maker, family: str, row: str) -> Path:
    """The float net with what our plan of a family changes before it quantizes, as `row` stores it."""
    plan = replace(maker.plans[family], bias_shifts={}, rounded_up={})
    folder = maker.folder / f"rewritten-{family}-{row}"
    folder.mkdir(parents=True, exist_ok=True)
    made: Exported = EXPORTERS.get(target(row).exporter)(planned(maker.program, plan), None, target(row), folder)
    return made.file


def ort_quantizer(maker: Maker, file: Path, name: str, method: str = "MinMax") -> Exported:
    """ONNX Runtime's own quantizer on an ONNX file."""
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    samples = maker.batches(maker.calibration.count if method == "MinMax" else HISTOGRAM_SAMPLES)
    feeds: Iterator[dict[str, np.ndarray]] = iter([{maker.input_name: sample} for sample in samples])

    class Reader(q.CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(feeds, None)

    folder = maker.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    prepared, out = folder / "prepared.onnx", folder / f"{name}.onnx"
    with _hushed():
        quant_pre_process(str(file), str(prepared), skip_symbolic_shape=True)
        q.quantize_static(
            str(prepared),
            str(out),
            Reader(),
            quant_format=q.QuantFormat.QDQ,
            per_channel=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            calibrate_method=getattr(q.CalibrationMethod, method),
        )
    return _adopted(maker, out)


def nncf_quantizer(maker: Maker, file: Path, name: str, preset: str, transformer: bool = False) -> Exported:
    """NNCF's post-training quantization of an .onnx or .xml file. preset: "MIXED" or "PERFORMANCE".

    transformer: tell NNCF that the net is one, as its documentation asks for.
    """
    import nncf
    import onnx
    import openvino

    folder = maker.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    samples: list[Any] = maker.batches(maker.calibration.count)
    options = {"preset": getattr(nncf.QuantizationPreset, preset), "subset_size": len(samples)}
    options |= {"model_type": nncf.ModelType.TRANSFORMER} if transformer else {}
    with _hushed():
        if file.suffix == ".onnx":
            data = nncf.Dataset([{maker.input_name: sample} for sample in samples])
            out = folder / f"{name}.onnx"
            onnx.save(nncf.quantize(onnx.load(str(file)), data, **options), str(out))
        else:
            out = folder / f"{name}.xml"
            model = nncf.quantize(openvino.Core().read_model(str(file)), nncf.Dataset(samples), **options)
            openvino.save_model(model, str(out), compress_to_fp16=False)
    return _adopted(maker, out)


def _adopted(maker: Maker, file: Path) -> Exported:
    """A file of another quantizer as an artefact that knows how pictures become its input."""
    folder = file.parent / "adopted"
    found = adopt(file, folder)
    return save_exported(folder, replace(found, preprocessing=maker.source.preprocessing), None)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Progress bars and notes of other quantizers do not belong into the table."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
