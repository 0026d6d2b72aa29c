"""The progress bar changes nothing."""

from widelinear.progress import progress


def test_it_passes_every_item_on():
    assert list(progress("counting", range(3))) == [0, 1, 2]


def test_a_short_task_shows_nothing(capsys):
    list(progress("counting", range(3)))
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
