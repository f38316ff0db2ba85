"""The bindings of layers: digests, trees, errors by kind, and that nothing is left of one that was given up."""

import errno
import gzip
import hashlib
import io
import os
import random
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


@pytest.mark.parametrize("cut", [1, 100, 5000, 200_000])
def test_a_wrong_byte_is_told_as_a_wrong_digest(tmp_path: Path, target: Path, cut: int) -> None:
    data = bytearray(gzip.compress(archive(("a", random.Random(0).randbytes(300_000)))))
    expected = f"sha256:{hashlib.sha256(data).hexdigest()}"
    data[cut] ^= 0x55
    with pytest.raises(_core.LayerError) as caught:
        ingest(bytes(data), tmp_path / "blob", target, expected=expected)
    assert caught.value.args[0] == "digest"
    assert f"sha256:{hashlib.sha256(data).hexdigest()} and not {expected}" in caught.value.args[1]


def test_with_the_right_digest_the_content_is_what_is_wrong(target: Path) -> None:
    data = b"no archive" * 1000
    with pytest.raises(_core.LayerError) as caught:
        ingest(data, None, target, expected=f"sha256:{hashlib.sha256(data).hexdigest()}")
    assert caught.value.args[0] == "source"


def test_a_tree_goes_through_a_pipe_and_back(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(100):
        (source / f"{number}").write_bytes(b"x" * number * 1000)
    reader, writer = os.pipe()
    packed: list[_core.LayerSummary] = []

    def pack() -> None:
        try:
            packed.append(_core.pack([str(source)], writer, compression="zstd", cancel=_core.CancelFlag()))
        finally:
            os.close(writer)

    thread = threading.Thread(target=pack)
    thread.start()
    layer = _core.LayerIngest(blob=None, target=str(target))
    while data := os.read(reader, 1 << 16):
        layer.feed(data)
    os.close(reader)
    thread.join()
    summary = layer.finish(_core.CancelFlag())
    (told,) = packed
    assert (summary.digest, summary.diff_id, summary.media, summary.files) == (told.digest, told.diff_id, "zstd", 100)
    assert _core.pack([str(target)], None, cancel=_core.CancelFlag()).diff_id == told.diff_id


def test_a_reader_that_goes_ends_packing(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(1 << 20))
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(_core.LayerError) as caught:
        _core.pack([str(tmp_path)], writer, cancel=_core.CancelFlag())
    os.close(writer)
    assert (caught.value.args[0], caught.value.args[2]) == ("system", errno.EPIPE)


def test_packing_into_a_full_pipe_that_does_not_block_can_be_cancelled(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(1 << 20))
    reader, writer = os.pipe2(os.O_NONBLOCK)
    cancel = _core.CancelFlag()
    threading.Timer(0.1, cancel.set).start()
    with pytest.raises(_core.LayerError) as caught:
        _core.pack([str(tmp_path)], writer, cancel=cancel)
    os.close(reader)
    os.close(writer)
    assert caught.value.args[0] == "cancelled"
    assert threads() == []


def test_changes_copies_and_imports(tmp_path: Path) -> None:
    cancel = _core.CancelFlag()
    lower, upper, target, copy = (tmp_path / name for name in ("lower", "upper", "target", "copy"))
    for path in (lower / "d", upper / "d", target, copy):
        path.mkdir(parents=True)
    (lower / "d/old").write_text("old")
    (upper / "d/new").write_text("new!")
    dirs = [str(upper), str(lower)]
    assert _core.changes(dirs[:1], dirs[1:], cancel=cancel) == [("C", "/d"), ("A", "/d/new")]
    assert _core.changes(dirs[:1], dirs[1:], layout="tree", cancel=cancel)[-1] == ("D", "/d/old")
    assert _core.copy_tree(dirs, "/d", str(target), cancel) == (7, 2)
    assert sorted(os.listdir(target)) == ["new", "old"]
    imported = _core.import_directory(str(target), str(copy), [], cancel)
    assert imported.diff_id == _core.pack([str(copy)], None, cancel=cancel).diff_id
    assert (imported.content, imported.files) == (7, 2)


def test_names_that_are_no_text_come_back_as_the_file_systems(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff")
    (tmp_path / name).touch()
    assert _core.changes([str(tmp_path)], [], cancel=_core.CancelFlag()) == [("A", f"/{name}")]


def test_a_compressed_file_is_unfolded(tmp_path: Path) -> None:
    plain = random.Random(0).randbytes(1_000_000)
    for name, data in [("gzip", gzip.compress(plain[:500_000]) + gzip.compress(plain[500_000:])), ("plain", plain)]:
        (tmp_path / name).write_bytes(data)
        made = tmp_path / f"{name}-made"
        assert _core.decompress_file(str(tmp_path / name), str(made), _core.CancelFlag()) == len(plain)
        assert made.read_bytes() == plain
    (tmp_path / "bad").write_bytes(gzip.compress(plain)[:-1])
    with pytest.raises(_core.LayerError) as caught:
        _core.decompress_file(str(tmp_path / "bad"), str(tmp_path / "bad-made"), _core.CancelFlag())
    assert caught.value.args[0] == "source"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_made_has_its_permissions_under_any_umask(target: Path, umask: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode, kind in [
            ("file", 0o666, tarfile.REGTYPE),
            ("implied/suid", 0o6777, tarfile.REGTYPE),
            ("dir", 0o777, tarfile.DIRTYPE),
            ("sticky", 0o3777, tarfile.DIRTYPE),
            ("fifo", 0o666, tarfile.FIFOTYPE),
        ]:
            info = tarfile.TarInfo(name)
            info.mode, info.type = mode, kind
            tar.addfile(info)
    before = os.umask(umask)
    try:
        ingest(buffer.getvalue(), None, target)
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    found = {str(path.relative_to(target)): path.lstat().st_mode & 0o7777 for path in target.rglob("*")}
    assert found == {
        "file": 0o666, "implied": 0o755, "implied/suid": 0o6777, "dir": 0o777, "sticky": 0o3777, "fifo": 0o666
    }  # fmt: skip
