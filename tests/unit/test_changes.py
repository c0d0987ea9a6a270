"""What moved: explained where intervals lie apart, and only there."""

import json
from pathlib import Path

import pytest

from pipeline.artifacts.metrics import read_earlier
from pipeline.errors import PipelineError
from pipeline.reporting.changes import Headline, headlines, moved, weaker
from tests.committed import committed_json


def test_a_reason_stands_where_the_intervals_lie_apart() -> None:
    metrics = committed_json("reports/metrics")["digits"]
    same = [{**one._asdict(), **figure} for one, figure in headlines(metrics)]
    assert not any(row[-1] for row in moved(same, metrics))
    other = json.loads(json.dumps(same))
    for entry in other:
        if (entry["kind"], entry["of"]) == ("robust accuracy", "undefended"):
            entry.update(value=0.5, low=0.4, high=0.6)
        if (entry["kind"], entry["of"]) == ("minimal recovered", "dropout_ensemble"):
            entry.update(value=0.9, low=0.8, high=1.0)
    found = [row for row in moved(other, metrics) if row[-1]]
    assert [row[:3] for row in found] == [
        ["Undefended", "robust accuracy", "50.0 % [40.0, 60.0]"],
        ["Dropout ensemble", "minimal recovered", "90.0 % [80.0, 100.0]"],
    ]
    assert found[1][-1] == "not explained"
    for entry in other:
        if entry["of"] == "dropout_ensemble":
            entry["reason"] = "its rate is another"
    assert [row[-1] for row in moved(other, metrics) if row[-1]] == [found[0][-1], "its rate is another"]
    (only,) = weaker(other, metrics)  # the undefended classifier claims nothing
    assert only.startswith("Dropout ensemble, minimal recovered: 90.0 % [80.0, 100.0] before, ")
    assert only.endswith(" now (its rate is another)")
    assert not weaker(same, metrics)
    for entry in other:
        entry |= {"value": 0.01, "low": 0.0, "high": 0.02} if "L2" not in entry["kind"] else {}
    assert not weaker(other, metrics)  # what rose is no weaker


@pytest.mark.parametrize(
    "text", [None, "", '{"commit": "12', "[]", '{"commit": "1234567"}', '{"commit": "1", "studies": []}']
)
def test_a_file_of_earlier_numbers_that_is_none_is_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "earlier.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(
        PipelineError, match=f"{path}: expected the headline numbers of an earlier commit: git checkout"
    ):
        read_earlier(path)


def test_a_defense_that_is_new_has_nothing_before() -> None:
    metrics = committed_json("reports/metrics")["digits"]
    rows = moved([], metrics)
    assert len(rows) == len(dict(headlines(metrics)))
    assert all(row[2] == "—" and not row[4] for row in rows)
    assert Headline("accuracy") in dict(headlines(metrics))
