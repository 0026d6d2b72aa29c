"""Tests of `widelinear.data` on files written byte by byte, on a server in this process and, marked, on real files."""

import functools
import gzip
import hashlib
import http.server
import importlib.resources
import io
import os
import shutil
import tarfile
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pooch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from widelinear import data

CIFAR10 = "cifar-10-batches-bin"
CIFAR10_FILES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
BATCH, N_TRAIN, N_TEST = 20, 30, 12  # images in a CIFAR-10 file and in MNIST's two splits, instead of thousands


def pixel(image, row, column, channel):
    return (7 * image + 5 * row + 3 * column + 11 * channel) % 256


def write_cifar10(folder):
    """In file k, image i has label i mod 10 and the pixels of image i + k."""
    folder.mkdir(parents=True)
    for k, name in enumerate(CIFAR10_FILES):
        rows = bytearray()
        for i in range(BATCH):
            rows.append(i % 10)
            rows.extend(pixel(i + k, r, c, ch) for ch in range(3) for r in range(32) for c in range(32))
        (folder / name).write_bytes(rows)


def write_mnist(folder):
    folder.mkdir(parents=True)
    for split, n in (("train", N_TRAIN), ("t10k", N_TEST)):
        images = bytes(pixel(i, r, c, 0) for i in range(n) for r in range(28) for c in range(28))
        sizes = b"".join(size.to_bytes(4, "big") for size in (n, 28, 28))
        (folder / f"{split}-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03" + sizes + images)
        labels = bytes(i % 10 for i in range(n))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01" + n.to_bytes(4, "big") + labels)


def gzip_all(folder):
    for file in list(folder.iterdir()):
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()


def change_byte(file, position, value):
    content = bytearray(file.read_bytes())
    content[position] = value
    file.write_bytes(content)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(data, "_CIFAR10_BATCH", BATCH)
    monkeypatch.setattr(data, "_MNIST_SIZES", (N_TRAIN, N_TEST))


@pytest.fixture
def root(small, tmp_path, monkeypatch):
    """The folder that WIDELINEAR_DATA names, with both sets in it."""
    write_cifar10(tmp_path / CIFAR10)
    write_mnist(tmp_path / "mnist")
    monkeypatch.setenv("WIDELINEAR_DATA", str(tmp_path))
    return tmp_path


def over(*strategies):
    return lambda test: settings(deadline=None, max_examples=50)(given(*strategies)(test))


# Files


def test_cifar10_is_read_back_pixel_by_pixel(root):
    cifar10 = data.cifar10()
    expected = [np.fromfunction(lambda i, r, c, ch, k=k: pixel(i + k, r, c, ch), (BATCH, 32, 32, 3)) for k in range(6)]
    np.testing.assert_array_equal(cifar10.x_train, np.concatenate(expected[:5]))
    np.testing.assert_array_equal(cifar10.x_test, expected[5])


def test_cifar10_labels_belong_to_their_images(root):
    cifar10 = data.cifar10()
    assert cifar10.y_train.tolist() == [i % 10 for i in range(BATCH)] * 5
    assert cifar10.y_test.tolist() == [i % 10 for i in range(BATCH)]


def test_mnist_is_read_back_pixel_by_pixel(root):
    mnist = data.mnist()
    np.testing.assert_array_equal(mnist.x_train, np.fromfunction(pixel, (N_TRAIN, 28, 28, 1)))
    np.testing.assert_array_equal(mnist.x_test, np.fromfunction(pixel, (N_TEST, 28, 28, 1)))
    assert mnist.y_train.tolist() == [i % 10 for i in range(N_TRAIN)]
    assert mnist.y_test.tolist() == [i % 10 for i in range(N_TEST)]


def test_gzipped_idx_files_give_the_same_set(root):
    plain = data.mnist().checksum
    gzip_all(root / "mnist")
    assert data.mnist().checksum == plain


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0", lambda content: b""])
@pytest.mark.parametrize(
    ("read", "file"), [(data.cifar10, f"{CIFAR10}/data_batch_3.bin"), (data.mnist, "mnist/t10k-labels-idx1-ubyte")]
)
def test_a_file_of_the_wrong_size_is_refused_by_name_and_sizes(root, read, file, change):
    expected = (root / file).read_bytes()
    (root / file).write_bytes(change(expected))
    found = len(change(expected))
    with pytest.raises(ValueError, match=rf"{file} has {found:,} bytes where {len(expected):,} are expected"):
        read()


