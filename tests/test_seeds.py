"""Fresh seeds: every claim's numbers side by side, and none from an earlier run."""

from pathlib import Path

from tools import seeds
from widelinear.claims import Record, claim


def record(seed, measured):
    one = claim("T1", "It is small.", paper="small", source="eq. 8", measured=measured, below=1.0)
    return Record("01-page", (one,), {}, {}, {}, {"scale": "smoke", "changed": f"seed={seed}"}, None, 1.0, "2026-01-31")


def test_the_table_counts_the_seeds_on_which_a_claim_is_as_stated():
    lines = seeds.table([record(1, 0.5), record(2, 1.5), record(3, 0.25)]).splitlines()
    assert lines[0].split() == ["page", "claim", "bound", "seed=1", "seed=2", "seed=3", "as", "stated"]
    assert lines[1].split() == ["01-page", "T1", "below", "1", "0.5", "1.5", "0.25", "2", "of", "3"]


def test_a_page_that_fails_leaves_no_record_of_an_earlier_run(tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    record(1, 0.5).write(tmp_path / "1")
    monkeypatch.setattr(seeds, "execute_pages", lambda *_, **__: False)
    options = {"scale": "smoke", "package": Path("src"), "home": tmp_path, "seeds": [1]}
    assert seeds.run_seeds([Path("01-page.ipynb")], **options) == []
