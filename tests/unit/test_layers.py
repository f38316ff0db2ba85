"""The bindings of layers: digests, trees, errors by kind, and that nothing is left of one that was given up."""

import gzip
import hashlib
import io
import os
import tarfile
import threading
import time
from pathlib import Path

import pytest

from ardock import _core


def archive(*entries: tuple[str, bytes]) -> bytes:
    """A tar of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def ingest(data: bytes, blob: Path | None, target: Path | None, **options: object) -> _core.LayerSummary:
    """All of `data` in one piece."""
    layer = _core.LayerIngest(
        blob=str(blob) if blob else None,
        target=str(target) if target else None,
        **options,  # type: ignore[arg-type]
    )
    try:
        layer.feed(data)
        return layer.finish(_core.CancelFlag())
    finally:
        layer.abort()


def threads() -> list[str]:
    """The names of this process's threads that ingest."""
    names = [(entry / "comm").read_text().strip() for entry in Path("/proc/self/task").iterdir()]
    return [name for name in names if name.startswith("layer-")]


def feed_for_ever(layer: _core.LayerIngest) -> None:
    """What is no archive, until it is refused."""
    while True:
        layer.feed(b"x" * 10_000)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An empty directory."""
    path = tmp_path / "target"
    path.mkdir()
    return path


def test_a_layer_gives_its_digests_a_copy_and_a_tree(tmp_path: Path, target: Path) -> None:
    plain = archive(("a", b"hello"), ("d/b", b"x" * 100_000))
    for number, algorithm in enumerate(["sha256", "sha512"]):
        folder = target / str(number)
        folder.mkdir()
        data = gzip.compress(plain)
        summary = ingest(data, tmp_path / algorithm, folder, algorithm=algorithm)
        assert summary.digest == f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        assert summary.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
        assert (summary.size, summary.diff_size, summary.media) == (len(data), len(plain), "gzip")
        assert (summary.content, summary.files) == (100_005, 2)
        assert (tmp_path / algorithm).read_bytes() == data
        assert (folder / "d/b").read_bytes() == b"x" * 100_000


def test_without_a_target_anything_is_kept_and_named(tmp_path: Path) -> None:
    summary = ingest(b"no archive at all", tmp_path / "blob", None)
    assert summary.digest == f"sha256:{hashlib.sha256(b'no archive at all').hexdigest()}"
    assert (summary.diff_id, summary.diff_size, summary.media) == ("", 0, "none")
    assert (tmp_path / "blob").read_bytes() == b"no archive at all"


@pytest.mark.parametrize(
    ("data", "options", "kind", "words"),
    [
        (b"", {}, "source", "it is empty"),
        (b"hello", {}, "source", "no tar archive"),
        (b"\xfd7zXZ\0" + bytes(100), {}, "unsupported", "xz"),
        (b"BZh9" + bytes(100), {}, "unsupported", "bzip2"),
        (gzip.compress(archive(("a", b"x")))[:-4], {}, "source", "cut off"),
        (gzip.compress(archive(("a", b"x"))) + b"rubbish", {}, "source", "gzip"),
        (archive(("../a", b"")), {}, "source", "leads out"),
        (archive(("a", b"x" * 5000)), {"max_size": 1000}, "refused", "bomb"),
    ],
)
def test_errors_have_a_kind(target: Path, data: bytes, options: dict[str, object], kind: str, words: str) -> None:
    with pytest.raises(_core.LayerError) as caught:
        ingest(data, None, target, **options)
    assert caught.value.args[0] == kind
    assert words in caught.value.args[1]


def test_an_error_comes_with_a_later_piece_and_stays(target: Path) -> None:
    layer = _core.LayerIngest(blob=None, target=str(target))
    with pytest.raises(_core.LayerError, match="no tar archive"):
        feed_for_ever(layer)
    with pytest.raises(_core.LayerError, match="no tar archive"):
        layer.feed(b"x")
    with pytest.raises(_core.LayerError, match="no tar archive"):
        layer.finish(_core.CancelFlag())
    with pytest.raises(ValueError, match="finished or aborted"):
        layer.feed(b"x")


def test_one_that_is_given_up_leaves_no_thread_and_no_descriptor(tmp_path: Path, target: Path) -> None:
    data = archive(("a", b"x" * 3_000_000))
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        layer = _core.LayerIngest(blob=str(tmp_path / f"blob{number}"), target=str(target))
        layer.feed(data[: number * 100_000])
        if number % 2:
            layer.abort()
            layer.abort()
        del layer
        assert threads() == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_aborting_ends_a_call_that_waits_in_another_thread(target: Path) -> None:
    layer = _core.LayerIngest(blob=None, target=str(target))
    layer.feed(archive(("a", b"x" * 1_000_000))[:1000])
    caught: list[BaseException] = []

    def feed() -> None:
        try:
            while True:
                layer.feed(b"\0" * 1_000_000)
        except (_core.LayerError, ValueError) as error:
            caught.append(error)

    thread = threading.Thread(target=feed)
    thread.start()
    time.sleep(0.05)
    layer.abort()
    thread.join(10)
    assert not thread.is_alive()
    assert len(caught) == 1
    assert threads() == []


def test_finishing_can_be_cancelled(target: Path) -> None:
    cancel = _core.CancelFlag()
    layer = _core.LayerIngest(blob=None, target=str(target))
    # Deep under way, so that the threads have work left when all was fed.
    layer.feed(gzip.compress(archive(*((f"d/{number}", b"x" * 5000) for number in range(3000)))))
    cancel.set()
    try:
        layer.finish(cancel)
    except _core.LayerError as error:
        assert error.args[0] == "cancelled"  # noqa: PT017 - a fast disk is done before it asks
    assert threads() == []


def test_what_is_no_choice_is_refused(target: Path) -> None:
    with pytest.raises(ValueError, match="whiteouts are"):
        _core.LayerIngest(blob=None, target=str(target), whiteouts="none")
    with pytest.raises(ValueError, match="algorithms are"):
        _core.LayerIngest(blob=None, target=str(target), algorithm="md5")


def test_a_blob_that_is_there_is_not_overwritten(tmp_path: Path, target: Path) -> None:
    (tmp_path / "blob").write_bytes(b"kept")
    with pytest.raises(_core.LayerError) as caught:
        _core.LayerIngest(blob=str(tmp_path / "blob"), target=str(target))
    assert caught.value.args[0] == "system"
    assert (tmp_path / "blob").read_bytes() == b"kept"
