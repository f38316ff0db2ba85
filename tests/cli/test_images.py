"""Commands on images, against a scripted engine: what they ask for, what they print, what they leave behind."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.driver import COMMAND, Tmux
from tests.cli.fake_engine import FakeEngine
from tests.cli.test_client_mode import ardock, end, running

ID = "sha256:0123456789ab" + "c" * 52
DIGEST = "sha256:" + "d" * 64
LAYER = "sha256:aaaaaaaaaaaa" + "1" * 52
OTHER = "sha256:bbbbbbbbbbbb" + "2" * 52


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeEngine]:
    folder = Path(tempfile.mkdtemp(prefix="ardock-fake-"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    fake = FakeEngine(folder / "s")
    yield fake
    fake.drop()
    shutil.rmtree(folder)


def image(**more: object) -> dict[str, object]:
    return {"id": ID, "names": ["box:latest"], "digests": [f"box@{DIGEST}"], **more}


def absent(engine: FakeEngine) -> None:
    """It is not there yet."""
    engine.expect("images.inspect").fail("not_found", "image: there is no image")


# pull and push


def test_a_pull_says_how_far_it_is_in_docker_s_plain_lines(engine: FakeEngine) -> None:
    with ardock(engine, "pull", "box") as process:
        absent(engine)
        request = engine.expect("images.pull")
        assert request.params == {"ref": "docker.io/library/box:latest"}
        request.items(
            {"part": "docker.io/library/box:latest", "status": "resolving"},
            {"part": OTHER, "status": "exists"},
            {"part": LAYER, "status": "waiting"},
            {"part": LAYER, "status": "downloading", "done": 5, "total": 10},
            {"part": LAYER, "status": "downloading", "done": 9, "total": 10},
        )
        request.items({"part": LAYER, "status": "unpacking"}, {"part": LAYER, "status": "pulled"})
        request.reply(**image())
        code, out, err = end(process)
    assert (code, err) == (0, b"")
    assert out.decode().splitlines() == [
        "Using default tag: latest",
        "latest: Pulling from library/box",
        "bbbbbbbbbbbb: Already exists",
        "aaaaaaaaaaaa: Pulling fs layer",
        "aaaaaaaaaaaa: Download complete",
        "aaaaaaaaaaaa: Pull complete",
        f"Digest: {DIGEST}",
        "Status: Downloaded newer image for box:latest",
        "docker.io/library/box:latest",
    ]


def test_a_pull_of_what_is_there(engine: FakeEngine) -> None:
    with ardock(engine, "image", "pull", "--platform", "linux/arm64", "reg.io:5/a/box:v1") as process:
        engine.expect("images.inspect").reply(info=image(), config={})
        request = engine.expect("images.pull")
        assert request.params == {"ref": "reg.io:5/a/box:v1", "platform": "linux/arm64"}
        request.reply(**image())
        code, out, _ = end(process)
    assert code == 0
    assert out.decode().splitlines() == [
        "v1: Pulling from a/box",
        "Status: Image is up to date for reg.io:5/a/box:v1",
        "reg.io:5/a/box:v1",
    ]


def test_a_quiet_pull_prints_the_name_alone(engine: FakeEngine) -> None:
    with ardock(engine, "pull", "-q", "box") as process:
        request = engine.expect("images.pull")
        request.items({"part": LAYER, "status": "pulled"})
        request.reply(**image())
        assert end(process) == (0, b"docker.io/library/box:latest\n", b"")


def test_the_user_s_credentials_go_along(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    auth = base64.b64encode(b"me:secret").decode()
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": {"reg.io:5": {"auth": auth}}}))
    with ardock(engine, "pull", "-q", "reg.io:5/box") as process:
        request = engine.expect("images.pull")
        assert request.params["credentials"] == {"username": "me", "password": "secret"}
        request.fail("not_permitted", "reg.io:5: the registry wants other credentials")
        assert end(process) == (1, b"", b"ardock: reg.io:5: the registry wants other credentials\n")


def test_a_pull_goes_on_at_the_next_owner(engine: FakeEngine) -> None:
    with ardock(engine, "pull", "-q", "box") as process:
        engine.expect("images.pull").items({"part": LAYER, "status": "waiting"})
        engine.drop()
        engine.listen()
        engine.expect("images.pull").reply(**image())
        assert end(process)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["pull", "Box"], 1, "has upper-case letters"),
        (["pull"], 125, "pull requires 1 argument"),
        (["pull", "-a", "box"], 125, "-a, --all-tags is not supported"),
        (["push", "-a", "box:v1"], 1, "tag can't be used with --all-tags/-a"),
        (["tag", "a"], 125, "tag requires 2 arguments"),
        (["save"], 125, "save requires at least 1 argument"),
        (["load", "-i", "/none"], 1, '-i, --input: "/none": No such file or directory'),
        (["import", "http://a/b.tar"], 1, "download it"),
        (["df", "-v", "--format", "json"], 125, "--format: not with -v"),
        (["image", "prune", "--filter", "foo=1"], 125, "invalid filter 'foo': give until or label"),
        (["run", "--health-interval", "1us", "x"], 125, "give 0 or at least 1ms"),
        (["run", "--expose", "99999", "x"], 125, "ports are 1 to 65535"),
        (["run", "--no-healthcheck", "--health-retries", "3", "x"], 125, "--no-healthcheck conflicts with --health-*"),
        (["run", "--pull", "perhaps", "x"], 125, "always, missing"),
    ],
)
def test_what_is_refused(engine: FakeEngine, arguments: list[str], code: int, message: str) -> None:
    with ardock(engine, *arguments) as process:
        ended, _, err = end(process)
    assert ended == code
    assert message in err.decode()
    assert engine.requests.empty()


def test_a_push(engine: FakeEngine) -> None:
    with ardock(engine, "push", "localhost:5000/box:v1") as process:
        request = engine.expect("images.push")
        assert request.params == {"ref": "localhost:5000/box:v1"}
        request.items({"part": LAYER, "status": "waiting"}, {"part": OTHER, "status": "exists"})
        request.items(
            {"part": LAYER, "status": "uploading", "done": 1, "total": 2}, {"part": LAYER, "status": "pushed"}
        )
        request.reply(reference="localhost:5000/box:v1", digest=DIGEST, size=528)
        code, out, err = end(process)
    assert (code, err) == (0, b"")
    assert out.decode().splitlines() == [
        "The push refers to repository [localhost:5000/box]",
        "aaaaaaaaaaaa: Preparing",
        "bbbbbbbbbbbb: Layer already exists",
        "aaaaaaaaaaaa: Pushed",
        f"v1: digest: {DIGEST} size: 528",
    ]


def test_a_push_of_all_tags(engine: FakeEngine) -> None:
    with ardock(engine, "push", "-a", "me/box") as process:
        engine.expect("images.list").reply(images=[image(names=["me/box:b", "me/other:c"]), image(names=["me/box:a"])])
        for tag in "ab":
            request = engine.expect("images.push")
            assert request.params == {"ref": f"me/box:{tag}"}
            request.reply(reference=f"me/box:{tag}", digest=DIGEST, size=1)
        code, out, _ = end(process)
    assert code == 0
    assert out.decode().splitlines()[1:] == [f"a: digest: {DIGEST} size: 1", f"b: digest: {DIGEST} size: 1"]


# run and create


def test_run_pulls_a_missing_image(engine: FakeEngine) -> None:
    with ardock(engine, "run", "--platform", "linux/amd64", "box") as process:
        absent(engine)  # for --platform
        engine.expect("containers.create").fail("not_found", "image: there is no image 'box'", field="image")
        absent(engine)
        request = engine.expect("images.pull")
        assert request.params == {"ref": "docker.io/library/box:latest", "platform": "linux/amd64"}
        request.items({"part": LAYER, "status": "pulled"})
        request.reply(**image())
        attach, _, wait = running(engine)
        attach.reply()
        wait.reply(id="a" * 64, exit_code=3)
        code, out, err = end(process)
    assert (code, out) == (3, b"")
    assert err.decode().splitlines() == [
        "Unable to find image 'box:latest' locally",
        "latest: Pulling from library/box",
        "aaaaaaaaaaaa: Pull complete",
        f"Digest: {DIGEST}",
        "Status: Downloaded newer image for box:latest",
    ]


def test_an_image_for_another_platform_is_pulled_anew(engine: FakeEngine) -> None:
    with ardock(engine, "create", "-q", "--platform", "linux/arm64", "box") as process:
        here = image(platform={"os": "linux", "architecture": "amd64"})
        engine.expect("images.inspect").reply(info=here, config={})
        engine.expect("images.pull").reply(**image())
        engine.expect("containers.create").reply(id="a" * 64, name="x")
        assert end(process) == (0, b"a" * 64 + b"\n", b"")


def test_create_pulls_as_it_is_told_to(engine: FakeEngine) -> None:
    with ardock(engine, "create", "--pull", "always", "-q", "box", "true") as process:
        engine.expect("images.pull").reply(**image())
        engine.expect("containers.create").reply(id="a" * 64, name="x")
        assert end(process) == (0, b"a" * 64 + b"\n", b"")
    with ardock(engine, "create", "--pull", "never", "box") as process:
        engine.expect("containers.create").fail("not_found", "image: there is no image 'box'", field="image")
        assert end(process) == (1, b"", b"ardock: image: there is no image 'box'\n")
    with ardock(engine, "run", "box") as process:
        # Something else was not there: no pull is a remedy for that.
        engine.expect("containers.create").fail("not_found", "user: there is no user 'x'", field="user")
        assert end(process)[0] == 125


@pytest.mark.parametrize(
    ("flags", "spec"),
    [
        (["box"], {}),
        (["box", "a", "b"], {"argv": ["a", "b"]}),
        (["--entrypoint", "sh", "box", "-c"], {"entrypoint": ["sh"], "argv": ["-c"]}),
        (["--entrypoint", "", "box", "a"], {"entrypoint": [""], "argv": ["a"]}),
        (["--expose", "80", "--expose", "90-91/udp", "box"], {"exposed_ports": ["80/tcp", "90/udp", "91/udp"]}),
        (["--no-healthcheck", "box"], {"healthcheck": {"test": ["NONE"]}}),
        (
            ["--health-cmd", "true", "--health-interval", "1m", "--health-retries", "3", "box"],
            {"healthcheck": {"test": ["CMD-SHELL", "true"], "interval": 60_000_000_000, "retries": 3}},
        ),
        (["--stop-signal", "INT", "box"], {"stop_signal": "INT"}),
    ],
)
def test_flags_about_the_image_s_configuration(engine: FakeEngine, flags: list[str], spec: dict[str, object]) -> None:
    with ardock(engine, "create", *flags) as process:
        request = engine.expect("containers.create")
        assert {
            name: value for name, value in request.params["spec"].items() if name not in {"image", "stop_timeout"}
        } == spec
        request.reply(id="a" * 64, name="x")
        assert end(process)[0] == 0


# save, load, export, import


def test_save_to_a_file_is_whole_or_not_there(engine: FakeEngine, tmp_path: Path) -> None:
    target = tmp_path / "a.tar"
    target.write_bytes(b"old")
    with ardock(engine, "save", "-o", str(target), "box", "other:v1") as process:
        request = engine.expect("images.save")
        assert request.params == {"refs": ["box", "other:v1"]}
        request.bytes(1, b"x" * 50_000)
        request.bytes(1, b"y" * 50_000)
        request.reply()
        assert end(process) == (0, b"", b"")
    assert target.read_bytes() == b"x" * 50_000 + b"y" * 50_000
    assert [each.name for each in tmp_path.iterdir()] == ["a.tar"]
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("how", ["error", "signal", "connection"])
def test_a_save_that_fails_leaves_nothing(engine: FakeEngine, tmp_path: Path, how: str) -> None:
    target = tmp_path / "a.tar"
    target.write_bytes(b"old")
    with ardock(engine, "image", "save", "-o", str(target), "box") as process:
        request = engine.expect("images.save")
        request.bytes(1, b"x" * 50_000)
        deadline = time.monotonic() + 10
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        if how == "error":
            request.fail("disk_full", "the disk is full")
        elif how == "signal":
            process.send_signal(signal.SIGINT)
        else:
            request.connection.close()
        code, _, err = end(process)
    assert code == {"error": 1, "signal": 130, "connection": 1}[how]
    assert bool(err) == (how != "signal")
    assert target.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.tar"]


def test_save_and_export_to_standard_output(engine: FakeEngine) -> None:
    with ardock(engine, "save", "box") as process:
        request = engine.expect("images.save")
        for _ in range(4):
            request.bytes(1, b"x" * 60_000)
        request.reply()
        assert end(process) == (0, b"x" * 240_000, b"")
    with ardock(engine, "export", "web") as process:
        request = engine.expect("containers.export")
        assert request.params == {"ref": "web"}
        request.bytes(1, b"tar")
        request.reply()
        assert end(process) == (0, b"tar", b"")


@pytest.mark.parametrize("words", [["save", "box"], ["export", "web"]])
def test_no_archive_goes_to_a_terminal(engine: FakeEngine, words: list[str]) -> None:
    leader, terminal = os.openpty()
    with subprocess.Popen(
        [*COMMAND, "-H", f"unix://{engine.path}", *words], stdout=terminal, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert b"cowardly refusing to save to a terminal" in process.stderr.read()
    assert process.returncode == 1
    os.close(leader)
    os.close(terminal)


def test_no_archive_comes_from_a_terminal(engine: FakeEngine) -> None:
    leader, terminal = os.openpty()
    words = [*COMMAND, "-H", f"unix://{engine.path}", "load"]
    with subprocess.Popen(words, stdin=terminal, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert b"requested load from stdin" in process.stderr.read()
    assert process.returncode == 1
    os.close(leader)
    os.close(terminal)


def test_where_an_archive_cannot_be_written(engine: FakeEngine, tmp_path: Path) -> None:
    for path, message in (("/none/a.tar", "No such file"), (str(tmp_path), "is a directory")):
        with ardock(engine, "save", "-o", path, "box") as process:
            code, _, err = end(process)
        assert code == 1
        assert message in err.decode()
    assert engine.requests.empty()


def test_load_of_a_file_hands_its_path_over(engine: FakeEngine, tmp_path: Path) -> None:
    """The engine finds the same file there: here the test's own process says that it is the engine."""
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"tar")
    with ardock(engine, "load", "-i", str(archive)) as process:
        engine.expect("engine.version").reply(version="1", protocol=1, engine="0123abcd", pid=os.getpid())
        request = engine.expect("images.load")
        assert request.params == {"path": str(archive)}
        request.reply(images=[{"id": ID, "names": ["a:b", "c:d"]}, {"id": ID, "names": []}])
        code, out, err = end(process)
    assert (code, err) == (0, b"")
    assert out.decode().splitlines() == ["Loaded image: a:b", "Loaded image: c:d", f"Loaded image ID: {ID}"]