@pytest.mark.parametrize(
    ("read", "file", "position"),
    [
        (data.cifar10, f"{CIFAR10}/test_batch.bin", 4 * 3073),
        (data.mnist, "mnist/train-labels-idx1-ubyte", 8 + 4),
    ],
)
def test_a_label_out_of_range_is_refused_by_file_and_image(root, read, file, position):
    change_byte(root / file, position, 10)
    with pytest.raises(ValueError, match=rf"{file} gives image 4 the label 10, expected 0 to 9"):
        read()


@pytest.mark.parametrize(("position", "value"), [(2, 0x0D), (3, 2), (11, 27)])
def test_an_idx_file_of_another_type_or_shape_is_refused_by_name(root, position, value):
    change_byte(root / "mnist" / "train-images-idx3-ubyte", position, value)
    with pytest.raises(
        ValueError, match=r"train-images-idx3-ubyte does not begin with the idx header .*\[30, 28, 28\]"
    ):
        data.mnist()


@pytest.mark.parametrize("damage", [lambda packed: packed[:-9], lambda packed: b"no gzip", lambda packed: packed[:40]])
def test_a_damaged_gzip_file_is_refused_by_name(root, damage):
    gzip_all(root / "mnist")
    file = root / "mnist" / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz is not a whole gzip file"):
        data.mnist()


