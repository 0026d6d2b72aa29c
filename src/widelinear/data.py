"""Image sets in their official file layouts, the tasks drawn from them, and the paper's measured curves.

The files are read from `$WIDELINEAR_DATA` where it is set: a folder that holds `cifar-10-batches-bin/` and `mnist/`.
Otherwise they are read from the user's cache, and what the cache lacks is downloaded and checked. Nothing is unpickled.
"""

import difflib
import functools
import gzip
import hashlib
import importlib.resources
import json
import math
import os
import shutil
import struct
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int32, Num, UInt8
from numpy.typing import DTypeLike

_CHUNK = 2**16  # bytes of a download that are written at once
_CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_CIFAR10_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
_CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR10_FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_CIFAR10_BATCH = 10_000

_MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_MNIST_SIZES = (60_000, 10_000)

# Of the unpacked files: a folder may have been filled by other means than our download.
_OFFICIAL_MD5 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

_REPAIR = "put the official file in its place, or delete its folder and unset WIDELINEAR_DATA to download it again"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images, split into training and test images.

    Args:
        name: what the set is called in a record.
        x_train: training images, height x width x channels, as stored (0 to 255; digits: 0 to 16).
        y_train: index into `classes` for each training image.
        x_test: test images.
        y_test: index into `classes` for each test image.
        classes: names of the classes.
        files: the raw files that were read; empty for a set that ships with a dependency.

    Example:
        >>> from widelinear import data
        >>> digits = data.digits()
        >>> digits.name, digits.official, len(digits.checksum)
        ('digits', True, 64)

    Source: layout of CIFAR-10, https://www.cs.toronto.edu/~kriz/cifar.html, in height x width x channels order.
    Oracle: `official` against the published MD5 of MNIST's files; `checksum` against hashlib on the written bytes.
    """

    name: str
    x_train: UInt8[np.ndarray, "n *image"]
    y_train: Int32[np.ndarray, " n"]
    x_test: UInt8[np.ndarray, "m *image"]
    y_test: Int32[np.ndarray, " m"]
    classes: tuple[str, ...]
    files: tuple[Path, ...] = ()

    @functools.cached_property
    def checksum(self) -> str:
        """SHA-256 of `x_train`, `y_train`, `x_test`, `y_test`, one after the other; about 1 s for CIFAR-10."""
        return _sha256(self.x_train, self.y_train, self.x_test, self.y_test)

    @functools.cached_property
    def official(self) -> bool:
        """Whether every raw file has its official checksum; about 0.4 s for CIFAR-10."""
        return all(
            hashlib.md5(_read(file), usedforsecurity=False).hexdigest() == _OFFICIAL_MD5[file.name]
            for file in self.files
        )


@dataclass(frozen=True, eq=False)
class Task:
    """Standardised inputs and regression targets, ready for a network or a kernel.

    Args:
        name: the set and its classes, with the targets they have.
        x_train: training inputs, flat `[n, d]` or images `[n, height, width, channels]`.
        y_train: training targets, one column per output.
        x_test: test inputs.
        y_test: test targets.
        checksum: SHA-256 of the pixels and labels that were drawn, for the record.
        official: whether they come from the official files (CIFAR-10 that went through JPEG does not).

    Example:
        >>> from widelinear import data
        >>> task = data.binary_task(data.digits(), classes=("1", "0"), train_size=64, test_size=32)
        >>> task.name
        'digits: 1 (+1), 0 (-1)'

    Source: https://arxiv.org/abs/1902.06720v3, §2.1 (inputs and targets) and §3 (tasks).
    Oracle: the drawn pixels are looked up again in the dataset they came from.
    """

    name: str
    x_train: Float[np.ndarray, "n *features"]
    y_train: Float[np.ndarray, "n k"]
    x_test: Float[np.ndarray, "m *features"]
    y_test: Float[np.ndarray, "m k"]
    checksum: str
    official: bool


def cifar10() -> Dataset:
    """CIFAR-10: 50,000 training and 10,000 test images of ten classes, from the binary version.

    Each of the six files holds 10,000 rows of 3,073 bytes: the label, then 32 x 32 pixels of red, of green, of blue.

    Returns:
        The set, with images of shape `[32, 32, 3]`, in the order of the files. The images are a view of the rows.

    Raises:
        FileNotFoundError: `$WIDELINEAR_DATA` does not hold the folder `cifar-10-batches-bin`, or a file is missing.
        ValueError: a file has the wrong size or a label outside 0 to 9.
        ConnectionError: the archive (162 MB) is not in the cache and cannot be downloaded.

    Example:
        >>> import os
        >>> from widelinear import data
        >>> if os.environ.get("WIDELINEAR_DATA"):  # else this line would download 162 MB
        ...     assert data.cifar10().x_train.shape == (50_000, 32, 32, 3)

    Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
    Oracle: rows written byte by byte in a test; on the real files 5,000 and 1,000 images of each class.
    """
    folder = _given_folder("cifar-10-batches-bin") or _downloaded_cifar10()
    files = tuple(folder / name for name in _CIFAR10_FILES)
    *train, test = (_read_cifar10_batch(file) for file in files)
    x_train, y_train = _cifar10_arrays(np.concatenate(train))
    x_test, y_test = _cifar10_arrays(test)
    return Dataset("cifar10", x_train, y_train, x_test, y_test, _CIFAR10_CLASSES, files)


def mnist() -> Dataset:
    """MNIST: 60,000 training and 10,000 test images of handwritten digits, from the idx files, gzipped or not.

    An idx file is a big-endian header (`0x08` for unsigned bytes, the number of axes, each axis) and then the bytes.

    Returns:
        The set, with images of shape `[28, 28, 1]`, in the order of the files.

    Raises:
        FileNotFoundError: `$WIDELINEAR_DATA` does not hold the folder `mnist`, or a file is missing.
        ValueError: a file has the wrong size or header, a label outside 0 to 9, or cannot be unzipped.
        ConnectionError: a file (12 MB in all) is not in the cache and cannot be downloaded.

    Example:
        >>> import os
        >>> from widelinear import data
        >>> if os.environ.get("WIDELINEAR_DATA"):  # else this line would download 12 MB
        ...     assert data.mnist().x_train.shape == (60_000, 28, 28, 1)

    Source: LeCun, Cortes and Burges, "The MNIST database", "File formats" (yann.lecun.com/exdb/mnist, offline).
    Oracle: idx files written byte by byte in a test; the four official MD5 on the real files.
    """
    folder = _given_folder("mnist") or _downloaded_mnist()
    n_train, n_test = _MNIST_SIZES
    shapes = {
        "train-images-idx3-ubyte": (n_train, 28, 28, 1),
        "train-labels-idx1-ubyte": (n_train,),
        "t10k-images-idx3-ubyte": (n_test, 28, 28, 1),
        "t10k-labels-idx1-ubyte": (n_test,),
    }
    x_train, y_train, x_test, y_test = (_read_idx(folder / name, shape) for name, shape in shapes.items())
    files = tuple(folder / name for name in shapes)
    classes = tuple("0123456789")
    return Dataset("mnist", x_train, y_train.astype(np.int32), x_test, y_test.astype(np.int32), classes, files)


def digits() -> Dataset:
    """Scikit-learn's handwritten digits: 1,347 training and 450 test images, small, and always at hand.

    The 1,797 images are split by scikit-learn's `train_test_split` at its default quarter, stratified by class, with
    `random_state=0`: at least 130 training and 43 test images of each class.

    Returns:
        The set, with images of shape `[8, 8, 1]` and pixels from 0 to 16.

    Example:
        >>> from widelinear import data
        >>> digits = data.digits()
        >>> digits.x_train.shape, digits.x_test.shape, int(digits.x_train.max())
        ((1347, 8, 8, 1), (450, 8, 8, 1), 16)

    Source: https://archive.ics.uci.edu/dataset/80 (the test part of it), as bundled with scikit-learn.
    Oracle: put together again, the two splits hold each of scikit-learn's images once, with its label.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images, labels = bunch.images[..., None].astype(np.uint8), bunch.target.astype(np.int32)
    x_train, x_test, y_train, y_test = train_test_split(images, labels, stratify=labels, random_state=0)
    return Dataset("digits", x_train, y_train, x_test, y_test, tuple("0123456789"))