@pytest.mark.parametrize("source", ["stdin", "unseen file"])
def test_load_sends_what_the_engine_cannot_read_by_itself(engine: FakeEngine, tmp_path: Path, source: str) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"x" * 100_000)
    words = ["load", "-q"] if source == "stdin" else ["load", "-i", str(archive)]
    with archive.open("rb") as file, ardock(engine, *words, stdin=file.fileno()) as process:
        if source != "stdin":
            engine.expect("engine.version").reply(version="1", protocol=1, engine="0123abcd", pid=(1 << 22) - 1)
        request = engine.expect("images.load")
        assert request.params == {}
        got = 0
        while got < 100_000:
            name, (_, channel, data) = request.connection.note()
            assert (name, channel) == ("bytes", 0)
            got += len(data)
        request.items({"part": "archive", "status": "loading", "done": got})
        assert request.connection.note()[0] == "end"
        request.reply(images=[{"id": ID, "names": ["a:b"]}])
        assert end(process) == (0, b"Loaded image: a:b\n", b"")


def test_import_with_changes(engine: FakeEngine, tmp_path: Path) -> None:
    words = ["import", "-c", "CMD a", "--change", "USER b", "-m", "why", "--platform", "linux/arm64", str(tmp_path)]
    with ardock(engine, *words) as process:
        request = engine.expect("images.import")
        assert request.params.pop("request_id")
        assert request.params == {
            "name": "", "path": str(tmp_path), "changes": ["CMD a", "USER b"], "message": "why", "platform": "linux/arm64",
        }  # fmt: skip
        request.reply(**image())
        assert end(process) == (0, f"{ID}\n".encode(), b"")


