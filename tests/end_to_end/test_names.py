"""Names out of a params file reach neither a shell nor a path of DVC's before they are checked."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.tree import Tree

pytestmark = pytest.mark.slow
EVIL = (
    "x$(touch hacked)",
    "tiny;touch hacked",
    "$(touch hacked)/../tiny",  # a path that is there, once DVC has shortened it
    "x'$(touch hacked)'/../tiny",
    "../../x",
    "../../../dear",
    "../../dear",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    tree = Tree(tmp_path_factory.mktemp("above") / "tree")
    (tree.folder / "dear").mkdir()
    (tree.folder / "dear/file").write_text("dear")
    tree.commit("Something dear")
    return tree


def everything(tree: Tree) -> set[str]:
    """All files below and beside the project. DVC itself makes empty folders for outputs when it has read the file."""
    above, ignored = tree.folder.parent, {".git", ".dvc", "__pycache__"}
    return {
        path.relative_to(above).as_posix()
        for path in above.rglob("*")
        if path.is_file() and not ignored & set(path.parts)
    }


def named(params: Any, place: str, name: str) -> None:
    if place == "study":
        params["study"] = name
    elif place == "other_attacks":
        params["other_attacks"][name] = params["other_attacks"].pop("fgsm")
    elif place == "defenses":
        params["defenses"][name] = params["defenses"].pop("undefended")
    else:
        params["defenses"]["dropout_ensemble"]["variants"] = {name: {"passes": 3, "sigma": "auto"}}


CASES = [("study", name) for name in EVIL] + [
    (place, name) for place in ("other_attacks", "defenses", "variants") for name in (EVIL[0], EVIL[3], EVIL[6])
]


@pytest.mark.parametrize(("place", "name"), CASES)
def test_dvc_runs_nothing_of_a_name(tree: Tree, place: str, name: str) -> None:
    """Refused in one line: by the first stage, or where outputs would lie in one another's folders by DVC itself."""
    good, before = tree.params_file.read_bytes(), everything(tree)
    try:
        tree.change(lambda params: named(params, place, name))
        done = tree.start("dvc", "repro", "studies/tiny/dvc.yaml")
    finally:
        tree.params_file.write_bytes(good)
    assert done.returncode
    assert "Running stage 'studies/tiny/dvc.yaml:fingerprint_code'" not in done.stdout
    assert everything(tree) == before
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if not lines:
        assert "/../" in name
        assert re.search(r"^ERROR: .*output", done.stderr)
        return
    assert len(lines) == 1
    assert lines[0].startswith("error: studies/tiny/params.yaml: ")
    assert "expected" in lines[0]
    assert repr(name) in lines[0]


def test_a_folder_of_such_a_name_is_none_of_a_study(tree: Tree) -> None:
    folder = tree.folder / "studies/x$(touch hacked)"
    folder.mkdir()
    for file in ("params.yaml", "dvc.yaml"):
        (folder / file).write_bytes((tree.folder / "studies/tiny" / file).read_bytes())
    (folder / "params.yaml").write_text(
        (folder / "params.yaml").read_text().replace("study: tiny", "study: x$(touch hacked)")
    )
    before = everything(tree)
    done = tree.start("dvc", "repro", cwd=f"studies/{folder.name}")
    assert done.returncode
    assert "error: study: expected a name of the letters a-z, digits, _ and -, found 'x$(touch hacked)'" in done.stderr
    assert everything(tree) == before


def test_an_edited_pipeline_is_refused_before_anything_runs(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree")
    tree.edit("studies/tiny/dvc.yaml", "# The pipeline", "# My pipeline")
    done = tree.start("dvc", "repro", "studies/tiny/dvc.yaml")
    assert done.returncode
    assert "error: studies/tiny/dvc.yaml: expected a copy of studies/pipeline.yaml, found another text" in done.stderr
    assert not (tree.folder / "data").exists()
