"""Files that the data names: they lie in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval_tasks.errors import BadRow
from eval_tasks.sources import inside


@pytest.mark.parametrize("name", ["../a.png", "..", "b/../../a.png", "/etc/passwd", "./../a.png", "b//..//../a.png"])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadRow, match=r"rows.json, row 0: .* leads out of"):
        inside(tmp_path, name, "rows.json, row 0")


def test_any_other_name_is_a_file_of_the_folder(tmp_path: Path) -> None:
    for name, file in {"a.png": "a.png", "b/../a.png": "a.png", "b/..a.png": "b/..a.png", "..a/b": "..a/b"}.items():
        assert inside(tmp_path, name, "a row") == tmp_path / file


def test_links_in_the_folder_lead_where_its_owner_wants(tmp_path: Path) -> None:
    """As where pictures are kept once for several benchmarks. A name climbs out of such a folder no more than of others."""
    (tmp_path / "elsewhere" / "inner").mkdir(parents=True)
    (tmp_path / "elsewhere" / "inner" / "a.png").write_text("a picture")
    (tmp_path / "elsewhere" / "secret.png").write_text("a secret")
    root = tmp_path / "data"
    root.mkdir()
    (root / "train").symlink_to(tmp_path / "elsewhere" / "inner")
    assert inside(root, "train/a.png", "a row").read_text() == "a picture"
    assert not inside(root, "train/../secret.png", "a row").exists()
