"""A claim holds within its bound and nowhere else; a page that breaks one fails, and its record says so."""

import json
import math
from html.parser import HTMLParser
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from widelinear.claims import ClaimFailed, check_claims, claim, read_records


def measure(measured, **bound):
    """A claim about a number."""
    return claim("T1", "They agree.", paper="exact", source="eq. 8", measured=measured, **bound)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder for records, named as the tool that executes the book names it."""
    monkeypatch.setenv("WIDELINEAR_RESULTS", str(tmp_path))
    return tmp_path


BOUNDS = [
    ({"below": 1.0}, 0.5, 1.5),
    ({"above": 1.0}, 1.5, 0.5),
    ({"between": (1.0, 2.0)}, 1.5, 0.5),
    ({"between": (1.0, 2.0)}, 1.5, 2.5),
]


@pytest.mark.parametrize(("bound", "inside", "outside"), BOUNDS)
def test_a_claim_holds_inside_its_bound_and_fails_outside(bound, inside, outside):
    assert (measure(inside, **bound).verdict, measure(outside, **bound).verdict) == ("holds", "FAILS")


@pytest.mark.parametrize(("bound", "inside", "outside"), BOUNDS)
def test_a_control_is_to_fail_and_holds_unexpectedly(bound, inside, outside):
    verdicts = (measure(inside, **bound, control=True).verdict, measure(outside, **bound, control=True).verdict)
    assert verdicts == ("holds UNEXPECTEDLY", "fails as expected")


@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("bound", [bound for bound, *_ in BOUNDS])
@pytest.mark.parametrize("measured", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_never_counts(measured, bound, control):
    assert measure(measured, **bound, control=control).verdict == "FAILS"


@pytest.mark.parametrize("bound", [{}, {"below": 1.0, "above": 0.0}, {"below": 1.0, "between": (0.0, 1.0)}])
def test_a_claim_has_exactly_one_bound(bound):
    with pytest.raises(ValueError, match="claim T1 needs exactly one bound"):
        measure(0.5, **bound)


@pytest.mark.parametrize(
    "bound",
    [{"below": math.nan}, {"below": math.inf}, {"above": math.inf}, {"above": -math.inf}, {"between": (2.0, 1.0)}],
)
def test_a_bound_that_decides_nothing_is_refused(bound):
    with pytest.raises(ValueError, match="claim T1 is bounded by"):
        measure(0.5, **bound)


@pytest.mark.parametrize("scalar", [np.float32(0.5), np.array(0.5), jnp.array(0.5)])
def test_any_scalar_can_be_measured(scalar):
    assert measure(scalar, below=1.0).measured == 0.5


def test_an_array_is_not_one_number():
    with pytest.raises(ValueError, match=r"claim T1 measures one number, but got an array of shape \(3,\)"):
        measure(np.zeros(3), below=1.0)


def test_a_page_whose_claims_hold_returns_their_verdicts():
    control = claim("T2", "They differ.", paper=2.0, source="Fig. 1", measured=3.0, below=1.0, control=True)
    record = check_claims("01-page", [measure(0.5, below=1.0), control])
    assert record.verdicts == "T1  holds\nT2  fails as expected"


def test_verdicts_do_not_depend_on_scale_or_numbers(monkeypatch):
    verdicts = set()
    for scale, measured in (("smoke", 0.9), ("laptop", 0.1), ("paper", 0.001)):
        monkeypatch.setenv("WIDELINEAR_SCALE", scale)
        verdicts.add(check_claims("01-page", [measure(measured, below=1.0)]).verdicts)
    assert len(verdicts) == 1


def test_a_claim_that_fails_raises_with_its_number_and_its_bound():
    with pytest.raises(ClaimFailed, match=r"^T1 FAILS: measured 1\.13, it has to be above 1\.2 \(They agree\.\)$"):
        check_claims("01-page", [measure(1.13, above=1.2)])


def test_a_control_that_holds_raises_with_its_number_and_its_bound():
    with pytest.raises(ClaimFailed, match=r"^T1 holds UNEXPECTEDLY: measured 1\.3, a control is not to be above 1\.2"):
        check_claims("01-page", [measure(1.3, above=1.2, control=True)])


def test_every_claim_that_fails_is_named():
    bad = [claim(id, "No.", paper=0.0, source="eq. 1", measured=2.0, below=1.0) for id in ("T1", "T2")]
    good = claim("T3", "Yes.", paper=0.0, source="eq. 1", measured=0.0, below=1.0)
    with pytest.raises(ClaimFailed) as failure:
        check_claims("01-page", [bad[0], good, bad[1]])
    assert [line[:2] for line in str(failure.value).splitlines()] == ["T1", "T2"]


@pytest.mark.parametrize("claims", [[], [measure(0.5, below=1.0)] * 2])
def test_no_claim_and_two_claims_of_one_name_are_refused(claims):
    with pytest.raises(ValueError, match="01-page needs claims with ids of their own"):
        check_claims("01-page", claims)


def test_the_table_is_displayed_before_the_page_fails(capsys):
    with pytest.raises(ClaimFailed):
        check_claims("01-page", [measure(2.0, below=1.0)])
    assert "T1     They agree.  exact (eq. 8)  2         below 1  FAILS" in capsys.readouterr().out


class Table(HTMLParser):
    """The parts of a table by which a screen reader finds its way."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.scopes, self.texts = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.scopes += [value for name, value in attrs if name == "scope"]

    def handle_data(self, data):
        self.texts.append(data)


