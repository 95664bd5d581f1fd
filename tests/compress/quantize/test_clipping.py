"""Where grids end, by each method; percentile and entropy beside ONNX Runtime's own calibrators."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization.calibrate import (
    CalibrationDataReader,
    CalibrationMethod,
    HistogramCollector,
    create_calibrator,
)

from edgesmith.compress.quantize.clipping import bounds, mse_bounds, percentile_bounds, points
from edgesmith.compress.quantize.entropy import QUANTIZED, _divergence, entropy_bounds
from edgesmith.compress.quantize.observe import observe
from edgesmith.errors import UsageError
from edgesmith.export.onnx import export as export_onnx
from edgesmith.graph.rewrite import simplify
from edgesmith.quant import S8_SYMMETRIC, U8_AFFINE, EdgeRange, choose, dequantize, quantize
from edgesmith.targets import target
from tests.graph.test_capture import captured, example


def heavy(count: int = 20140) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.concatenate([rng.normal(size=count), rng.normal(size=20) * 12]).astype(np.float32)


class Reader(CalibrationDataReader):
    """One image at a time, as its users do."""

    def __init__(self, images: torch.Tensor) -> None:
        self.left = iter(images.split(1))

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.left, None)
        return None if image is None else {"x": image.numpy()}


@pytest.fixture(scope="module", params=["residual", "depthwise"])
def both(request, tmp_path_factory):
    """What we saw, edge by edge, and a function that asks ONNX Runtime for the same values' ranges."""
    folder: Path = tmp_path_factory.mktemp("ort")
    program, images = simplify(captured(request.param)), example(batch=48)[0]
    images = images * torch.linspace(0.2, 2, 48).reshape(-1, 1, 1, 1)
    exported = export_onnx(program, None, target("ort-fp32"), folder)
    onnx.save(onnx.shape_inference.infer_shapes(onnx.load(exported.file)), folder / "typed.onnx")
    seen = observe(program, [(images,)]).edges

    def ask(method: CalibrationMethod, **options) -> dict[str, tuple[float, float, float]]:
        every = ["Conv", "Relu", "Add"]
        path = str(folder / "augmented.onnx")
        calibrator = create_calibrator(folder / "typed.onnx", every, path, method, extra_options=options)
        calibrator.collect_data(Reader(images))
        found = calibrator.compute_data()
        folded = {path.replace("_bn", "").replace(".bn", ".conv"): n for path, n in exported.layer_names.items()}
        names = {"input:x": "x", **{f"{path}:out": name for path, name in folded.items()}}
        shared = {edge: found[name] for edge, name in names.items() if name in found.keys()}  # noqa: SIM118
        return {e: tuple(map(float, (*r.range_value, 2 * max(map(abs, seen[e].bounds))))) for e, r in shared.items()}

    return seen, ask


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("percentile", [99.999, 99.0])
def test_percentile_is_that_of_onnxruntime_within_a_bin(both, symmetric: bool, percentile: float) -> None:
    seen, ask = both
    found = ask(CalibrationMethod.Percentile, symmetric=symmetric, percentile=percentile, num_bins=2048)
    assert len(found) >= 4
    for edge, (low, high, span) in found.items():
        ours = percentile_bounds(*points(seen[edge].tensor), percentile, symmetric)
        # Theirs is an edge of a bin of theirs, ours the middle of one of ours.
        bin_width = span / 2048 * (0.5 if symmetric else 1) + seen[edge].tensor.width[0] / 2
        smallest, largest = seen[edge].bounds
        assert abs(max(ours[0], smallest) - low) <= 1.01 * bin_width, edge
        assert abs(min(ours[1], largest) - high) <= 1.01 * bin_width, edge


@pytest.mark.parametrize("bins", [128, 512])
def test_entropy_is_that_of_onnxruntime_within_a_bin(both, bins: int) -> None:
    seen, ask = both
    found = ask(CalibrationMethod.Entropy, num_bins=bins, num_quantized_bins=128)
    for edge, (low, high, span) in found.items():
        ours = entropy_bounds(*points(seen[edge].tensor), seen[edge].bounds, bins)
        assert abs(ours[0] - low) <= 1.01 * span / bins, edge
        assert abs(ours[1] - high) <= 1.01 * span / bins, edge


@pytest.mark.parametrize("bins", [128, 1024, 2048])
@pytest.mark.parametrize("seed", range(4))
def test_entropy_of_the_same_counts_is_that_of_onnxruntime(bins: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.laplace(size=20_000) if seed % 2 else np.maximum(rng.normal(size=20_000), 0)).astype(np.float32)
    low, high, _ = entropy_of_onnxruntime(values, bins)
    ours = entropy_bounds(values, np.ones(len(values)), (float(values.min()), float(values.max())), bins)
    bin_width = 2 * float(np.abs(values).max()) / bins
    assert abs(ours[0] - low) <= 1.01 * bin_width
    assert abs(ours[1] - high) <= 1.01 * bin_width