# the rest


def test_tag(engine: FakeEngine) -> None:
    with ardock(engine, "tag", "a", "b:c") as process:
        request = engine.expect("images.tag")
        assert (request.params["ref"], request.params["name"]) == ("a", "b:c")
        request.reply()
        assert end(process) == (0, b"", b"")


def test_history(engine: FakeEngine) -> None:
    steps = [
        {"created_at": time.time_ns() - 7200_000_000_000, "created_by": "RUN make", "size": 1500, "comment": "c"},
        {"created_by": "FROM", "empty_layer": True},
    ]
    for flags, printed in (
        (
            [],
            (
                "IMAGE          CREATED       CREATED BY   SIZE      COMMENT\n"
                "0123456789ab   2 hours ago   RUN make     1.5kB     c\n"
                "<missing>      N/A           FROM         0B        \n"
            ),
        ),
        (["-q"], "0123456789ab\n<missing>\n"),
        (["--format", "{{.CreatedBy}} {{.Size}}", "-H=false"], "RUN make 1500\nFROM 0\n"),
    ):
        with ardock(engine, "history", *flags, "box") as process:
            engine.expect("images.inspect").reply(info=image(), config={})
            request = engine.expect("images.history")
            assert request.params == {"ref": ID}
            request.reply(entries=steps)
            assert end(process) == (0, printed.encode(), b"")


