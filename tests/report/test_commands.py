from edgesmith.report.commands import again


def test_the_command_and_the_folder_to_take_away() -> None:
    report = {"provenance": {"command": "edgesmith run <r>.yaml", "steps": {"bench": "0123456789abcdef"}}}
    line = again(report, "bench")
    assert "edgesmith run &lt;r&gt;.yaml" in line and "bench-01234567<" in line
    assert "folder" not in again(report, "search")  # a step that this run did not have
    assert again({"provenance": {}}, "bench") == ""
