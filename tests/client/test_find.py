"""Where the socket is."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ardock.client import find
from ardock.model.errors import DaemonUnavailable, InvalidArgument, NotPermitted, Unsupported


def test_the_defaults_are_the_engine_s() -> None:
    from ardock.engine.engine import DEFAULT_ROOT, DEFAULT_RUN_DIR

    assert [str(DEFAULT_ROOT), str(DEFAULT_RUN_DIR)] == [find.DEFAULT_ROOT, find.DEFAULT_RUN_DIR]


def test_an_explicit_host_wins(tmp_path: Path) -> None:
    environment = {"ARDOCK_HOST": "unix:///other"}
    for url in ("unix:///a/b.sock", "/a/b.sock"):
        assert find.find_socket(url, root=str(tmp_path), environment=environment) == "/a/b.sock"


def test_folders_that_are_given_win_over_the_environment(tmp_path: Path) -> None:
    (tmp_path / "engine-id").write_text("0123abcd\n")
    environment = {"ARDOCK_HOST": "unix:///other"}
    assert find.find_socket(environment=environment) == "/other"
    found = find.find_socket(root=str(tmp_path), run_dir="/runs", environment=environment)
    assert found == "/runs/0123abcd/ardock.sock"


@pytest.mark.parametrize("content", [None, "", "rubbish", "0123ABCD", "../../etc"])
def test_a_folder_without_an_engine_is_never_taken_for_another_s(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "engine-id").write_text(content)
    found = find.find_socket(root=str(tmp_path), run_dir=str(tmp_path / "run"), environment={})
    assert found == str(tmp_path / "run" / "no-engine" / "ardock.sock")


def test_the_default_engine_s_own_socket_comes_before_the_well_known_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "DEFAULT_ROOT", str(tmp_path))
    monkeypatch.setattr(find, "DEFAULT_RUN_DIR", str(tmp_path / "run"))
    assert find.find_socket(environment={}) == find.WELL_KNOWN
    (tmp_path / "engine-id").write_text("0123abcd\n")
    assert find.find_socket(environment={}) == find.WELL_KNOWN, "nobody serves it"
    own = tmp_path / "run" / "0123abcd" / "ardock.sock"
    own.parent.mkdir(parents=True)
    own.touch()
    assert find.find_socket(environment={}) == str(own)


def test_bad_hosts_are_refused() -> None:
    with pytest.raises(Unsupported, match="tcp://"):
        find.find_socket("tcp://127.0.0.1:2375")
    for url in ("unix://relative", "relative", "unix:///a\0b"):
        with pytest.raises(InvalidArgument, match="host"):
            find.find_socket(url)


def test_nobody_there_is_a_clear_error(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    with pytest.raises(DaemonUnavailable, match="no such socket"):
        find.try_connect(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        with pytest.raises(DaemonUnavailable, match="Connection refused"):
            find.try_connect(path)
    with pytest.raises(DaemonUnavailable):
        find.try_connect(str(tmp_path / ("long" * 40) / "x.sock"))


def test_a_socket_that_we_may_not_use_is_a_clear_error() -> None:
    error = PermissionError(13, "Permission denied")
    assert isinstance(find.unreachable("/x", error), NotPermitted)
    assert "group ardock" in str(find.unreachable("/x", error))


def test_a_path_longer_than_a_socket_s_name_can_be_connected_to(tmp_path: Path) -> None:
    folder = tmp_path / ("f" * 100)
    folder.mkdir()
    opened = os.open(folder, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(f"/proc/self/fd/{opened}/x.sock")
            listener.listen()
            connection = find.try_connect(str(folder / "x.sock"))
            assert connection is not None
            connection.close()
    finally:
        os.close(opened)


def test_a_full_queue_is_told_apart_from_nobody(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(0)
        made = []
        while (connection := find.try_connect(path)) is not None:
            made.append(connection)
            assert len(made) < 100
        for each in made:
            each.close()