def test_image_ls_between_others(engine: FakeEngine) -> None:
    images = [
        image(id=f"sha256:{number}", names=[f"n{number}:latest"], digests=[], created_at=number)
        for number in (30, 20, 10)
    ]
    with ardock(engine, "images", "-f", "before=n30", "-f", "since=n10", "--format", "{{.Repository}}") as process:
        engine.expect("images.list").reply(images=images)
        for _ in range(2):
            request = engine.expect("images.inspect")
            request.reply(info=image(created_at=int(request.params["ref"][1:])), config={})
        assert end(process) == (0, b"n20\n", b"")


def test_prune(engine: FakeEngine) -> None:
    with ardock(engine, "image", "prune", stdin=subprocess.PIPE) as process:
        said, _ = process.communicate(b"n\n", timeout=10)
        assert process.returncode == 1
        assert said.decode() == (
            "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] "
        )
    with ardock(engine, "image", "prune", "-af", "--filter", "label!=keep", "--filter", "until=1970-01-02") as process:
        request = engine.expect("images.prune")
        assert request.params["all"] is True
        assert request.params["filters"] == {"label!": ["keep"], "until": [str(86_400 * 10**9)]}
        request.reply(done=["Untagged: a:b", f"Deleted: {ID}"], space=12_345_678)
        code, out, err = end(process)
    assert (code, err) == (0, b"")
    assert out.decode() == f"Deleted Images:\nuntagged: a:b\ndeleted: {ID}\n\nTotal reclaimed space: 12.35MB\n"


