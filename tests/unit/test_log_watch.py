"""``_core.LogWatch``: what has changed, without waiting."""

from __future__ import annotations

import errno
import os
import select
from pathlib import Path

import pytest

from ardock import _core


def ready(watch: _core.LogWatch) -> bool:
    return bool(select.select([watch.fileno()], [], [], 0)[0])


def test_a_folder_is_told_of_when_something_in_it_changes(tmp_path: Path) -> None:
    watch = _core.LogWatch()
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    first, second = (watch.add(str(folder)) for folder in folders)
    assert watch.read() == []
    assert not ready(watch)
    log = folders[1] / "log"
    log.write_bytes(b"x")
    assert ready(watch)
    assert watch.read() == [second], "each once"
    assert not ready(watch)
    log.rename(folders[1] / "log.1")
    (folders[0] / "log").write_bytes(b"y")
    assert watch.read() == sorted([first, second])
    watch.close()


def test_a_file_is_told_of_when_it_grows_or_loses_its_name(tmp_path: Path) -> None:
    watch = _core.LogWatch()
    log = tmp_path / "log"
    log.write_bytes(b"x")
    with log.open("ab", buffering=0) as file:
        number = watch.add(f"/proc/self/fd/{file.fileno()}")
        assert watch.add(str(log)) == number, "the same is the same watch"
        for change in (lambda: file.write(b"y"), lambda: log.rename(tmp_path / "log.1"), (tmp_path / "log.1").unlink):
            change()
            assert watch.read() == [number]
            assert watch.read() == []
    # The last descriptor is closed: the file is gone, and with it the watch.
    assert watch.read() == [number]
    watch.remove(number)
    assert watch.read() == []
    watch.close()


def test_a_watch_that_is_removed_tells_nothing(tmp_path: Path) -> None:
    watch = _core.LogWatch()
    number = watch.add(str(tmp_path))
    watch.remove(number)
    (tmp_path / "log").write_bytes(b"x")
    assert watch.read() == []
    watch.close()


def test_what_is_not_there_and_what_is_closed_is_an_os_error(tmp_path: Path) -> None:
    watch = _core.LogWatch()
    with pytest.raises(FileNotFoundError):
        watch.add(str(tmp_path / "missing"))
    descriptor = watch.fileno()
    watch.close()
    watch.close()
    assert watch.fileno() == -1
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(descriptor)
    for call in (watch.read, lambda: watch.add(str(tmp_path)), lambda: watch.remove(1)):
        with pytest.raises(OSError, match="descriptor") as closed:
            call()
        assert closed.value.errno == errno.EBADF


def test_an_overflow_is_told_as_minus_one(tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip(f"the kernel's queue holds {limit} events here")
    watch = _core.LogWatch()
    watch.add(str(tmp_path))
    # Alike events that follow each other are one; these are not.
    for _ in range(limit // 2 + 1):
        (tmp_path / "a").touch()
        (tmp_path / "a").unlink()
    assert -1 in watch.read()
    assert watch.read() == []
    watch.close()
