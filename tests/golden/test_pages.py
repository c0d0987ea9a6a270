"""Pages that are written from committed numbers, as git has them: whoever measures anew breaks nothing."""

from benchmarks.pages import benchmarks_page
from pipeline.reporting.results_page import results_page
from tests.committed import committed, committed_json


def test_speed_is_what_was_measured() -> None:
    on_gpu = {f"gpu/{name}": result for name, result in committed_json("benchmarks/results/gpu").items()}
    assert benchmarks_page(committed_json("benchmarks/results") | on_gpu) == committed("benchmarks/README.md")


def test_results_are_those_of_the_metrics() -> None:
    assert results_page(committed_json("reports/metrics")) == committed("reports/README.md")


def test_the_ascent_comes_within_a_point_of_autoattack_as_published() -> None:
    """On the adversarially trained classifier, at no more than twice its passes."""
    records = {record["attack"]: record for record in committed_json("benchmarks/results")["convergence"]["records"]}
    published, ours = records["AutoAttack, published"], records["ascent, the study's"]
    assert (published["steps"], published["queries"]) == (100, 5000)
    assert ours["robust"] <= published["robust"] + 0.01
    assert ours["passes"] <= 2 * published["passes"]
