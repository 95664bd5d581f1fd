import xml.etree.ElementTree as ET

import pytest
import torch

import edgesmith
from edgesmith import records
from edgesmith.errors import DamagedArtifact, MissingResource
from edgesmith.pipeline import ci
from edgesmith.pipeline.ci import Wanted, deliver
from tests.models import tiny


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    torch.manual_seed(0)
    data = [torch.randn(16, 3, 8, 8)]
    out = tmp_path_factory.mktemp("bundle")
    bundle = edgesmith.convert(tiny("residual"), data[0][:1], ("ort-fp32", "ort-int8"), data, out=out)
    limits = {"placement": {"min_macs_on": {"int8": 0.9}, "max_partitions": 1}}
    return edgesmith.check(bundle, data=data, limits=limits, bench=False)


def test_a_run_without_change_passes_its_own_baseline(found, tmp_path):
    files = Wanted(tmp_path / "j.xml", tmp_path / "s.md", write_baseline=tmp_path / "b.json")
    assert deliver(found, files).exit_code == 0
    again = deliver(found, Wanted(tmp_path / "j.xml", tmp_path / "s.md", tmp_path / "b.json"))
    checks = {v.check for v in again.judgement.verdicts if v.target == "ort-int8"}
    assert again.exit_code == 0
    assert {"placement", "placement on int8", "baseline size", "baseline macs", "baseline cosine of output"} <= checks
    root = ET.parse(tmp_path / "j.xml").getroot()
    assert int(root.get("tests")) == len(again.judgement.verdicts) and root.get("failures") == "0"
    text = (tmp_path / "s.md").read_text()
    assert "| ort-int8 | baseline size | pass |" in text and "numbers are no worse" in text


def test_a_worse_run_fails_and_says_what_is_worse(found, tmp_path):
    deliver(found, Wanted(write_baseline=tmp_path / "b.json"))
    before = records.read(tmp_path / "b.json")
    before["targets"]["ort-int8"]["size_bytes"] //= 2
    before["targets"]["gone"] = before["targets"].pop("ort-fp32")
    records.save(tmp_path / "b.json", before)
    worse = deliver(found, Wanted(baseline=tmp_path / "b.json"))
    said = "\n".join(worse.lines)
    assert worse.exit_code == 1 and worse.report["verdict"]["state"] == "fail"
    assert "fail: ort-int8: at most 1.0% larger" in said and "not in the baseline: ort-fp32" in said
    assert "not measured: gone" in said


def test_the_summary_goes_where_github_wants_it(found, tmp_path, monkeypatch):
    monkeypatch.setenv(ci.GITHUB, str(tmp_path / "step.md"))
    (tmp_path / "step.md").write_text("before\n")
    deliver(found, Wanted())
    assert (tmp_path / "step.md").read_text().startswith("before\n## check")


def test_a_baseline_that_is_none_is_refused(found, tmp_path):
    with pytest.raises(MissingResource):
        deliver(found, Wanted(baseline=tmp_path / "absent.json"))
    (tmp_path / "b.json").write_text("[1]")
    with pytest.raises(DamagedArtifact):
        deliver(found, Wanted(baseline=tmp_path / "b.json"))