def test_a_missing_file_is_named(root):
    (root / CIFAR10 / "data_batch_2.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"data_batch_2\.bin is missing"):
        data.cifar10()


@pytest.mark.parametrize(("read", "folder"), [(data.cifar10, CIFAR10), (data.mnist, "mnist")])
def test_a_wrong_folder_says_what_was_looked_for_and_what_to_do(tmp_path, monkeypatch, read, folder):
    monkeypatch.setenv("WIDELINEAR_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"holds no folder {folder}: set it to .* or unset it to download"):
        read()


# Checksums


@pytest.fixture
def official(root, monkeypatch):
    """Declares the small files to be the official ones."""
    files = [*(root / CIFAR10).iterdir(), *(root / "mnist").iterdir()]
    monkeypatch.setattr(
        data, "_OFFICIAL_MD5", {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in files}
    )
    return root


@pytest.mark.parametrize("read", [data.cifar10, data.mnist])
def test_files_with_the_official_checksums_are_official(official, read):
    assert read().official


def test_gzipping_a_file_leaves_it_official(official):
    gzip_all(official / "mnist")
    assert data.mnist().official


@pytest.mark.parametrize(
    ("read", "file"), [(data.cifar10, f"{CIFAR10}/test_batch.bin"), (data.mnist, "mnist/t10k-labels-idx1-ubyte")]
)
def test_one_other_byte_is_not_official(official, read, file):
    change_byte(official / file, -1, 0)
    assert not read().official


def test_a_task_drawn_from_unofficial_files_says_so(root):
    assert not data.binary_task(data.cifar10(), train_size=4, test_size=2).official


def test_checksum_is_the_sha256_of_pixels_and_labels(root):
    mnist = data.mnist()
    bytes_read = mnist.x_train.tobytes() + mnist.y_train.tobytes() + mnist.x_test.tobytes() + mnist.y_test.tobytes()
    assert mnist.checksum == hashlib.sha256(bytes_read).hexdigest()


def test_a_task_with_other_pixels_has_another_checksum(root):
    before = data.binary_task(data.cifar10(), train_size=20, test_size=2)
    change_byte(root / CIFAR10 / "data_batch_1.bin", 7 * 3073 + 1, 255)
    cifar10 = data.cifar10()
    after = data.binary_task(cifar10, train_size=20, test_size=2)
    assert not np.array_equal(before.x_train, after.x_train)
    assert before.checksum != after.checksum


# Download and cache


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Dropping(Quiet):
    """Breaks the first answer off in its middle; then sends what is asked for, or all if it can send no parts."""

    asked: ClassVar[list[str | None]] = []
    sends_parts = True

    def do_GET(self):
        whole = Path(self.translate_path(self.path)).read_bytes()
        wanted = self.headers["Range"]
        self.asked.append(wanted)
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.sends_parts else 0
        if begin >= len(whole):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(whole) - begin))
        self.end_headers()
        self.wfile.write(whole[begin:] if len(self.asked) > 1 else whole[: len(whole) // 2])


@pytest.fixture
def handler():
    return Quiet


@pytest.fixture
def site(small, tmp_path, monkeypatch, handler):
    """A server on this machine that takes the official ones' place, with an empty cache on this side; `()` stops it."""
    write_cifar10(tmp_path / "site" / CIFAR10)
    with tarfile.open(tmp_path / "site" / "cifar-10-binary.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "site" / CIFAR10, CIFAR10)
    write_mnist(tmp_path / "site" / "mnist")
    gzip_all(tmp_path / "site" / "mnist")

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=tmp_path / "site"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def stop():
        if thread.is_alive():
            server.shutdown()
            server.server_close()
            thread.join()

    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("WIDELINEAR_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setattr(data, "_CIFAR10_URL", f"{url}/cifar-10-binary.tar.gz")
    monkeypatch.setattr(data, "_MNIST_URL", f"{url}/mnist/")
    trust(monkeypatch, tmp_path / "site")
    yield stop
    stop()


def trust(monkeypatch, folder):
    """Declares the archives of the small site to be the official ones."""
    sha256 = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*.gz")}
    monkeypatch.setattr(data, "_CIFAR10_SHA256", sha256.pop("cifar-10-binary.tar.gz"))
    monkeypatch.setattr(data, "_MNIST_SHA256", sha256)


@pytest.mark.parametrize("read", [data.cifar10, data.mnist])
def test_what_the_cache_lacks_is_downloaded_and_then_needs_no_network(site, read):
    downloaded = read()
    site()
    assert read().checksum == downloaded.checksum


@pytest.mark.parametrize("read", [data.cifar10, data.mnist])
def test_a_download_shows_its_progress_on_stderr_only(site, read, capfd):
    read()
    captured = capfd.readouterr()
    assert "100%" in captured.err
    assert captured.out == ""


class WithoutParts(Dropping):
    sends_parts = False


@pytest.mark.parametrize("handler", [Dropping, WithoutParts])
def test_a_download_that_broke_off_goes_on_where_it_stopped(site, handler, tmp_path, monkeypatch):
    monkeypatch.setattr(handler, "asked", [])
    monkeypatch.setattr(data, "_CHUNK", 1000)
    with pytest.raises(ConnectionError, match="goes on where this stopped"):
        data.cifar10()
    (part,) = (tmp_path / "cache" / "widelinear").iterdir()
    assert part.name == "cifar-10-binary.tar.gz.part"
    came = part.stat().st_size
    assert came > 0
    assert len(data.cifar10().x_train) == 5 * BATCH
    assert handler.asked == [None, f"bytes={came}-"]


def test_a_wrong_part_is_not_kept(site, tmp_path):
    cache = tmp_path / "cache" / "widelinear"
    cache.mkdir(parents=True)
    (cache / "cifar-10-binary.tar.gz.part").write_bytes(b"not the beginning of that file")
    assert len(data.cifar10().x_train) == 5 * BATCH  # this server sends all of it
    assert not list(cache.glob("*.part"))


@pytest.mark.parametrize("handler", [Dropping])
@pytest.mark.parametrize(("part", "reason"), [(b"not its beginning", "wrong checksum"), (None, "HTTPError")])
def test_a_part_that_cannot_go_on_costs_one_try(site, handler, part, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(handler, "asked", [None])  # nothing breaks off
    cache = tmp_path / "cache" / "widelinear"
    cache.mkdir(parents=True)
    whole = (tmp_path / "site" / "cifar-10-binary.tar.gz").read_bytes()
    (cache / "cifar-10-binary.tar.gz.part").write_bytes(part or whole)  # of the whole, no more can be had
    with pytest.raises(ConnectionError, match=reason):
        data.cifar10()
    assert len(data.cifar10().x_train) == 5 * BATCH
    assert not list(cache.glob("*.part"))


def test_an_empty_widelinear_data_counts_as_unset(site, monkeypatch):
    monkeypatch.setenv("WIDELINEAR_DATA", "")
    assert len(data.mnist().x_train) == N_TRAIN


@pytest.mark.parametrize("read", [data.cifar10, data.mnist])
def test_without_a_network_one_sentence_says_what_to_do_and_no_empty_part_is_left(site, tmp_path, read):
    site()
    with pytest.raises(ConnectionError, match=r"^Cannot download http.*\(ConnectionError\): .* WIDELINEAR_DATA .*\.$"):
        read()
    assert not list((tmp_path / "cache").rglob("*.part"))


@pytest.fixture
def cache(site, tmp_path):
    """A cache that somebody has put the archive into; there is no network."""
    site()
    cache = tmp_path / "cache" / "widelinear"
    cache.mkdir(parents=True)
    shutil.copy(tmp_path / "site" / "cifar-10-binary.tar.gz", cache)
    return cache


def test_an_archive_put_into_the_cache_needs_no_network(cache):
    assert len(data.cifar10().x_train) == 5 * BATCH


@pytest.mark.parametrize(("read", "file"), [(data.cifar10, "cifar-10-binary.tar.gz"), (data.mnist, "mnist")])
def test_an_altered_download_is_refused_and_not_kept(site, tmp_path, read, file):
    altered = tmp_path / "site" / file
    for archive in [altered] if altered.is_file() else altered.iterdir():
        change_byte(archive, 9, 77)
    with pytest.raises(ConnectionError, match=r"what came has the wrong checksum"):
        read()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_an_altered_file_in_mnist_cache_is_downloaded_again(site, tmp_path):
    checksum = data.mnist().checksum
    change_byte(tmp_path / "cache" / "widelinear" / "mnist" / "t10k-images-idx3-ubyte.gz", -9, 1)
    assert data.mnist().checksum == checksum


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError("no space left")])
def test_an_interrupted_unpack_leaves_nothing_behind_and_can_be_repeated(cache, monkeypatch, interruption):
    whole_files = iter(CIFAR10_FILES[:2])

    def interrupted(source, target):
        target.write(source.read(1000))
        if next(whole_files, None) is None:
            raise interruption
        target.write(source.read())

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", interrupted)
        with pytest.raises(type(interruption)):
            data.cifar10()
    assert [path.name for path in cache.iterdir()] == ["cifar-10-binary.tar.gz"]
    assert len(data.cifar10().x_train) == 5 * BATCH


def test_another_process_that_unpacks_first_is_no_error(cache, tmp_path, monkeypatch):
    copy = shutil.copyfileobj

    def overtaken(source, target):
        shutil.copytree(tmp_path / "site" / CIFAR10, cache / CIFAR10, dirs_exist_ok=True)
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfileobj", overtaken)
    assert len(data.cifar10().x_train) == 5 * BATCH


def test_a_folder_that_cannot_be_put_in_place_is_an_error(cache, monkeypatch):
    def denied(self, target):
        raise PermissionError(f"cannot write {target}")

    monkeypatch.setattr(Path, "replace", denied)
    with pytest.raises(PermissionError):
        data.cifar10()


@pytest.mark.parametrize("name", ["../escaped", "/{tmp}/escaped", f"{CIFAR10}/../../escaped", f"{CIFAR10}/extra"])
def test_an_archive_writes_only_the_files_it_should(site, tmp_path, monkeypatch, name):
    archive = tmp_path / "site" / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "site" / CIFAR10, CIFAR10)
        member = tarfile.TarInfo(name.replace("/{tmp}", str(tmp_path)))
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    trust(monkeypatch, tmp_path / "site")
    data.cifar10()
    assert not list(tmp_path.rglob("escaped"))
    assert sorted(path.name for path in (tmp_path / "cache" / "widelinear" / CIFAR10).iterdir()) == CIFAR10_FILES


# Digits


def test_digits_hold_each_image_of_scikit_learn_once_with_its_label():
    digits, bunch = data.digits(), load_digits()
    images = np.concatenate([digits.x_train, digits.x_test]).reshape(-1, 64)
    labels = np.concatenate([digits.y_train, digits.y_test])
    assert sorted(zip(images.tolist(), labels.tolist(), strict=True)) == sorted(
        zip(bunch.data.tolist(), bunch.target.tolist(), strict=True)
    )


def test_digits_have_enough_of_each_class_for_the_default_binary_task():
    digits = data.digits()
    assert np.bincount(digits.y_train).min() >= 130
    assert np.bincount(digits.y_test).min() >= 43


def test_digits_are_the_same_every_time():
    assert data.digits().checksum == data.digits().checksum


# Smaller images, and standardisation

inputs = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(0, 256, (7, 4, 4, 3)).astype(np.uint8)
)


@over(inputs)
def test_a_square_of_pixels_becomes_their_mean(x):
    corners = [np.float64(x[:, a::2, b::2]) for a in (0, 1) for b in (0, 1)]
    np.testing.assert_allclose(data.average_pixels(x, square=2), sum(corners) / 4, rtol=1e-12)
    assert (data.average_pixels(x, square=1) == x).all()


def test_squares_that_do_not_fill_the_image_are_refused():
    with pytest.raises(ValueError, match="3 divides not both sides of 4 × 6; take a divisor of both"):
        data.average_pixels(np.zeros((1, 4, 6, 1)), square=3)


@over(inputs, inputs)
def test_standardise_is_scikit_learns_scaler_fitted_to_the_training_inputs(x_train, x_test):
    scaler = StandardScaler().fit(x_train.reshape(-1, 1))
    ours = data.standardise(x_train, x_test, dtype=np.float64)
    for raw, x in zip((x_train, x_test), ours, strict=True):
        np.testing.assert_allclose(x, scaler.transform(raw.reshape(-1, 1)).reshape(raw.shape), rtol=1e-12, atol=1e-12)


@over(inputs)
def test_standardised_training_inputs_have_unit_second_moment_per_feature(x_train):
    (x,) = data.standardise(x_train.reshape(7, -1))
    assert x.dtype == np.float32
    assert np.mean(np.sum(x**2, axis=1) / x.shape[1]) == pytest.approx(1, abs=1e-5)
    assert x.mean() == pytest.approx(0, abs=1e-5)


def test_standardise_leaves_its_arguments_alone():
    x_train = np.array([[0.0, 2.0]])
    data.standardise(x_train, dtype=np.float64)
    assert x_train.tolist() == [[0.0, 2.0]]


def test_training_inputs_that_are_all_equal_are_refused():
    with pytest.raises(ValueError, match=r"all 3\.0: give inputs that differ"):
        data.standardise(np.full((2, 4), 3))


# Tasks


def traceable(per_class=9, n_classes=4):
    """A set whose images tell where they are from: the pixels 0, 255, class, index, split."""
    n = per_class * n_classes
    y = np.random.default_rng(1).permutation(np.arange(n) % n_classes).astype(np.int32)
    pixels = np.stack([np.zeros(n), np.full(n, 255), y, np.arange(n), np.zeros(n)], axis=1)
    x = pixels[:, None, :, None].astype(np.uint8)
    names = ("plum", "pear", "fig", "lime")[:n_classes]
    return data.Dataset("fruit", x, y, x + np.array([0, 0, 0, 0, 1], np.uint8)[:, None], y, names)


def traced(x):
    """Undo the standardisation by the two known pixels; the columns class, index, split."""
    x = x.reshape(len(x), -1).astype(np.float64)
    return np.rint((x - x[:, :1]) / (x[:, 1:2] - x[:, :1]) * 255).astype(int)[:, 2:].T


sizes, seeds = st.integers(1, 36), st.integers(0, 2**32 - 1)


@over(sizes, sizes, seeds)
def test_a_task_holds_images_of_its_split_once_each_with_their_labels(train_size, test_size, seed):
    fruit = traceable()
    task = data.multiclass_task(fruit, ("fig", "plum", "lime", "pear"), train_size, test_size, seed=seed)
    outputs = np.array([2, 0, 3, 1])
    for split, x, y in ((0, task.x_train, task.y_train), (1, task.x_test, task.y_test)):
        label, index, drawn_from = traced(x)
        assert set(drawn_from) == {split}
        assert len(set(index)) == len(x)
        np.testing.assert_array_equal(label, fruit.y_train[index])
        np.testing.assert_array_equal(outputs[y.argmax(axis=1)], label)
        assert set(y.ravel()) <= {0, 1}
        assert (y.sum(axis=1) == 1).all()


@over(sizes, seeds)
def test_classes_are_balanced_up_to_one_image(train_size, seed):
    task = data.multiclass_task(traceable(), None, train_size, 4, seed=seed)
    assert np.ptp(task.y_train.sum(axis=0)) <= 1


@over(st.integers(1, 17), seeds)
def test_a_smaller_task_is_a_prefix_of_a_larger_one(train_size, seed):
    fruit = traceable()
    small, large = (data.binary_task(fruit, ("fig", "pear"), n, 4, seed=seed) for n in (train_size, train_size + 1))
    np.testing.assert_array_equal(traced(small.x_train), traced(large.x_train)[:, :train_size])
    np.testing.assert_array_equal(traced(small.x_test), traced(large.x_test))


@over(st.integers(1, 9), seeds)
def test_a_binary_task_has_plus_one_for_the_first_class_and_minus_one_for_the_second(half, seed):
    task = data.binary_task(traceable(), ("fig", "plum"), 2 * half, 2, seed=seed)
    label, _, _ = traced(task.x_train)
    assert task.y_train.shape == (2 * half, 1)
    np.testing.assert_array_equal(task.y_train[:, 0], np.where(label == 2, 1, -1))
    assert task.y_train.sum() == 0


def test_the_papers_binary_task_is_horses_plus_one_and_planes_minus_one(root):
    cifar10 = data.cifar10()
    planes, horses = (cifar10.x_train[cifar10.y_train == label] for label in (0, 7))
    task = data.binary_task(cifar10, train_size=len(planes) + len(horses), test_size=4)
    _, expected = data.standardise(np.concatenate([planes, horses]), horses)
    drawn = task.x_train[task.y_train[:, 0] == 1]
    np.testing.assert_allclose(np.sort(drawn[:, 0]), np.sort(expected[:, 0, 0, 0]), rtol=1e-5)
    assert task.name == "cifar10: horse (+1), airplane (-1)"


def test_the_same_seed_draws_the_same_task_and_another_seed_another():
    digits = data.digits()
    first, again, other = (data.binary_task(digits, (3, 8), 64, 32, seed=seed).checksum for seed in (5, 5, 6))
    assert first == again != other


def test_images_keep_their_shape_when_a_task_is_not_flat():
    digits = data.digits()
    flat, images = (data.binary_task(digits, (1, 0), 16, 8, flat=flat) for flat in (True, False))
    assert images.x_test.shape == (8, 8, 8, 1)
    np.testing.assert_array_equal(images.x_train.reshape(16, 64), flat.x_train)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_task_has_one_floating_point_type_throughout(dtype):
    task = data.binary_task(data.digits(), (1, 0), 16, 8, dtype=dtype)
    assert {array.dtype for array in (task.x_train, task.y_train, task.x_test, task.y_test)} == {np.dtype(dtype)}


@pytest.mark.parametrize("classes", [("fig", "grape"), ("fig", "fig")])
def test_unknown_or_repeated_classes_are_refused(classes):
    with pytest.raises(ValueError, match=r"of fruit: expected different names out of plum, pear, fig, lime"):
        data.binary_task(traceable(), classes, 4, 4)


@pytest.mark.parametrize("size", [0, -2, 19])
def test_more_images_than_there_are_is_refused_with_the_most_there_can_be(size):
    message = rf"Cannot draw {size} training images of fruit, balanced over 2 classes: ask for 1 to 18"
    with pytest.raises(ValueError, match=message):
        data.binary_task(traceable(), ("fig", "plum"), size, 4)


# The paper's curves

AXES = {"steps", "step", "t", "widths", "alpha", "M", "weight_widths", "kernel_widths"}
AXES |= {"fc_widths", "cnn_channels", "wrn_channels", "data_widths"}
CURVES = [
    *("fig1a_log2_rel_ntk_change_vs_step", "fig1b_log2_rel_weight_change", "fig1c_log2_rel_ntk_change_T"),
    *("fig1d_log2_rel_nngp_change_T", "fig2", "fig3_loss", "fig3_rmse", "fig4_loss", "fig4_accuracy_on_128_points"),
    *("figS2_loss", "figS2_acc", "figS2_rmse", "figS3_loss", "figS3_rmse", "figS3_acc", "figS5_log2_final_rmse"),
    *("figS6top", "figS6bottom", "figS8_loss", "figS8_acc", "figS8_rmse", "figS9_log2_rel_error"),
    "figS10_log2_rel_error",
]


def arrays(node):
    """All arrays below a node, each with its key."""
    for key, value in node.items():
        yield from [(key, value)] if isinstance(value, np.ndarray) else arrays(value)


@pytest.mark.parametrize("name", CURVES)
def test_every_curve_has_the_length_of_an_axis_of_its_figure(name):
    curve = data.paper_curve(name)
    axes = {len(value) for key, value in arrays(curve) if key in AXES and isinstance(value, np.ndarray)}
    assert axes
    assert all(len(value) in axes and np.isfinite(value).all() for _, value in arrays(curve))


@pytest.mark.parametrize("name", CURVES)
def test_every_axis_increases(name):
    assert all((np.diff(value) > 0).all() for key, value in arrays(data.paper_curve(name)) if key in AXES)


def test_the_error_of_the_empirical_kernel_ends_at_half_that_of_the_analytic_one():
    rmse = data.paper_curve("fig3_rmse")
    assert rmse["empirical_Theta_hat"][-1] == pytest.approx(0.121, abs=5e-4)
    assert rmse["analytic_Theta"][-1] == pytest.approx(0.247, abs=5e-4)


def test_losses_are_those_that_the_specification_quotes():
    loss = data.paper_curve("fig3_loss")
    at = {t: i for i, t in enumerate(loss["t"].tolist())}
    assert [loss["train_nn"][at[t]] for t in (0.01, 0.08, 0.32, 1.28)] == pytest.approx(
        [1.755, 1.102, 0.924, 0.760], abs=1e-3
    )
    assert loss["test_lin"][-1] == pytest.approx(0.547, abs=1e-3)


@pytest.mark.parametrize(("name", "near"), [("fig3_rsme", "fig3_rmse"), ("figS2_accuracy", "figS2_acc")])
def test_an_unknown_curve_lists_close_names(name, near):
    with pytest.raises(ValueError, match=rf"no entry '{name}': take one of .*\b{near}\b"):
        data.paper_curve(name)


def test_provenance_is_no_curve():
    with pytest.raises(ValueError, match="no entry '_about'"):
        data.paper_curve("_about")


def test_the_readme_of_the_curves_explains_every_entry():
    readme = (importlib.resources.files("widelinear") / "paper" / "README.md").read_text("utf-8")
    assert [name for name in CURVES if f"`{name}`" not in readme] == []


# The real files


@pytest.mark.realdata
def test_real_cifar10_has_5000_training_and_1000_test_images_of_each_class():
    cifar10 = data.cifar10()
    assert cifar10.x_train.shape == (50_000, 32, 32, 3)
    assert cifar10.x_test.shape == (10_000, 32, 32, 3)
    assert np.bincount(cifar10.y_train).tolist() == [5000] * 10
    assert np.bincount(cifar10.y_test).tolist() == [1000] * 10


@pytest.mark.realdata
def test_real_cifar10_names_its_classes_as_we_do():
    names = Path(os.environ["WIDELINEAR_DATA"], CIFAR10, "batches.meta.txt").read_text().split()
    assert data.cifar10().classes == tuple(names)


@pytest.mark.realdata
def test_real_cifar10_has_the_published_mean_of_each_channel():
    mean = data.cifar10().x_train.mean(axis=(0, 1, 2)) / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=2e-4)


@pytest.mark.realdata
def test_real_mnist_is_official():
    mnist = data.mnist()
    assert mnist.official
    assert mnist.x_train.shape == (60_000, 28, 28, 1)
    assert mnist.x_test.shape == (10_000, 28, 28, 1)


@pytest.mark.realdata
def test_the_papers_binary_task_can_be_drawn_from_real_cifar10():
    task = data.binary_task(data.cifar10())
    assert task.x_train.shape == (256, 3072)
    assert np.mean(task.x_train**2) == pytest.approx(1, abs=1e-5)
    assert np.mean(task.x_test**2) == pytest.approx(1, abs=0.2)
