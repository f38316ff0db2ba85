"""The one suite that each driver passes; a driver's own file says only where it keeps its things."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from ardock import _core
from ardock.engine.snapshots import Driver, DriverName
from ardock.model.errors import Conflict, InvalidArgument, NotFound
from tests.engine.snapshots.layers import Entry, archive, commit, file, folder, gone, hard, link, opaque, shown, unpack

Opener = Callable[[], Driver]


def chain(number: int) -> str:
    """A chain id."""
    return f"{number:064x}"


PLACES = (
    "snapshot.prepare.made",
    "snapshot.prepare.named",
    "snapshot.commit.before",
    "snapshot.commit.named",
    "snapshot.commit.after",
    "snapshot.remove.before",
    "snapshot.remove.renamed",
)

# Each layer on all those before it.
ODD: tuple[tuple[Entry, ...], ...] = (
    (
        folder("", mode=0o751, owner=(3, 4)),
        folder("etc"),
        file("etc/passwd", b"root\n", mode=0o640, owner=(0, 42)),
        file("etc/shadow", b"secret", mode=0o600),
        folder("data", mode=0o1777),
        file("data/one", b"1"),
        file("data/two", b"2"),
        folder("data/deep"),
        file("data/deep/three", b"3"),
        folder("bin"),
        file(
            "bin/ping",
            b"ELF",
            mode=0o4755,
            xattrs={"security.capability": bytes.fromhex("0100000200200000" + "00" * 12)},
        ),
        hard("bin/ping6", "bin/ping"),
        link("sbin", "bin"),
        Entry("pipe", "fifo", mode=0o600),
        Entry("null", "device", mode=0o666),
        file("both", b"file"),
        folder("turns"),
        file("turns/inner", b"i"),
        file("big", b"b" * 100_000, owner=(1 << 22, 1 << 23)),
    ),
    (
        folder("data", mode=0o755),
        gone("data/one"),
        folder("data/deep"),
        opaque("data/deep"),
        file("data/deep/four", b"4"),
        gone("both"),
        file("turns", b"a file by now"),
        file("user", b"u", xattrs={"user.note": b"v\xc3\xa9"}),
    ),
    (
        folder("turns"),
        file("turns/again", b"a directory again"),
        folder("data", mode=0o700),
        file("data/one", b"back"),
        folder("both"),
        file("both/inner", b"a directory"),
        gone("pipe"),
    ),
)


class Suite:
    """What every driver does."""

    name: ClassVar[DriverName]
    # Failpoints at which it is killed.
    places: ClassVar[tuple[str, ...]] = PLACES

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        """Where the driver keeps its things; a driver that needs a file system of its own gives another."""
        return tmp_path / "home"

    @pytest.fixture
    def opener(self, home: Path) -> Opener:
        """Opens the driver, as often as is asked for, one after the other."""
        return lambda: open_driver(self.name, home)

    @pytest.fixture
    def driver(self, opener: Opener) -> Iterator[Driver]:
        driver = opener()
        yield driver
        for name in driver.keys() | driver.committed():
            driver.remove(name)
        assert driver.keys() == driver.committed() == set()
        driver.close()

    @pytest.fixture
    def odd(self, driver: Driver) -> tuple[str, ...]:
        """A chain of three layers with everything in them, topmost first."""
        names: tuple[str, ...] = ()
        for number, entries in enumerate(ODD):
            names = (commit(driver, chain(number), names, entries), *names)
        return names

    # What a chain shows

    def test_a_chain_shows_what_its_layers_say(self, driver: Driver, odd: tuple[str, ...]) -> None:
        seen = shown(driver.view("view", odd))
        assert sorted(seen) == [
            "/", "/big", "/bin", "/bin/ping", "/bin/ping6", "/both", "/both/inner", "/data", "/data/deep",
            "/data/deep/four", "/data/one", "/data/two", "/etc", "/etc/passwd", "/etc/shadow", "/null", "/sbin",
            "/turns", "/turns/again", "/user",
        ]  # fmt: skip
        assert seen["/"][:3] == ("0o40755", 0, 0)  # what the lowest layer says of it does not count
        assert seen["/data"][0] == "0o40700"
        assert seen["/etc/passwd"][:3] == ("0o100640", 0, 42)
        assert seen["/big"][1:3] == (1 << 22, 1 << 23)
        assert seen["/bin/ping"][5] == seen["/bin/ping6"][5]  # one file
        assert seen["/bin/ping"][6] == (("security.capability", bytes.fromhex("0100000200200000" + "00" * 12)),)
        assert seen["/user"][6] == (("user.note", b"v\xc3\xa9"),)
        assert seen["/null"][4] == os.makedev(1, 3)
        assert seen["/sbin"][4] == "bin"
        assert {entry[3] for entry in seen.values()} == {None, 1_500_000_000 * 10**9}
        driver.remove("view")

    def test_each_part_of_a_chain_is_a_chain(self, driver: Driver, odd: tuple[str, ...]) -> None:
        middle = shown(driver.view("view", odd[1:]))
        assert middle["/turns"][0].startswith("0o100")  # type: ignore[attr-defined]
        assert "/both" not in middle
        assert "/data/one" not in middle
        assert sorted(name for name in middle if name.startswith("/data/deep")) == ["/data/deep", "/data/deep/four"]
        driver.remove("view")
        lowest = shown(driver.view("view", odd[2:]))
        assert lowest["/"][:3] == ("0o40751", 3, 4)
        assert "/data/deep/three" in lowest
        driver.remove("view")

    def test_no_layer_shows_an_empty_directory(self, driver: Driver) -> None:
        path = driver.view("view", ())
        assert list(path.iterdir()) == []
        with pytest.raises(Conflict):
            driver.view("view", ())
        driver.remove("view")
        driver.remove("view")

    def test_an_empty_layer_changes_nothing(self, driver: Driver, odd: tuple[str, ...]) -> None:
        empty = commit(driver, chain(9), odd, ())
        before = shown(driver.view("before", odd))
        assert shown(driver.view("after", (empty, *odd))) == before
        driver.remove("before")
        driver.remove("after")

    def test_127_layers(self, driver: Driver) -> None:
        names: tuple[str, ...] = ()
        for number in range(127):
            entries = [file(f"file{number}", b"x"), file("newest", str(number).encode())]
            if number:
                entries.append(gone(f"file{number - 1}"))
            names = (commit(driver, chain(number), names, entries), *names)
        path = driver.view("view", names)
        assert sorted(each.name for each in path.iterdir()) == ["file126", "newest"]
        assert (path / "newest").read_bytes() == b"126"
        driver.remove("view")

    # Snapshots

    def test_a_layer_is_there_once_it_is_committed(self, driver: Driver) -> None:
        path = driver.prepare("key", ())
        (path / "a").write_bytes(b"a")
        assert (driver.keys(), driver.committed()) == ({"key"}, set())
        driver.commit("key", chain(1))
        assert (driver.keys(), driver.committed()) == (set(), {chain(1)})
        assert not path.exists()

    def test_what_is_committed_already_is_discarded(self, driver: Driver) -> None:
        first = commit(driver, chain(1), (), [file("a", b"first")])
        commit(driver, first, (), [file("a", b"second")])
        assert driver.keys() == set()
        assert (driver.view("view", [first]) / "a").read_bytes() == b"first"
        driver.commit("layer", first)  # again: it is done
        driver.remove("view")
        with pytest.raises(NotFound):
            driver.commit("layer", chain(2))

    def test_two_that_commit_one_layer(self, driver: Driver) -> None:
        for key in ("one", "two", "three", "four"):
            driver.prepare(key, ())
        threads = [
            threading.Thread(target=driver.commit, args=(key, chain(1))) for key in ("one", "two", "three", "four")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (driver.keys(), driver.committed()) == (set(), {chain(1)})

    def test_a_key_is_taken_once(self, driver: Driver) -> None:
        driver.prepare("key", ())
        with pytest.raises(Conflict):
            driver.prepare("key", ())
        driver.remove("key")
        driver.prepare("key", ())

    @pytest.mark.parametrize("key", ["", "..", "a/b", "A", "\0", "a" * 129, "0" * 64])
    def test_a_bad_key_is_refused(self, driver: Driver, key: str) -> None:
        with pytest.raises(InvalidArgument):
            driver.prepare(key, ())

    @pytest.mark.parametrize("name", ["", "..", "a" * 63, "A" * 64, "sha256:" + "0" * 64])
    def test_a_bad_chain_id_is_refused(self, driver: Driver, name: str) -> None:
        driver.prepare("key", ())
        with pytest.raises(InvalidArgument):
            driver.commit("key", name)

    def test_a_snapshot_is_found_again(self, opener: Opener, driver: Driver, odd: tuple[str, ...]) -> None:
        path = driver.prepare("key", odd)
        (path / "mine").write_bytes(b"m")
        driver.close()
        again = opener()
        assert again.keys() == {"key"}
        assert again.committed() == set(odd)
        mounts = again.mounts(odd, "key")
        where = Path(mounts.upper or mounts.directories[0])
        assert (where / "mine").read_bytes() == b"m"
        again.release("key")
        for name in ("key", *odd):
            again.remove(name)
        again.close()

    def test_what_is_not_there_is_told(self, driver: Driver) -> None:
        with pytest.raises(NotFound):
            driver.view("view", [chain(1)])
        with pytest.raises(NotFound):
            driver.usage("key")
        with pytest.raises(NotFound):
            driver.mounts((), "key")
        with pytest.raises(NotFound), driver.directories(chain(1), ()):
            pass
        if not driver.independent:
            with pytest.raises(NotFound):
                driver.prepare("key", [chain(1)])
        assert driver.keys() == set()
        driver.remove("key")
        driver.remove(chain(1))

    def test_containers_on_one_image_do_not_see_each_other(self, driver: Driver, odd: tuple[str, ...]) -> None:
        if not driver.writes_below:
            pytest.skip("its containers write above the layers")
        before = shown(driver.view("view", odd))
        one, two = (driver.prepare(key, odd, container=True) for key in ("one", "two"))
        assert shown(one) == shown(two) == before
        (one / "mine").write_bytes(b"m")
        (one / "etc" / "passwd").write_bytes(b"changed")
        (one / "big").unlink()
        assert shown(two) == shown(driver.view("other", odd)) == before
        for name in ("one", "two", "view", "other"):
            driver.remove(name)

    def test_a_containers_root_has_the_topmost_layers_attributes(self, driver: Driver) -> None:
        if not driver.writes_below:
            pytest.skip("its containers write above the layers")
        top = commit(driver, chain(1), (), [folder("", mode=0o700, owner=(5, 6))])
        assert shown(driver.prepare("key", [top], container=True))["/"][:3] == ("0o40700", 5, 6)

    # What is told of them

    def test_directories_show_a_layer_and_what_is_below(self, driver: Driver, odd: tuple[str, ...]) -> None:
        whole = shown(driver.view("view", odd))
        with driver.directories(odd[0], odd[1:]) as found:
            assert len(found.dirs) == 1
            assert (Path(found.dirs[0]) / "turns" / "again").read_bytes() == b"a directory again"
            assert found.merged[0] == found.dirs[0]
            if found.layout == "tree":
                assert shown(Path(found.dirs[0])) == whole
                assert "/turns/again" not in shown(Path(found.below[0]))
            else:
                assert len(found.below) == 2
        with driver.directories(odd[2], ()) as found:
            assert found.below == ()
        driver.remove("view")

    def test_usage_counts_each_file_once(self, driver: Driver) -> None:
        name = commit(driver, chain(1), (), [file("a", os.urandom(1 << 20)), hard("b", "a"), folder("c")])
        usage = driver.usage(name)
        assert 1 << 20 <= usage.bytes < 3 << 20
        assert usage.inodes >= 3
        driver.prepare("key", [name])
        assert driver.usage("key").bytes < 3 << 20

    def test_what_a_snapshot_changes_is_told_and_packed(self, driver: Driver, odd: tuple[str, ...]) -> None:
        """Unpacked on the same layers, what was packed shows the same, whichever driver packed it."""
        new = [
            file("big", b"changed", owner=(1 << 22, 1 << 23)),
            folder("data", mode=0o700),
            gone("data/one"),
            folder("data/deep"),
            opaque("data/deep"),
            file("data/deep/five", b"5"),
            folder("new"),
            file("new/file", b"n"),
            gone("turns"),
        ]
        target = driver.prepare("key", odd)
        unpack(target, archive(new), driver.whiteouts)
        with driver.directories("key", odd) as found:
            told = _core.changes(found.dirs, found.below, layout=found.layout, cancel=_core.CancelFlag())
            with tempfile.TemporaryFile() as out:
                packed = _core.pack(
                    found.dirs, out.fileno(), below=found.below, layout=found.layout, cancel=_core.CancelFlag()
                )
                out.seek(0)
                data = out.read()
        assert (packed.diff_id, packed.diff_size) == (f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
        assert told == [
            ("C", "/big"), ("C", "/data"), ("C", "/data/deep"), ("A", "/data/deep/five"), ("D", "/data/deep/four"),
            ("D", "/data/one"), ("A", "/new"), ("A", "/new/file"), ("D", "/turns"),
        ]  # fmt: skip
        first = commit(driver, chain(10), odd, new, key="first")
        again = driver.prepare("again", odd)
        unpack(again, data, driver.whiteouts)
        driver.commit("again", chain(11))
        assert shown(driver.view("one", (first, *odd))) == shown(driver.view("two", (chain(11), *odd)))
        driver.remove("one")
        driver.remove("two")
        driver.remove("key")

    # Removal

    def test_removed_while_it_is_used(self, driver: Driver) -> None:
        """Its name is free at once, and who has it open goes on."""
        path = driver.prepare("key", ())
        (path / "a").write_bytes(b"a")
        with (path / "a").open("rb") as used:
            driver.remove("key")
            assert driver.keys() == set()
            assert used.read() == b"a"
            driver.prepare("key", ())
            assert driver.keys() == {"key"}

    def test_a_parent_may_go_before_its_child_is_asked_for_again(self, driver: Driver, odd: tuple[str, ...]) -> None:
        for name in odd:
            driver.remove(name)
        assert driver.committed() == set()
        assert commit(driver, odd[-1], (), ODD[0]) in driver.committed()

    # Crashes

    def test_killed_between_two_steps(self, opener: Opener, home: Path, place: str, passage: int) -> None:
        """What was told as done is there, and nothing is that is neither a whole layer nor a snapshot that was asked for."""
        ran = subprocess.run(
            [sys.executable, "-m", "tests.engine.snapshots.killed", self.name, str(home)],
            env={**os.environ, "ARDOCK_FAILPOINT": f"{place}:{passage}"},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert ran.returncode == -signal.SIGKILL, f"the place {place} was not passed {passage} times"
        done = [line.split() for line in ran.stdout.splitlines()]
        driver = opener()
        try:
            committed = {name for word, name in done if word == "committed"} - {
                name for word, name in done if word == "removing"
            }
            removed = {name for word, name in done if word == "removed"}
            assert committed <= driver.committed()
            assert not removed & (driver.committed() | driver.keys())
            known = {chain(number) for number in range(4)}
            assert driver.committed() <= known
            for name in driver.committed():
                number = int(name, 16)
                path = driver.view(
                    "view", [chain(each) for each in range(number, -1, -1)] if name in committed else [name]
                )
                assert (path / f"file{number}").read_bytes() == b"x" * 10_000
                driver.remove("view")
            assert driver.keys() <= {"layer", "kept"}
            assert self.orphans(home, driver) == []
        finally:
            for name in driver.keys() | driver.committed():
                driver.remove(name)
            driver.close()

    def orphans(self, home: Path, driver: Driver) -> list[str]:
        """What there is beside layers and snapshots."""
        keys = driver.keys()
        expected = driver.committed() | {f".tmp-{key}" for key in keys}
        return sorted(set(os.listdir(home)) - expected)


def open_driver(name: str, home: Path) -> Driver:
    """The driver on its folder."""
    from ardock.engine.snapshots.aufs import Aufs
    from ardock.engine.snapshots.btrfs import Btrfs
    from ardock.engine.snapshots.devicemapper import Devicemapper
    from ardock.engine.snapshots.options import DeviceMapperOptions
    from ardock.engine.snapshots.overlay import Overlay
    from ardock.engine.snapshots.vfs import Vfs

    if name == "devicemapper":
        small = DeviceMapperOptions(basesize=256 << 20, loopdatasize=768 << 20, loopmetadatasize=16 << 20)
        return Devicemapper(home, small)
    drivers: dict[str, Callable[[Path], Driver]] = {"overlay": Overlay, "vfs": Vfs, "btrfs": Btrfs, "aufs": Aufs}
    return drivers[name](home)
