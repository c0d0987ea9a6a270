"""What the README says can be done is done, from its own text; what any README of the project names is there."""

import json
import re
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ruamel.yaml import YAML

from tests.root import ROOT

README, CONTRACT = "README.md", "data/README.md"
# Each with the folder that paths in it may start from.
PAGES = {
    README: "",
    "pipeline/README.md": "pipeline",
    CONTRACT: "data",
    "reports/README.md": "reports",
    "benchmarks/README.md": "benchmarks",
}
STUDY = "demo"


class Block(NamedTuple):
    """A code block of a page: its language, its text, and the file that it is written to, "" if it is run."""

    language: str
    text: str
    file: str


def blocks(text: str) -> list[Block]:
    """The code blocks in order, without lines that call make; those that are empty without them are left out."""
    found = []
    for language, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        named = re.match(r"# (\S+/\S+\.(?:py|yaml))\n", body)
        kept = "".join(line for line in body.splitlines(keepends=True) if not line.startswith("make "))
        if kept.strip():
            found.append(Block(language, kept, named[1] if named else ""))
    return found


def merge(into: MutableMapping[str, Any], block: MutableMapping[str, Any]) -> None:
    """Add what a block says and a params file does not."""
    for key, value in block.items():
        if isinstance(value, MutableMapping) and key in into and value:
            merge(into[key], value)
        else:
            assert key not in into, f"{key} is there already"
            into[key] = value


def show(tree: Any, block: Block) -> None:
    """Write a block that shows a file: Python as it stands, YAML into the file that is there."""
    path = tree.folder / block.file
    if block.language == "python":
        assert not path.exists()
        path.write_text(block.text, encoding="utf-8")
        return
    yaml = YAML()
    params = yaml.load(path)
    merge(params, yaml.load(block.text))
    yaml.dump(params, path)


def mentioned(text: str) -> Iterator[str]:
    """Whatever looks like a path in links, inline code and blocks: with a slash in it and nothing that no path has."""
    yield from (target for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", text) if "://" not in target)
    code = "\n".join(re.findall(r"```\w*\n(.*?)```", text, re.DOTALL))
    spans = "\n".join(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
    for word in re.split(r"[\s\"'(),;=]+", f"{code}\n{spans}"):
        path = re.sub(r"\.yaml:.*", ".yaml", word).rstrip(".:")
        if re.fullmatch(r"[\w<>*-][\w.<>*/-]*/[\w.<>*-]*", path) and "://" not in word:
            yield path


def made_of_several_studies() -> set[str]:
    """What the root's pipeline makes, which no block of the pages runs: its outputs, and the folders that hold them."""
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].values()
    outputs = [Path(out.replace("${item}", "<study>")) for stage in stages for out in stage.get("do", stage)["outs"]]
    return {path.as_posix() for out in outputs for path in (out, *out.parents)}


def is_there(path: str, folder: str, roots: list[Path]) -> bool:
    """Whether a path is there, from the root of one of the trees or from the page's folder; <study> is the demo's."""
    starts = {"", folder}
    if made_of_several_studies() & {(Path(start) / path).as_posix() for start in starts}:
        return True
    pattern = re.sub(r"<[^>/]*>", "*", path.replace("<study>", STUDY)).strip("/")
    return any(any((root / start).glob(pattern)) for root in roots for start in starts if (root / start).is_dir())


def missing(text: str, folder: str, roots: list[Path]) -> set[str]:
    """The paths that a page names and that are not there; a study that its `make study` makes need not be."""
    made = {f"studies/{name}" for name in re.findall(r"\bNAME=(\w+)", text)}
    wanted = {path for path in mentioned(text) if not any(path.startswith(study) for study in made)}
    return {path for path in wanted if not is_there(path, folder, roots)}


def unknown_headings(text: str, page: Path) -> set[str]:
    """The links to headings that no page has, as GitHub names headings."""
    found = re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", text)
    return {
        f"{target}#{anchor}"
        for target, anchor in found
        if "://" not in target
        and anchor not in anchors((page.parent / target if target else page).read_text(encoding="utf-8"))
    }


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def unknown_targets(text: str) -> set[str]:
    """What pages ask of make and the Makefile has not."""
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    return set(re.findall(r"(?:^|`)make ([\w-]+)", text, re.MULTILINE)) - known


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def test_a_missing_path_study_or_target_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "studies/demo").mkdir(parents=True)
    (tmp_path / "studies/demo/params.yaml").touch()
    text = (
        "[a](gone.md), [b](lost.md#there), `studies/demo/params.yaml`, `studies/<study>/params.yaml`, "
        "`studies/gone/params.yaml:a.b` and\n"
        "```sh\nmake gone NAME=mine\ndvc repro studies/absent/dvc.yaml:attack@fgsm studies/mine/dvc.yaml\n```\n"
    )
    assert missing(text, "", [tmp_path]) == {
        "gone.md",
        "lost.md",
        "studies/gone/params.yaml",
        "studies/absent/dvc.yaml",
    }
    assert unknown_targets(text) == {"gone"}
    assert [block.text for block in blocks(text)] == [
        "dvc repro studies/absent/dvc.yaml:attack@fgsm studies/mine/dvc.yaml\n"
    ]


