"""The commands that answer once, against a scripted engine: what they ask for, what they print, what they end with."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.fake_engine import FakeEngine, Request
from tests.cli.test_client_mode import ardock, end
from tests.cli.test_imports import CLICK, NEVER, loaded, third_party

ID = "0123456789ab" + "c" * 52
OTHER = "fedcba987654" + "3" * 52


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    folder = Path(tempfile.mkdtemp(prefix="ardock-fake-"))
    fake = FakeEngine(folder / "s")
    yield fake
    fake.drop()
    shutil.rmtree(folder)


def summary(**more: object) -> dict[str, object]:
    now = time.time_ns()
    return {
        "id": ID,
        "name": "web",
        "image": "bench",
        "argv": ["sh", "-c", "exit 3"],
        "created_at": now - 3 * 3_600_000_000_000 - 60_000_000_000,
        **more,
    }


def listing(*containers: dict[str, object]) -> dict[str, object]:
    return {"containers": list(containers), "epoch": "00000001", "seq": 7, "boottime": 5_000_000_000_000}


UP = summary(status="running", started_boot=4_700_000_000_000, labels={"a": "b"}, pid=7)
ENDED = summary(id=OTHER, name="job", status="exited", exit_code=3, finished_at=time.time_ns() - 86_400_000_000_000 * 3)


# ps


@pytest.mark.parametrize(
    ("arguments", "params"),
    [
        ([], {}),
        (["-a"], {"all": True}),
        (["-n", "3"], {"limit": 3}),
        (["-n", "-1"], {}),
        (["-l"], {"limit": 1}),
        (["-aq", "--filter", "label=a=b", "-f", "Label=c", "-f", "status=exited"], {"all": True, "filters": {"label": ["a=b", "c"], "status": ["exited"]}}),
    ],
)  # fmt: skip
def test_ps_asks_for_what_its_flags_say(engine: FakeEngine, arguments: list[str], params: dict[str, object]) -> None:
    with ardock(engine, "ps", *arguments) as process:
        request = engine.expect("containers.list")
        assert request.params == params
        request.reply(**listing())
        code, out, err = end(process)
        assert (code, err) == (0, b"")
        assert (out == b"") == ("-aq" in arguments)


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (
            [],
            (
                "CONTAINER ID   IMAGE     COMMAND            CREATED       STATUS                  PORTS     NAMES\n"
                "0123456789ab   bench     \"sh -c 'exit 3'\"   3 hours ago   Up 5 minutes                      web\n"
                "fedcba987654   bench     \"sh -c 'exit 3'\"   3 hours ago   Exited (3) 3 days ago             job\n"
            ),
        ),
        (["-q"], "0123456789ab\nfedcba987654\n"),
        (["-q", "--no-trunc"], f"{ID}\n{OTHER}\n"),
        (["--format", "{{.Names}}\\t{{.State}}"], "web\trunning\njob\texited\n"),
        (
            ["--format", 'table {{.ID}}\\t{{.Names}}\\t{{.Label "a"}}'],
            "CONTAINER ID   NAMES     a\n0123456789ab   web       b\nfedcba987654   job       \n",
        ),
    ],
)
def test_ps_prints_what_docker_prints(engine: FakeEngine, arguments: list[str], printed: str) -> None:
    with ardock(engine, "ps", *arguments) as process:
        engine.expect("containers.list").reply(**listing(UP, ENDED))
        code, out, err = end(process)
    assert (code, out.decode(), err) == (0, printed, b"")


def test_ps_gives_one_object_of_json_a_line(engine: FakeEngine) -> None:
    with ardock(engine, "ps", "--format", "json") as process:
        engine.expect("containers.list").reply(**listing(UP, ENDED))
        _, out, _ = end(process)
    first, second = (json.loads(line) for line in out.splitlines())
    assert (first["ID"], first["Names"], first["Labels"], first["State"]) == (ID[:12], "web", "a=b", "running")
    assert second["Status"] == "Exited (3) 3 days ago"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "ps accepts no arguments: x"),
        (["-f", "name"], 'invalid argument "name" for "-f, --filter" flag: bad format of filter (expected name=value)'),
        (["--format", "{{.ID"], 'invalid argument "{{.ID" for "--format" flag: unclosed action'),
        (["-s"], "-s, --size is not supported: nobody counts what a container has written"),
    ],
)
def test_a_wrong_ps_asks_nobody(engine: FakeEngine, arguments: list[str], message: str) -> None:
    with ardock(engine, "ps", *arguments) as process:
        assert end(process) == (125, b"", f"ardock: {message}\n".encode())
    assert engine.requests.empty()


def test_what_the_engine_refuses_and_a_column_that_is_not_there_are_1(engine: FakeEngine) -> None:
    with ardock(engine, "ps", "-f", "foo=bar") as process:
        engine.expect("containers.list").fail("invalid_argument", "filters: there is no filter foo")
        assert end(process) == (1, b"", b"ardock: --filter: there is no filter foo\n")
    with ardock(engine, "ps", "--format", "{{.Foo}}") as process:
        engine.expect("containers.list").reply(**listing(UP))
        assert end(process) == (1, b"", b"ardock: --format: at <.Foo>: there is no field Foo\n")


# Several containers


@pytest.mark.parametrize(
    ("arguments", "method", "params"),
    [
        (["stop"], "stop", {}),
        (["stop", "-t", "0", "-s", "INT"], "stop", {"timeout": 0.0, "signal": "INT"}),
        (["stop", "--time=3"], "stop", {"timeout": 3.0}),
        (["stop", "-t", "-1"], "stop", {"timeout": 1e9}),
        (["restart", "-t", "7"], "restart", {"timeout": 7.0}),
        (["kill"], "kill", {}),
        (["kill", "-s", "USR1"], "kill", {"signal": "USR1"}),
        (["start"], "start", {}),
        (["rm"], "remove", {}),
        (["rm", "-fv"], "remove", {"force": True, "volumes": True}),
    ],
)
def test_a_command_makes_a_call_for_each_and_what_fails_stops_no_other(
    engine: FakeEngine, arguments: list[str], method: str, params: dict[str, object]
) -> None:
    # Flags may stand behind the names, as with docker.
    name, *flags = arguments
    with ardock(engine, name, "one", "two", *flags, "three") as process:
        requests = [engine.expect(f"containers.{method}") for _ in range(3)]
        assert [request.params.pop("ref") for request in requests] == ["one", "two", "three"]
        ids = {request.params.pop("request_id") for request in requests}
        assert len(ids) == 3, "each has a name of its own, so that repeating one does not repeat another"
        assert all(request.params == params for request in requests)
        requests[2].reply()
        requests[0].reply()
        requests[1].fail("conflict", "two is in the way")
        assert end(process) == (1, b"one\nthree\n", b"ardock: two is in the way\n")


def test_any_number_of_names_is_asked_for_a_few_hundred_at_once(engine: FakeEngine) -> None:
    """An engine bounds the calls of a connection."""
    names = [f"c{number}" for number in range(600)]
    with ardock(engine, "rm", *names) as process:
        for first, last in ((0, 256), (256, 512), (512, 600)):
            requests = [engine.expect("containers.remove") for _ in range(first, last)]
            assert engine.requests.empty()
            for request in requests:
                request.reply()
        assert end(process) == (0, ("\n".join(names) + "\n").encode(), b"")


def test_removing_by_force_what_is_not_there_is_no_failure(engine: FakeEngine) -> None:
    for flags, code in ((["-f"], 0), ([], 1)):
        with ardock(engine, "rm", *flags, "gone") as process:
            engine.expect("containers.remove").fail("not_found", "no such container: gone")
            assert end(process) == (code, b"", b"ardock: no such container: gone\n")


def test_wait_prints_each_code_as_soon_as_it_is_known(engine: FakeEngine) -> None:
    with ardock(engine, "wait", "one", "two", "three") as process:
        first = engine.expect("containers.wait")
        assert first.params["ref"] == "one"
        first.reply(id=ID, exit_code=3)
        assert process.stdout is not None
        assert process.stdout.readline() == b"3\n"
        engine.expect("containers.wait").fail("not_found", "no such container: two")
        engine.expect("containers.wait").reply(id=ID, exit_code=0)
        assert end(process) == (1, b"0\n", b"ardock: no such container: two\n")


def test_rename(engine: FakeEngine) -> None:
    with ardock(engine, "rename", "one", "two") as process:
        request = engine.expect("containers.rename")
        assert (request.params["ref"], request.params["name"]) == ("one", "two")
        request.reply()
        assert end(process) == (0, b"", b"")
    with ardock(engine, "rename", "one", "two") as process:
        engine.expect("containers.rename").fail("conflict", "the name two is taken")
        assert end(process) == (1, b"", b"ardock: the name two is taken\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rm"], "rm requires at least 1 argument"),
        (["rename", "a"], "rename requires 2 arguments"),
        (["image", "import", "a", "b", "c"], "image import requires at most 2 arguments"),
        (["image", "ls", "a", "b"], "image ls requires at most 1 argument"),
        (["kill", "-s", "FOO", "x"], 'invalid argument "FOO" for "-s, --signal" flag: give a signal such as SIGTERM, TERM or 15'),
        (["stop", "-t", "-2", "x"], 'invalid argument "-2" for "-t, --timeout" flag: give a whole number, -1 or more'),
        (["rm", "-l", "x"], "-l, --link is not supported: there are no links between containers"),
        (["start", "-a", "x", "y"], "you cannot start and attach multiple containers at once"),
        (["inspect", "--type", "network", "x"], 'invalid argument "network" for "--type" flag: there are no networks yet'),
        (["volume", "ls", "x"], "volume ls accepts no arguments: x"),
        (["image", "frob"], "unknown command: ardock image frob (see 'ardock image --help')"),
        (["image", "ls", "-f", "foo=1"], 'invalid argument "foo=1" for "-f, --filter" flag: invalid filter \'foo\': give dangling, reference, label, before, since or until'),
        (["create"], "give an image, or a root file system and a command: ardock create [--rootfs PATH | IMAGE] COMMAND [ARG...]"),
        (["create", "-d", "image", "x"], "unknown shorthand flag: 'd' in -d"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_asks_nobody(engine: FakeEngine, arguments: list[str], message: str) -> None:
    with ardock(engine, *arguments) as process:
        assert end(process) == (125, b"", f"ardock: {message}\n".encode())
    assert engine.requests.empty()


# create


def test_create_makes_and_prints_the_id(engine: FakeEngine, tmp_path: Path) -> None:
    flags = ["--rm", "--name", "web", "-it", "--timeout", "5", "--cidfile", str(tmp_path / "id"), "-l", "a=b"]
    with ardock(engine, "create", *flags, "image", "prog", "-x") as process:
        create = engine.expect("containers.create")
        assert create.params["remove"] is True
        spec = create.params["spec"]
        assert (spec["argv"], spec["image"], spec["name"]) == (["prog", "-x"], "image", "web")
        assert (spec["tty"], spec["stdin_open"], spec["timeout"], spec["labels"]) == (True, True, 5.0, {"a": "b"})
        create.reply(id=ID, name="web")
        assert end(process) == (0, f"{ID}\n".encode(), b"")
    assert (tmp_path / "id").read_text() == ID


def test_create_names_the_flag_that_the_engine_complains_of(engine: FakeEngine) -> None:
    with ardock(engine, "create", "-m", "1m", "image", "x") as process:
        engine.expect("containers.create").fail("invalid_argument", "memory: 4 MiB at least")
        assert end(process) == (1, b"", b"ardock: --memory: 4 MiB at least\n")


# inspect


def inspected(engine: FakeEngine, refs: dict[str, str]) -> None:
    """Answer one `inspect`: what each name is."""
    about = engine.expect("engine.info")
    about.reply(id="deadbeef", root="/var/lib/x", architecture="x86_64")
    asked: list[Request] = [engine.expect("containers.inspect") for _ in refs]
    for request in asked:
        ref = request.params["ref"]
        if refs[ref] == "container":
            request.reply(
                id=ID, name=ref, spec={"argv": ["sh"], "rootfs": "/"}, status="exited", log="containers/x/log"
            )
        elif refs[ref] == "ambiguous":
            request.fail("ambiguous", f"{ref} fits several containers")
        else:
            request.fail("not_found", f"no such container: {ref}")
    for _ in [kind for kind in refs.values() if kind in {"image", "volume", "nothing"}]:
        request = engine.expect("images.inspect")
        ref = request.params["ref"]
        if refs[ref] == "image":
            request.reply(info={"id": f"sha256:{OTHER}", "names": [f"{ref}:latest"]}, config={})
        else:
            request.fail("not_found", f"no such image: {ref}")
    for _ in [kind for kind in refs.values() if kind in {"volume", "nothing"}]:
        request = engine.expect("volumes.inspect")
        name = request.params["name"]
        if refs[name] == "volume":
            request.reply(name=name, mountpoint=f"/var/lib/x/volumes/{name}/_data", labels={"a": "b"})
        else:
            request.fail("not_found", f"no such volume: {name}")


def test_inspect_finds_what_there_is_and_complains_of_the_rest(engine: FakeEngine) -> None:
    with ardock(engine, "inspect", "no", "web", "01", "base", "vol") as process:
        inspected(engine, {"no": "nothing", "web": "container", "01": "ambiguous", "base": "image", "vol": "volume"})
        code, out, err = end(process)
    assert code == 1
    container, image, volume = json.loads(out)
    assert (container["Name"], container["LogPath"]) == ("/web", "/var/lib/x/containers/x/log")
    assert image["RepoTags"] == ["base:latest"]
    assert (volume["Name"], volume["Labels"], volume["Options"]) == ("vol", {"a": "b"}, None)
    assert err == b"ardock: no such object: no\nardock: 01 fits several containers\n"


@pytest.mark.parametrize(
    ("form", "printed"),
    [
        ("{{.Name}} {{.State.Status}} {{json .Config.Cmd}}", '/web exited ["sh"]\n'),
        ("{{.State.Status}}\\t{{.Id}}", f"exited\\t{ID}\n"),
    ],
)
def test_inspect_renders_a_template(engine: FakeEngine, form: str, printed: str) -> None:
    with ardock(engine, "inspect", "web", "-f", form) as process:
        inspected(engine, {"web": "container"})
        assert end(process) == (0, printed.encode(), b"")


def test_inspect_of_nothing_is_an_empty_list_and_1(engine: FakeEngine) -> None:
    with ardock(engine, "inspect", "no") as process:
        inspected(engine, {"no": "nothing"})
        assert end(process) == (1, b"[]\n", b"ardock: no such object: no\n")
    with ardock(engine, "inspect", "-f", "json", "web") as process:
        inspected(engine, {"web": "container"})
        code, out, _ = end(process)
        assert (code, json.loads(out)[0]["Id"], out.count(b"\n")) == (0, ID, 1)


def test_inspect_says_which_field_is_not_there(engine: FakeEngine) -> None:
    with ardock(engine, "inspect", "-f", "{{.State.Foo}}", "web") as process:
        inspected(engine, {"web": "container"})
        assert end(process) == (1, b"", b"ardock: --format: at <.State.Foo>: there is no field Foo\n")


# Images


def test_an_image_is_imported_of_a_path(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with ardock(engine, "image", "import", str(tmp_path / "tree"), "base:v1") as process:
        request = engine.expect("images.import")
        assert (request.params["name"], request.params["path"]) == ("base:v1", str(tmp_path / "tree"))
        request.reply(id=f"sha256:{ID}", names=["base:v1"])
        assert end(process) == (0, f"sha256:{ID}\n".encode(), b"")
    with ardock(engine, "image", "import", str(tmp_path / "none"), "base") as process:
        assert end(process) == (
            1,
            b"",
            f'ardock: image import: "{tmp_path}/none": no such file or directory\n'.encode(),
        )
    assert engine.requests.empty()


def test_a_tar_on_standard_input_is_sent_as_the_engine_takes_it(engine: FakeEngine) -> None:
    with ardock(engine, "image", "import", "-", "base", stdin=subprocess.PIPE) as process:
        request = engine.expect("images.import")
        assert request.params["name"] == "base"
        assert "path" not in request.params
        assert process.stdin is not None
        process.stdin.write(b"x" * 300_000)
        process.stdin.close()
        process.stdin = None
        got = 0
        # The window is 256 KiB: the rest comes for credit.
        while got < 256 << 10:
            name, (number, channel, data) = request.connection.note()
            assert (name, number, channel) == ("bytes", request.number, 0)
            got += len(data)
        request.connection.send([2, "credit", [request.number, got]])
        while got < 300_000:
            got += len(request.connection.note()[1][2])
        assert request.connection.note() == ["end", [request.number, 0]]
        request.reply(id=f"sha256:{ID}")
        assert end(process) == (0, f"sha256:{ID}\n".encode(), b"")


def test_a_refused_import_does_not_wait_for_standard_input(engine: FakeEngine) -> None:
    """Its writer never writes, nor closes."""
    with ardock(engine, "image", "import", "-", "BAD", stdin=subprocess.PIPE) as process:
        engine.expect("images.import").fail("invalid_argument", "name: BAD is no reference")
        assert process.wait(10) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b"ardock: name: BAD is no reference\n"


IMAGES = {
    "images": [
        {
            "id": f"sha256:{ID}",
            "names": ["base:latest", "base:v1"],
            "created_at": time.time_ns() - 7200_000_000_000,
            "size": 1984172,
        },
        {"id": f"sha256:{OTHER}", "created_at": time.time_ns() - 7200_000_000_000, "size": 5},
    ]
}


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (
            [],
            (
                "REPOSITORY   TAG       IMAGE ID       CREATED       SIZE\n"
                "base         latest    0123456789ab   2 hours ago   1.98MB\n"
                "base         v1        0123456789ab   2 hours ago   1.98MB\n"
                "<none>       <none>    fedcba987654   2 hours ago   5B\n"
            ),
        ),
        (["-q"], "0123456789ab\nfedcba987654\n"),
        (["-q", "--no-trunc", "base:v1"], f"sha256:{ID}\n"),
        (["-f", "dangling=true", "--format", "{{.ID}} {{.Repository}}"], "fedcba987654 <none>\n"),
        (["nothing", "-q"], ""),
    ],
)
def test_images_are_listed_as_docker_lists_them(engine: FakeEngine, arguments: list[str], printed: str) -> None:
    with ardock(engine, "image", "ls", *arguments) as process:
        engine.expect("images.list").reply(**IMAGES)
        assert end(process) == (0, printed.encode(), b"")


def test_image_rm_tells_what_was_done(engine: FakeEngine) -> None:
    with ardock(engine, "image", "rm", "-f", "base", "gone") as process:
        first, second = engine.expect("images.remove"), engine.expect("images.remove")
        assert (first.params["ref"], first.params["force"]) == ("base", True)
        first.reply(done=["Untagged: base:latest", f"Deleted: sha256:{ID}"])
        second.fail("not_found", "no such image: gone")
        code, out, err = end(process)
    assert (code, err) == (0, b"ardock: no such image: gone\n")
    assert out.decode() == f"Untagged: base:latest\nDeleted: sha256:{ID}\n"


def test_image_inspect_looks_for_no_container(engine: FakeEngine) -> None:
    with ardock(engine, "image", "inspect", "base", "-f", "{{.Id}}") as process:
        engine.expect("engine.info").reply(id="deadbeef")
        engine.expect("images.inspect").reply(info={"id": f"sha256:{ID}", "names": ["base:latest"]}, config={})
        assert end(process) == (0, f"sha256:{ID}\n".encode(), b"")


# version and info


def test_version_tells_of_the_engine_too(engine: FakeEngine) -> None:
    for flags in ([], ["--format", "json"], ["-f", "{{.Server.Engine}} {{.Server.Arch}}"]):
        with ardock(engine, "version", *flags) as process:
            engine.expect("engine.version").reply(version="9.9", protocol=1, engine="deadbeef", pid=42)
            engine.expect("engine.info").reply(id="deadbeef", kernel="6.1", architecture="aarch64")
            code, out, err = end(process)
        assert (code, err) == (0, b"")
        if not flags:
            assert "\nServer: ardock\n Version:          9.9\n" in out.decode()
            assert " OS/Arch:          linux/arm64\n" in out.decode()
        elif "json" in flags:
            server = json.loads(out)["Server"]
            assert (server["Version"], server["Pid"], server["Engine"]) == ("9.9", 42, "deadbeef")
        else:
            assert out == b"deadbeef arm64\n"


def test_info_tells_what_the_engine_holds(engine: FakeEngine, tmp_path: Path) -> None:
    about = {
        "id": "deadbeef", "version": "9.9", "root": str(tmp_path), "containers": {"running": 2, "exited": 1, "dead": 0},
        "images": 3, "epoch": "00c0ffee", "seq": 17, "journal_bytes": 2048, "started_at": 1_136_073_600_000_000_000,
    }  # fmt: skip
    for flags in ([], ["-f", "json"], ["-f", "{{.server.images}} {{.server.containers.running}}"]):
        with ardock(engine, "info", *flags) as process:
            engine.expect("engine.info").reply(**about)
            code, out, err = end(process)
        assert (code, err) == (0, b"")
        if not flags:
            rows = dict(line.split("  ", 1) for line in out.decode().splitlines() if "  " in line)
            assert rows["containers"].strip() == "3 (1 exited, 2 running)"
            assert rows["owner since"].strip() == "2006-01-01T00:00:00Z"
            assert rows["events"].strip() == "up to 00c0ffee:17, 2.05kB kept"
            assert rows["root folder"].strip() == str(tmp_path)
        elif "json" in flags:
            assert json.loads(out)["server"]["seq"] == 17
        else:
            assert out == b"3 2\n"


@pytest.mark.parametrize(
    "words",
    [["ps", "-a"], ["ps", "--format", "{{.ID}}"], ["inspect", "x"], ["create", "image", "x"], ["start", "x"], ["stop", "x"],
     ["restart", "x"], ["kill", "x"], ["wait", "x"], ["rm", "x"], ["rename", "x", "y"], ["image", "ls"], ["image", "rm", "x"],
     ["image", "import", "/", "x"], ["version"]],
    ids=" ".join,
)  # fmt: skip
def test_a_client_loads_no_event_loop_and_no_engine(words: list[str]) -> None:
    """Nobody is there, so all that a client needs is loaded, and nothing answers."""
    modules = loaded("-H", "unix:///none/there", *words)
    assert "ardock.client.blocking" in modules
    assert third_party(modules) <= CLICK
    never = NEVER - ({"importlib.metadata", "email"} if words == ["version"] else set())
    assert not never & modules
    assert "ardock.engine" not in modules
    assert ("ardock.cli.format.template" in modules) == ("--format" in words)
