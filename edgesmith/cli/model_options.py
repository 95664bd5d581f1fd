"""Options that several verbs share: how a user names a model, its inputs and its preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edgesmith.pipeline.convert import Request

Model = Annotated[
    str, typer.Argument(help="timm:NAME | package.module:factory | file.pt2 | a built-in name (mobilefacenet, resnet)")
]
Weights = Annotated[Path | None, typer.Option(help="Weights for the model (.safetensors)")]
Targets = Annotated[str, typer.Option(help="Comma-separated targets; `edgesmith doctor` lists them")]
Calibration = Annotated[str | None, typer.Option(help="A folder of images | file.npz | random:N")]
Input = Annotated[list[str] | None, typer.Option("--input", help="Input shape NAME:1,3,224,224[:dtype], once an input")]
Preprocess = Annotated[Path | None, typer.Option(help="YAML file with size, mean, std and color")]
Size = Annotated[str | None, typer.Option(help="Image size in pixels: 224 or HEIGHT,WIDTH")]
Mean = Annotated[str | None, typer.Option(help="Mean on the 0..1 scale, e.g. 0.485,0.456,0.406")]
Std = Annotated[str | None, typer.Option(help="Standard deviation on the 0..1 scale")]
Color = Annotated[str | None, typer.Option(help="rgb, bgr or gray")]
Strict = Annotated[bool, typer.Option(help="Refuse a folder with unreadable images instead of skipping them.")]
TrustPickle = Annotated[bool, typer.Option(help="Load pickles, which can run code.")]
On = Annotated[list[str] | None, typer.Option("--with", help="Switch a correction on: adaround, reestimate_batchnorm")]
Off = Annotated[
    list[str] | None, typer.Option("--without", help="Switch one off: equalise, join, bias, bias_pass, dead")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of each runtime")]
Device = Annotated[str | None, typer.Option(help="A device of the device file [default: this machine]")]
Devices = Annotated[Path | None, typer.Option(help="Device file [default: devices.yaml, if it is there]")]
Junit = Annotated[Path | None, typer.Option(help="Write the verdicts as JUnit XML")]
Summary = Annotated[Path | None, typer.Option(help="Write a Markdown summary [default: $GITHUB_STEP_SUMMARY, if set]")]
Baseline = Annotated[Path | None, typer.Option(help="Compare with this file, which --write-baseline made")]
WriteBaseline = Annotated[Path | None, typer.Option(help="Write what was measured as a baseline to commit")]

PreprocessingOptions = tuple[Path | None, str | None, str | None, str | None, str | None]


def request(
    model: str,
    weights: Path | None,
    inputs: list[str] | None,
    preprocessing: PreprocessingOptions,
    trust_pickle: bool,
    **more: Any,
) -> Request:
    """The request these options make; preprocessing is (file, size, mean, std, color). Raises: UsageError."""
    from edgesmith.pipeline.convert import Request
    from edgesmith.pipeline.sources import Trust, read_preprocessing

    trust = Trust(imports=True, pickle=trust_pickle)  # a factory that the user types is code the user means
    return Request(model, weights, tuple(inputs or ()), read_preprocessing(*preprocessing), trust=trust, **more)


def placement_limits(min_macs_on: list[str], max_partitions: int | None) -> dict[str, Any]:
    """The limits of placement these options make. Raises: UsageError for what is no TYPE=SHARE."""
    from edgesmith.errors import UsageError

    shares = {}
    for option in min_macs_on:
        name, _, share = option.partition("=")
        try:
            shares[name] = float(share)
        except ValueError as error:
            raise UsageError(f"--min-macs-on {option}", "no TYPE=SHARE", "write e.g. int8=0.9") from error
    counted = {} if max_partitions is None else {"max_partitions": max_partitions}
    return {"min_macs_on": shares, **counted}