def test_the_displayed_table_has_a_caption_and_headings_for_columns_and_rows():
    table = Table(check_claims("01-page", [measure(0.5, below=1.0)])._repr_html_())
    assert (table.tags.count("caption"), table.scopes) == (1, ["col"] * 6 + ["row"])


def test_a_sentence_is_shown_as_it_is_written():
    sentence = "<b> & |f| < 1"
    page = [claim("T1", sentence, paper=1.0, source="eq. 1", measured=0.5, below=1.0)]
    assert sentence in Table(check_claims("01-page", page)._repr_html_()).texts


def test_a_record_read_back_equals_the_one_written(results):
    page = [measure(0.5, below=1.0), claim("T2", "No.", paper=1.5, source="eq. 1", measured=3.0, between=(2.0, 4.0))]
    record = check_claims("01-page", page, settings=SimpleNamespace(width=64))
    assert read_records(results) == [record]


def test_a_record_of_a_failed_claim_is_written_before_the_page_fails(results):
    with pytest.raises(ClaimFailed):
        check_claims("01-page", [measure(math.nan, below=1.0)])
    assert read_records(results)[0].claims[0].verdict == "FAILS"


def test_a_record_is_valid_json_even_with_a_number_that_is_not_finite(results):
    with pytest.raises(ClaimFailed):
        check_claims("01-page", [measure(math.nan, below=1.0)])
    text = (results / "01-page.laptop.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["claims"][0]["measured"] == "nan"


def test_a_verdict_is_not_read_but_follows_from_the_number(results):
    check_claims("01-page", [measure(0.5, below=1.0)])
    file = results / "01-page.laptop.json"
    file.write_text(file.read_text().replace('"measured": 0.5', '"measured": 1.5'))
    assert read_records(results)[0].claims[0].verdict == "FAILS"


def test_a_record_says_how_to_repeat_it(results, monkeypatch):
    monkeypatch.setenv("WIDELINEAR_SCALE", "smoke")
    monkeypatch.setenv("WIDELINEAR_COMMIT", "abc-dirty")
    data = SimpleNamespace(name="cifar10", checksum="12ab", official=False, classes=("horse",))
    check_claims("01-page", [measure(0.5, below=1.0)], settings=SimpleNamespace(width=64), data=data)
    record = json.loads((results / "01-page.smoke.json").read_text())
    assert record["data"] == {"name": "cifar10", "checksum": "12ab", "official": False}
    assert (record["page"], record["commit"], record["settings"]) == ("01-page", "abc-dirty", {"width": 64})
    assert record["environment"].keys() >= {"scale", "device", "cores", "precision", "versions"}


def test_nothing_is_written_where_no_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_claims("01-page", [measure(0.5, below=1.0)])
    assert list(tmp_path.iterdir()) == []


def test_only_whole_records_are_left_in_the_folder(results):
    check_claims("01-page", [measure(0.5, below=1.0)])
    assert [file.name for file in results.iterdir()] == ["01-page.laptop.json"]


def test_records_are_read_page_by_page_from_the_smallest_scale_to_the_largest(results, monkeypatch):
    for scale, page in (("paper", "01-a"), ("smoke", "02-b"), ("laptop", "01-a"), ("smoke", "01-a")):
        monkeypatch.setenv("WIDELINEAR_SCALE", scale)
        check_claims(page, [measure(0.5, below=1.0)])
    found = [(record.page, record.scale) for record in read_records(results)]
    assert found == [("01-a", "smoke"), ("01-a", "laptop"), ("01-a", "paper"), ("02-b", "smoke")]