def average_pixels(x: Num[np.ndarray, "n height width c"], square: int) -> Float[np.ndarray, "n h w c"]:
    r"""Smaller images: the mean over each square of pixels.

    $$x'_{ij} = \frac{1}{s^2} \sum_{a, b = 0}^{s - 1} x_{s i + a,\; s j + b}.$$

    Args:
        x: images, with channels last.
        square: $s$, the side of a square in pixels.

    Returns:
        Images of height and width divided by $s$.

    Raises:
        ValueError: if squares do not fill the image.

    Example:
        >>> import numpy as np
        >>> from widelinear import data
        >>> data.average_pixels(np.array([[[[0], [2]], [[4], [6]]]]), square=2).ravel().tolist()
        [3.0]

    Source: our own, to fit images to a budget. Oracle: the mean of shifted images (`tests/test_data.py`).
    """
    n, height, width, channels = x.shape
    if height % square or width % square:
        raise ValueError(
            f"average_pixels: squares must fill the image, but {square} divides not both sides of {height} × {width}; "
            "take a divisor of both."
        )
    return x.reshape(n, height // square, square, width // square, square, channels).mean(axis=(2, 4))


def standardise(
    x_train: Num[np.ndarray, "n *features"], *others: Num[np.ndarray, "_ *features"], dtype: DTypeLike = np.float32
) -> tuple[Float[np.ndarray, "_ *features"], ...]:
    r"""Shift and scale all arrays by the mean and the standard deviation of the first, over all its entries.

    $$x \mapsto (x - \mu) / \sigma, \qquad \text{so that } \frac{1}{n} \sum_i \|x_i\|^2 / d = 1
    \text{ on the training inputs of } d \text{ features.}$$

    The paper does not say what it did. One $\mu$ and one $\sigma$ for all pixels and channels is what its authors'
    library does, there for each split by itself. Here both come from the training inputs in use, so that the output
    for a test input depends neither on the other test inputs nor on images that the network has not seen.

    Args:
        x_train: training inputs, flat or images.
        *others: arrays of the same features (test inputs, an interpolation) to be shifted and scaled alike.
        dtype: floating point type of the result.

    Returns:
        The arrays in the order given, in the shapes given.

    Raises:
        ValueError: all entries of the training inputs are equal.

    Example:
        >>> import numpy as np
        >>> from widelinear import data
        >>> x_train, x_test = data.standardise(np.array([[1, 3], [5, 7]]), np.array([[4, 4]]))
        >>> bool(np.isclose(np.mean(x_train**2), 1)), x_test.tolist()
        (True, [[0.0, 0.0]])

    Source: https://arxiv.org/abs/1902.06720v3, §3 (not stated there); neural-tangents, examples/datasets.py.
    Oracle: scikit-learn's StandardScaler on the same entries as one column.
    """
    mean, std = float(x_train.mean(dtype=np.float64)), float(x_train.std(dtype=np.float64))
    if std == 0:
        raise ValueError(f"Cannot standardise training inputs that are all {mean}: give inputs that differ.")
    scaled = [x.astype(dtype, order="C") for x in (x_train, *others)]
    for x in scaled:
        x -= mean
        x /= std
    return tuple(scaled)


def multiclass_task(
    dataset: Dataset,
    classes: Sequence[str | int] | None = None,
    train_size: int = 256,
    test_size: int = 256,
    *,
    seed: int = 0,
    flat: bool = True,
    dtype: DTypeLike = np.float32,
) -> Task:
    r"""Draw a balanced subset of some classes, with plain one-hot targets.

    $y_{ij} = 1$ if image $i$ is of class $j$, else 0. Images are drawn without replacement by
    `numpy.random.default_rng(seed)`, from the set's own training and test images, as many of each class as of the next
    (up to one). Their classes alternate, so a smaller task with the same seed is a prefix of a larger one.

    Args:
        dataset: where to draw from.
        classes: names of the classes, in the order of the outputs; all of them by default.
        train_size: number of training images.
        test_size: number of test images.
        seed: which subset.
        flat: vectors `[n, d]`, else images `[n, height, width, channels]`.
        dtype: floating point type of inputs and targets.

    Returns:
        The task, its inputs standardised by the training images drawn.

    Raises:
        ValueError: a class is unknown or named twice, or has too few images.

    Example:
        >>> from widelinear import data
        >>> task = data.multiclass_task(data.digits(), train_size=100, test_size=50)
        >>> task.x_train.shape, task.y_train.sum(axis=0).tolist() == [10] * 10
        ((100, 64), True)

    Source: https://arxiv.org/abs/1902.06720v3, §3 (10-class MNIST and CIFAR-10; the coding is not stated there).
    Oracle: every drawn image is found once in the dataset, with its label.
    """
    names = tuple(str(name) for name in (dataset.classes if classes is None else classes))
    labels = _labels_of(dataset, names)
    rng = np.random.default_rng(seed)
    train = _draw(dataset.y_train, labels, train_size, rng, f"training images of {dataset.name}")
    test = _draw(dataset.y_test, labels, test_size, rng, f"test images of {dataset.name}")
    x_raw, x_raw_test = dataset.x_train[train], dataset.x_test[test]
    x_train, x_test = standardise(x_raw, x_raw_test, dtype=dtype)
    if flat:
        x_train, x_test = x_train.reshape(train_size, -1), x_test.reshape(test_size, -1)
    y_train, y_test = ((y[:, None] == labels).astype(dtype) for y in (dataset.y_train[train], dataset.y_test[test]))
    checksum = _sha256(x_raw, dataset.y_train[train], x_raw_test, dataset.y_test[test])
    return Task(f"{dataset.name}: {', '.join(names)}", x_train, y_train, x_test, y_test, checksum, dataset.official)


def binary_task(
    dataset: Dataset,
    classes: tuple[str | int, str | int] = ("horse", "airplane"),
    train_size: int = 256,
    test_size: int = 256,
    *,
    seed: int = 0,
    flat: bool = True,
    dtype: DTypeLike = np.float32,
) -> Task:
    r"""Draw a balanced subset of two classes, with targets +1 for the first and -1 for the second.

    $y_i = +1$ for horses, $-1$ for planes: the paper's binary task. It does not say how its subset was drawn: here
    half of each class (up to one), as in `multiclass_task`.

    Args:
        dataset: where to draw from.
        classes: names of the two classes, the one with target +1 first.
        train_size: number of training images.
        test_size: number of test images.
        seed: which subset.
        flat: vectors `[n, d]`, else images `[n, height, width, channels]`.
        dtype: floating point type of inputs and targets.

    Returns:
        The task, its inputs standardised by the training images drawn, its targets one column.

    Raises:
        ValueError: a class is unknown or named twice, or has too few images.

    Example:
        >>> from widelinear import data
        >>> task = data.binary_task(data.digits(), classes=(1, 0), train_size=64, test_size=32)
        >>> task.x_train.shape, task.y_train.shape, task.y_train[:4, 0].tolist()
        ((64, 64), (64, 1), [1.0, -1.0, 1.0, -1.0])

    Source: https://arxiv.org/abs/1902.06720v3, §3, Figure 3 (horses against planes, 256 images).
    Oracle: every drawn image is found once in the dataset, with its label.
    """
    positive, negative = classes
    task = multiclass_task(dataset, classes, train_size, test_size, seed=seed, flat=flat, dtype=dtype)
    sign = np.array([[1], [-1]], dtype)
    name = f"{dataset.name}: {positive} (+1), {negative} (-1)"
    return replace(task, name=name, y_train=task.y_train @ sign, y_test=task.y_test @ sign)


def paper_curve(name: str) -> dict[str, Any]:
    """A measured curve of the paper, read from its figure.

    Args:
        name: an entry of `widelinear/paper/figures.json`; the README beside it says what each one holds.

    Returns:
        The entry: a dictionary of arrays, or of dictionaries of arrays.

    Raises:
        ValueError: there is no such entry.

    Example:
        >>> from widelinear import data
        >>> rmse = data.paper_curve("fig3_rmse")
        >>> sorted(rmse), bool((rmse["empirical_Theta_hat"] < rmse["analytic_Theta"]).all())
        (['analytic_Theta', 'empirical_Theta_hat', 't'], True)

    Source: https://arxiv.org/abs/1902.06720v3, Figures 1 to 4 and S2 to S10, as vector graphics.
    Oracle: values quoted in the specification, read from the figures a second time; every curve has its axis' length.
    """
    text = (importlib.resources.files("widelinear") / "paper" / "figures.json").read_text("utf-8")
    curves: dict[str, Any] = json.loads(text, object_hook=_with_arrays)
    del curves["_about"]
    if name not in curves:
        near = difflib.get_close_matches(name, curves, n=3, cutoff=0.3) or list(curves)
        raise ValueError(f"The paper's curves have no entry {name!r}: take one of {', '.join(near)}.")
    curve: dict[str, Any] = curves[name]
    return curve


def _with_arrays(node: dict[str, Any]) -> dict[str, Any]:
    return {key: np.asarray(value) if isinstance(value, list) else value for key, value in node.items()}


def _sha256(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _labels_of(dataset: Dataset, names: tuple[str, ...]) -> Int[np.ndarray, " k"]:
    unknown = [name for name in names if name not in dataset.classes]
    if unknown or len(set(names)) < len(names):
        known = ", ".join(dataset.classes)
        raise ValueError(f"Classes {names} of {dataset.name}: expected different names out of {known}.")
    return np.array([dataset.classes.index(name) for name in names])


def _draw(
    y: Int32[np.ndarray, " n"], labels: Int[np.ndarray, " k"], size: int, rng: np.random.Generator, what: str
) -> Int[np.ndarray, " {size}"]:
    """Indices of `size` images whose labels alternate."""
    shuffled = [rng.permutation(np.flatnonzero(y == label)) for label in labels]
    most = len(labels) * min(len(indices) for indices in shuffled)
    if not 0 < size <= most:
        raise ValueError(f"Cannot draw {size} {what}, balanced over {len(labels)} classes: ask for 1 to {most}.")
    rounds = math.ceil(size / len(labels))
    return np.stack([indices[:rounds] for indices in shuffled], axis=1).ravel()[:size]


def _given_folder(name: str) -> Path | None:
    root = os.environ.get("WIDELINEAR_DATA")
    if not root:
        return None
    folder = Path(root).expanduser() / name
    if not folder.is_dir():
        raise FileNotFoundError(
            f"WIDELINEAR_DATA={root} holds no folder {name}: set it to the folder that contains {name}, "
            "or unset it to download the official files."
        )
    return folder


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("widelinear"))


def _downloaded_cifar10() -> Path:
    folder = _cache() / "cifar-10-batches-bin"
    if not folder.is_dir():
        _unpack(_download(_CIFAR10_URL, _CIFAR10_SHA256, folder.parent), folder)
    return folder


def _downloaded_mnist() -> Path:
    folder = _cache() / "mnist"
    for name, sha256 in _MNIST_SHA256.items():
        _download(_MNIST_URL + name, sha256, folder)
    return folder


def _download(url: str, sha256: str, folder: Path) -> Path:
    """The file of `url` in `folder`: as it is there if its checksum is right, else downloaded; never half of it."""
    import pooch

    name = url.rsplit("/")[-1]
    downloader = functools.partial(_resume, folder / f"{name}.part")
    try:
        return Path(pooch.retrieve(url, f"sha256:{sha256}", name, folder, downloader=downloader))
    except (OSError, ValueError) as error:  # those of the network derive from OSError
        reason = type(error).__name__ if isinstance(error, OSError) else "what came has the wrong checksum"
        raise ConnectionError(
            f"Cannot download {url} ({reason}): try again with a network, which goes on where this stopped; put the "
            f"file of SHA-256 {sha256} into {folder}; or set WIDELINEAR_DATA to a folder that holds the unpacked data."
        ) from error


def _resume(part: Path, url: str, target: str, pooch_: Any) -> None:
    """Download to `target`, after what an earlier try left in `part`; if it fails, leave there what came."""
    import pooch

    with suppress(FileNotFoundError):
        part.replace(target)  # of two processes, one gets it
    try:
        with open(target, "ab") as file:
            here = file.tell()

            def start_over_if_whole(response: Any, **_: Any) -> None:
                if response.status_code in (200, 416):  # the server sends all of it, or has no more than is here
                    file.truncate(0)

            pooch.HTTPDownloader(
                progressbar=True,
                chunk_size=_CHUNK,
                headers={"Range": f"bytes={here}-"} if here else {},
                hooks={"response": start_over_if_whole},
            )(url, file, pooch_)
    except BaseException:
        if Path(target).stat().st_size:
            Path(target).replace(part)
        raise


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack CIFAR-10's files into `folder`, which appears whole or not at all."""
    with (
        tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as scratch,
        tarfile.open(archive) as tar,
    ):
        unpacked = Path(scratch, folder.name)
        unpacked.mkdir()
        for member in tar:
            # The names to write are ours, not the archive's: no member can be written elsewhere.
            name = member.name.removeprefix(f"{folder.name}/")
            if name in _CIFAR10_FILES and (source := tar.extractfile(member)):
                with source, open(unpacked / name, "wb") as target:
                    shutil.copyfileobj(source, target)
        try:
            unpacked.replace(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, and its folder is as good
                raise


def _read(path: Path) -> bytes:
    """The bytes of a file, or of its gzipped form `<name>.gz` where only that is there."""
    packed = path.with_name(f"{path.name}.gz")
    try:
        return gzip.decompress(packed.read_bytes()) if packed.exists() and not path.exists() else path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: {_REPAIR}.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{packed} is not a whole gzip file ({error}): {_REPAIR}.") from error


def _read_cifar10_batch(path: Path) -> UInt8[np.ndarray, "n 3073"]:
    data = _read(path)
    _check_size(path, data, _CIFAR10_BATCH * 3073)
    rows = np.frombuffer(data, np.uint8).reshape(-1, 3073)
    _check_labels(path, rows[:, 0])
    return rows


def _cifar10_arrays(
    rows: UInt8[np.ndarray, "n 3073"],
) -> tuple[UInt8[np.ndarray, "n 32 32 3"], Int32[np.ndarray, " n"]]:
    return rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), rows[:, 0].astype(np.int32)


def _read_idx(path: Path, shape: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """Labels `[n]`, or images `[n, height, width, 1]`, whose last axis the file does not have."""
    data, axes = _read(path), shape[:3]
    header = struct.pack(f">{1 + len(axes)}I", 0x800 + len(axes), *axes)
    _check_size(path, data, len(header) + math.prod(axes))
    if not data.startswith(header):
        raise ValueError(f"{path} does not begin with the idx header of unsigned bytes {list(axes)}: {_REPAIR}.")
    array = np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)
    if len(axes) == 1:
        _check_labels(path, array)
    return array


def _check_size(path: Path, data: bytes, expected: int) -> None:
    if len(data) != expected:
        raise ValueError(f"{path} has {len(data):,} bytes where {expected:,} are expected: {_REPAIR}.")


def _check_labels(path: Path, labels: UInt8[np.ndarray, " n"]) -> None:
    if labels.max() > 9:
        worst = int(np.argmax(labels))
        raise ValueError(f"{path} gives image {worst} the label {labels[worst]}, expected 0 to 9: {_REPAIR}.")