def test_the_readme_can_be_read() -> None:
    text = read(README)
    assert len(text.splitlines()) <= 150
    assert not re.findall(r"@[A-Z_]+@", text)
    assert max(len(line) for line in text.splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES)
def test_make_knows_what_a_page_asks_of_it(page: str) -> None:
    assert unknown_targets(read(page)) == set()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(blocks(read(README)))))
def test_every_block_of_the_readme_runs(demo_tree: Any, number: int) -> None:
    """In order, each on what those before it have left."""
    block = blocks(read(README))[number]
    assert block.language in ("sh", "python", "yaml")
    if block.file:
        show(demo_tree, block)
    elif block.language == "sh":
        demo_tree.run("bash", "-euo", "pipefail", "-c", block.text)
    else:
        assert demo_tree.run(sys.executable, "-c", block.text).strip()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(blocks(read(CONTRACT)))))
def test_every_snippet_of_the_contract_runs(demo_tree: Any, number: int) -> None:
    block = blocks(read(CONTRACT))[number]
    if block.language == "python":
        demo_tree.run(sys.executable, "-c", block.text)


@pytest.mark.slow
def test_what_the_readme_adds_is_in_the_metrics_and_the_report(demo_tree: Any) -> None:
    """The attacks and the defense that the blocks before have added, by name."""
    added: dict[str, Any] = {}
    for block in blocks(read(README)):
        if block.language == "yaml":
            merge(added, YAML(typ="safe").load(block.text))
    metrics = json.loads((demo_tree.folder / f"reports/metrics/{STUDY}.json").read_text(encoding="utf-8"))
    report = (demo_tree.folder / f"reports/{STUDY}.html").read_text(encoding="utf-8")
    assert added["other_attacks"]
    assert added["defenses"]
    for attack in added["other_attacks"]:
        assert metrics["attacks"][attack]["success_rate"]["value"] > 0
        assert attack in report or attack.replace("_", " ") in report
    for defense in added["defenses"]:
        assert set(added["other_attacks"]) < set(metrics["defenses"][defense])
        assert metrics["adaptive"][defense]
        assert metrics["labels"][defense] in report


def test_a_link_to_a_heading_finds_it(tmp_path: Path) -> None:
    for page in (*PAGES, "pipeline/WORKERS.md"):
        assert unknown_headings(read(page), ROOT / page) == set(), page
    page = tmp_path / "page.md"
    page.write_text("## Is `it` there?\n```sh\n# no heading\n```\n", encoding="utf-8")
    text = "[a](#is-it-there) [b](page.md#is-it-there) [c](#no-heading) [d](https://a.b/c#d)"
    assert unknown_headings(text, page) == {"#no-heading"}


@pytest.mark.slow
@pytest.mark.parametrize(("page", "folder"), PAGES.items())
def test_what_a_page_names_is_there(demo_tree: Any, page: str, folder: str) -> None:
    """In the project, or in a tree with a finished study after the README's own commands."""
    assert missing(read(page), folder, [ROOT, demo_tree.folder]) == set()