def test_fsck(engine: FakeEngine) -> None:
    with ardock(engine, "image", "fsck") as process:
        request = engine.expect("images.check")
        request.items({"part": "blobs", "status": "loading", "done": 1, "total": 3})
        problem = {"subject": LAYER, "what": "its bytes have another digest", "remedy": "it was removed"}
        request.reply(blobs=3, layers=2, bytes=4096, images=1, problems=[problem])
        code, out, err = end(process)
    assert (code, err) == (1, b"")
    assert out.decode().splitlines() == [
        f"{LAYER}: its bytes have another digest; it was removed",
        "1 images, 2 layers and 3 blobs (4.1kB) checked: 1 problem",
    ]


def test_commit_and_diff(engine: FakeEngine) -> None:
    with ardock(engine, "commit", "-a", "me", "-m", "why", "-c", "CMD x", "--pause=false", "web", "box:v2") as process:
        request = engine.expect("containers.commit")
        assert request.params.pop("request_id")
        assert request.params == {
            "ref": "web", "name": "box:v2", "author": "me", "message": "why", "changes": ["CMD x"], "pause": False,
        }  # fmt: skip
        request.reply(**image())
        assert end(process) == (0, f"{ID}\n".encode(), b"")
    with ardock(engine, "diff", "web") as process:
        request = engine.expect("containers.diff")
        request.items({"kind": "C", "path": "/etc"}, {"kind": "A", "path": "/etc/a\nb"})
        request.items({"kind": "D", "path": "/x"})
        request.reply()
        assert end(process) == (0, b"C /etc\nA /etc/a\\nb\nD /x\n", b"")


