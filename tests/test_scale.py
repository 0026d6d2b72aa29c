"""The scale is one of three, settings are those of its column, and the banner says where a page ran."""

from html.parser import HTMLParser

import jax
import pytest

from widelinear import scale


@pytest.fixture(params=scale.SCALES)
def chosen(request, monkeypatch):
    """Each scale in turn."""
    monkeypatch.setenv("WIDELINEAR_SCALE", request.param)
    return request.param


def text_of(html):
    """What a reader sees of a piece of HTML."""
    texts = []
    parser = HTMLParser()
    parser.handle_data = texts.append
    parser.feed(html)
    return "".join(texts)


def test_the_scale_is_the_one_named(chosen):
    assert scale.current() == chosen


def test_the_scale_is_laptop_where_none_is_named():
    assert scale.current() == "laptop"


@pytest.mark.parametrize("name", ["cpu", "Paper", ""])
def test_an_unknown_scale_is_refused_with_the_known_ones(name, monkeypatch):
    monkeypatch.setenv("WIDELINEAR_SCALE", name)
    with pytest.raises(ValueError, match=f"'{name}', but the scales are smoke, laptop and paper"):
        scale.current()


def test_a_setting_is_that_of_the_scale(chosen):
    settings = scale.choose(width=(64, 512, 2048))
    assert settings.width == {"smoke": 64, "laptop": 512, "paper": 2048}[chosen]


@pytest.mark.parametrize("value", [5, "digits", [1, 2], None])
def test_a_setting_that_is_not_a_tuple_is_the_same_at_every_scale(chosen, value):
    assert scale.choose(setting=value).setting == value


@pytest.mark.parametrize("sizes", [(), (1, 2), (1, 2, 3, 4)])
def test_a_tuple_without_three_sizes_is_refused_by_name(sizes):
    with pytest.raises(ValueError, match=f"width has {len(sizes)} sizes"):
        scale.choose(width=sizes)


def test_settings_as_a_dictionary_are_those_of_the_scale_alone(chosen):
    assert vars(scale.choose(width=("s", "l", "p"), depth=5)) == {"width": chosen[0], "depth": 5}


def test_the_displayed_settings_show_all_three_scales_and_mark_the_one_that_runs(chosen):
    shown = text_of(scale.choose(width=(64, 512, 2048))._repr_html_())
    assert [size for size in ("64", "512", "2048") if size in shown] == ["64", "512", "2048"]
    assert shown.count("(this run)") == 1
    assert f"{chosen} (this run)" in shown


def test_the_banner_names_scale_device_cores_precision_and_versions(chosen):
    line = scale.banner()
    cores = scale.environment()["cores"]
    expected = (chosen, "cpu", f"{cores} cores", "float64", f"jax {jax.__version__}", "flax", "widelinear")
    assert [word for word in expected if word not in line] == []


def test_the_displayed_banner_says_what_the_printed_one_says():
    assert text_of(scale.banner()._repr_html_()) == repr(scale.banner()) == str(scale.banner())


def test_single_precision_is_reported():
    with jax.enable_x64(False):
        assert scale.environment()["precision"] == "float32"


def test_a_matrix_product_precision_is_reported():
    with jax.default_matmul_precision("highest"):
        assert scale.environment()["precision"] == "float64, matmul highest"