@pytest.mark.parametrize("seed", range(4))
def test_entropy_of_a_record_is_that_of_onnxruntime_or_a_tie(seed: int) -> None:
    """Our bins are not theirs: a value in the next bin decides between ends whose divergences are all but equal."""
    values = heavy(20140 + 192 * seed)[: 19200 + 192 * seed]
    low, high, collector = entropy_of_onnxruntime(values, 1024)
    seen = seen_of(values)
    ours = entropy_bounds(*points(seen.tensor, parts=8), seen.bounds, 1024)
    counts, edges, *_ = collector.histogram_dict["x"]
    if max(abs(ours[0] - low), abs(ours[1] - high)) > 1.01 * (edges[1] - edges[0]):
        assert divergence(counts, edges, *ours) <= 1.001 * divergence(counts, edges, float(low), float(high))


def entropy_of_onnxruntime(values: np.ndarray, bins: int) -> tuple[float, float, HistogramCollector]:
    options = {"num_bins": bins, "num_quantized_bins": 128, "percentile": 99.9, "scenario": "same"}
    collector = HistogramCollector(method="entropy", symmetric=False, **options)
    collector.collect_value({"x": [values]})
    low, high, *_ = collector.compute_collection_result()["x"]
    return float(low), float(high), collector


def divergence(counts: np.ndarray, edges: np.ndarray, low: float, high: float) -> float:
    start, stop = (int(np.abs(edges - end).argmin()) for end in (low, high))
    return _divergence(counts, start, stop, QUANTIZED)


def seen_of(values: np.ndarray) -> EdgeRange:
    """The record of a value with 2 channels. Shape: values (n,), n even."""
    program = captured("linear")
    batch = torch.zeros(len(values) // 192, 192)
    batch += torch.from_numpy(values[: batch.numel()]).reshape(batch.shape)
    return observe(program, [(batch.reshape(-1, 3, 8, 8),)]).edges["input:x"]


def error(values: np.ndarray, ends: tuple[float, float], spec=U8_AFFINE, power: float = 2.4) -> float:
    quant = choose(spec, *ends)
    return float((np.abs(dequantize(quantize(values, quant), quant) - values) ** power).mean())


@pytest.mark.parametrize("spec", [U8_AFFINE, S8_SYMMETRIC])
def test_mse_finds_the_ends_with_the_smallest_error(spec) -> None:
    values = heavy()
    ends = float(values.min()), float(values.max())
    found = mse_bounds(values, np.ones(len(values)), ends, spec)
    tried = [
        (low * ends[0], high * ends[1]) for low in np.arange(0.1, 1.01, 0.05) for high in np.arange(0.1, 1.01, 0.05)
    ]
    if spec.symmetric:
        tried = [(-size, size) for size in np.arange(0.1, 1.01, 0.02) * max(-ends[0], ends[1])]
    best = min(error(values, pair, spec) for pair in tried)
    assert error(values, found, spec) <= 1.02 * best
    assert error(values, found, spec) < error(values, ends, spec)


def test_each_method_answers_from_one_record_and_zero_lies_within() -> None:
    values = heavy()
    seen = seen_of(values)
    ends = {method: bounds(seen, method, U8_AFFINE) for method in ("minmax", "percentile", "mse", "entropy")}
    assert ends["minmax"] == seen.bounds
    assert len(set(ends.values())) == 4
    for low, high in ends.values():
        assert seen.bounds[0] <= low < 0 < high <= seen.bounds[1]
    assert error(values, ends["mse"]) <= min(error(values, ends[other]) for other in ("minmax", "entropy"))
    assert bounds(seen_of(np.abs(values)), "mse", U8_AFFINE)[0] == 0


def test_values_that_never_move_keep_their_range() -> None:
    for constant in (0.0, 3.5, -2.0):
        seen = seen_of(np.full(1920, constant, np.float32))
        for method in ("minmax", "percentile", "mse", "entropy"):
            low, high = bounds(seen, method, U8_AFFINE)
            assert (low, high) == (min(constant, 0), max(constant, 0)), method


def test_a_value_without_histograms_has_its_range_and_a_method_that_is_not_there_is_refused() -> None:
    seen = EdgeRange(np.array([-1.0, -2.0]), np.array([3.0, 1.0]))
    assert bounds(seen, "mse", U8_AFFINE) == (-2.0, 3.0)
    with pytest.raises(UsageError, match="no such method"):
        bounds(seen, "median", U8_AFFINE)  # type: ignore[arg-type]
