"""A study's block of images that were made elsewhere: where they lie, when they are others, what they are not."""

from pathlib import Path

import pytest

from pipeline.attacks.shared.protocol import load_attack
from pipeline.errors import PipelineError
from pipeline.own_files import imported, imported_checksum, imported_path
from pipeline.stages import check_params
from pipeline.studies import Study as Params
from tests.root import ROOT


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The tiny study, with a block whose images are not there yet."""
    home = tmp_path / "studies/tiny"
    home.mkdir(parents=True)
    text = (ROOT / "tests/tiny.yaml").read_text(encoding="utf-8")
    block = "  theirs:\n    method: imported\n    file: theirs.npz\n"
    (home / "params.yaml").write_text(text.replace("other_attacks:\n", f"other_attacks:\n{block}", 1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATASETS_DIR", raising=False)
    return Params("tiny")


def test_they_lie_in_the_study_or_among_raw_files(
    study: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert imported(study) == ["theirs"]
    with pytest.raises(
        PipelineError, match=r"theirs\.file: no such file; expected studies/tiny/theirs\.npz or data/raw"
    ):
        imported_path(study, "theirs")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/theirs.npz").touch()
    monkeypatch.setenv("DATASETS_DIR", str(tmp_path / "elsewhere"))
    assert imported_path(study, "theirs") == tmp_path / "elsewhere/theirs.npz"
    (study.folder / "theirs.npz").touch()
    assert imported_path(study, "theirs") == study.folder / "theirs.npz"
    for text in ("../theirs.npz", str(tmp_path / "theirs.npz")):
        study.params["other_attacks"]["theirs"]["file"] = text
        with pytest.raises(
            PipelineError, match=r"theirs\.file: expected a path within studies/tiny or .*: put it there"
        ):
            imported_path(study, "theirs")
    study.params["other_attacks"]["theirs"] = {"method": "imported", "rows": 3}
    with pytest.raises(PipelineError, match=r"other_attacks\.theirs\.rows: unknown parameter; expected one of: file"):
        imported_path(study, "theirs")


def test_other_bytes_are_another_attack(study: Params) -> None:
    place = study.folder / "theirs.npz"
    place.write_bytes(b"some")
    before = check_params.words(study)["imported"]
    assert check_params.words(study)["imported"] == before
    place.write_bytes(b"others")
    assert check_params.words(study)["imported"] != before
    place.unlink()
    place.mkdir()
    (place / "0.png").write_bytes(b"some")
    folder = imported_checksum(study, "theirs")
    (place / "0.png").rename(place / "1.png")
    assert imported_checksum(study, "theirs") != folder


@pytest.mark.parametrize(("key", "block"), [("theirs", {}), ("more", {"method": "imported", "file": "theirs.npz"})])
def test_they_attack_no_whole_defense(study: Params, key: str, block: dict[str, str]) -> None:
    (study.folder / "theirs.npz").touch()
    study.params["adaptive"]["all"]["others"][key] = block
    where = rf"studies/tiny/params\.yaml: adaptive\.all\.others\.{key}: "
    with pytest.raises(PipelineError, match=f"{where}expected an attack that can be run, found images made elsewhere"):
        check_params.words(study)
    with pytest.raises(
        PipelineError, match="imported: expected an attack that can be run, found images that were made"
    ):
        load_attack("imported")


def test_they_may_be_called_like_an_attack(study: Params) -> None:
    """Images that AutoAttack made elsewhere, beside AutoAttack on whole defenses."""
    (study.folder / "theirs.npz").touch()
    study.params["other_attacks"]["autoattack"] = {"method": "imported", "file": "theirs.npz"}
    study.params["adaptive"]["all"]["others"]["autoattack"] = {}
    assert set(check_params.words(study)["imported"]) >= {"autoattack"}
