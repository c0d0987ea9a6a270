"""Pages that are written from committed numbers, as git has them: whoever measures anew breaks nothing."""

from benchmarks.pages import benchmarks_page
from pipeline.reporting.results_page import results_page
from tests.committed import committed, committed_json


def test_speed_is_what_was_measured() -> None:
    on_gpu = {f"gpu/{name}": result for name, result in committed_json("benchmarks/results/gpu").items()}
    assert benchmarks_page(committed_json("benchmarks/results") | on_gpu) == committed("benchmarks/README.md")


def test_results_are_those_of_the_metrics() -> None:
    assert results_page(committed_json("reports/metrics")) == committed("reports/README.md")