def test_df(engine: FakeEngine) -> None:
    usage = {
        "layers_size": 1000,
        "images": [{"id": ID, "size": 1000, "users": 1}],
        "containers": [{"id": "a" * 64, "size": 70}],
        "volumes": [],
    }
    with ardock(engine, "df") as process:
        engine.expect("engine.disk_usage").reply(**usage)
        code, out, err = end(process)
    assert (code, err) == (0, b"")
    assert out.decode() == (
        "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n"
        "Images          1         1         1kB       0B (0%)\n"
        "Containers      1         0         70B       70B (100%)\n"
        "Local Volumes   0         0         0B        0B\n"
        "Build Cache     0         0         0B        0B\n"
    )
    with ardock(engine, "system", "df", "-v") as process:
        engine.expect("engine.disk_usage").reply(**usage)
        engine.expect("images.list").reply(images=[image(size=1000)])
        listed = {"id": "a" * 64, "name": "web", "image": "box", "argv": ["sh"], "created_at": time.time_ns()}
        engine.expect("containers.list").reply(containers=[listed], epoch="00000001", seq=1)
        engine.expect("volumes.list").reply(volumes=[{"name": "data", "size": 5, "users": ["a" * 64]}])
        code, out, err = end(process)
    assert (code, err) == (0, b"")
    lines = out.decode().splitlines()
    assert lines[2].split() == [
        "REPOSITORY",
        "TAG",
        "IMAGE",
        "ID",
        "CREATED",
        "SIZE",
        "SHARED",
        "SIZE",
        "UNIQUE",
        "SIZE",
        "CONTAINERS",
    ]
    assert lines[3].split() == ["box", "latest", "0123456789ab", "N/A", "1kB", "0B", "1kB", "1"]
    assert lines[8].split()[:5] == ["aaaaaaaaaaaa", "box", '"sh"', "0", "70B"]
    assert lines[13].split() == ["data", "1", "5B"]


def test_bars_are_drawn_on_a_terminal(engine: FakeEngine, tmux: Tmux) -> None:
    tmux.enter(f"DOCKER_CONFIG=/none {' '.join(COMMAND)} -H unix://{engine.path} pull box")
    absent(engine)
    request = engine.expect("images.pull")
    request.items(
        {"part": OTHER, "status": "exists"},
        {"part": LAYER, "status": "downloading", "done": 5_000_000, "total": 10_000_000},
    )
    tmux.wait_for(lambda screen: "aaaaaaaaaaaa Downloading" in screen and "5.0/10.0 MB" in screen)
    request.items({"part": LAYER, "status": "pulled", "done": 10_000_000, "total": 10_000_000})
    request.reply(**image())
    screen = tmux.wait_for_words("Status: Downloaded newer image for box:latest")
    assert "bbbbbbbbbbbb Already exists" in screen
    assert "aaaaaaaaaaaa Pull complete" in screen
