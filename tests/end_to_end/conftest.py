"""One tree for each file of tests: built by a whole `dvc repro`, then changed by one test after the other."""

import pytest

from tests.tree import STAGES, Tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    tree = Tree(tmp_path_factory.mktemp("tree"))
    ran = tree.repro()
    assert len(ran) == STAGES
    return tree
