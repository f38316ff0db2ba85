"""AppArmor without a kernel that has it: a host made of files, and a parser that is a shell script."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from ardock.engine import apparmor
from ardock.engine.apparmor import kernel, profile
from ardock.engine.containers.plan import apparmor_profile, plan_exec
from ardock.engine.containers.resolved import User
from ardock.engine.facts import Facts
from ardock.model.errors import InvalidArgument, NotFound
from ardock.model.spec import ContainerSpec, ExecSpec
from tests.unit.test_plan import planned

_PARSER = """#!/bin/sh
echo "$@" >>{prefix}/runs
text=$(cat)
echo "$text" >{prefix}/text
{before}
echo 'ardock-default (enforce)' >>{profiles}
echo "$text" | sed -n 's/^ *profile \\(text-[0-9a-f]*\\).*/ardock-default\\/\\/\\1 (enforce)/p' >>{profiles}
"""


class Host:
    """A host with AppArmor, as the engine sees one; tests take pieces away."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.profiles = self.write(f"{kernel.SECURITYFS}/profiles", "/usr/bin/a b (complain)\n")
        self.write(kernel.ENABLED, "Y\n")
        self.write("proc/self/attr/apparmor/current", "unconfined\n")
        self.parser()

    def write(self, path: str, text: str) -> Path:
        file = self.prefix / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def parser(self, before: str = "") -> None:
        text = _PARSER.format(prefix=self.prefix, profiles=self.profiles, before=before)
        self.write("usr/sbin/apparmor_parser", text).chmod(0o755)

    @property
    def runs(self) -> list[str]:
        file = self.prefix / "runs"
        return file.read_text().splitlines() if file.exists() else []

    async def engine(self) -> apparmor.Profile:
        """What an engine that opens does."""
        found = apparmor.Profile(self.prefix)
        await found.prepare()
        return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


async def test_the_first_engine_loads_the_profile_and_the_next_ones_find_it(host: Host) -> None:
    first = await host.engine()
    assert (first.default, first.problem, first.loads) == ("ardock-default", "", 1)
    assert host.runs == ["--skip-cache --replace"]
    assert (host.prefix / "text").read_text().strip() == profile.compose(label="unconfined", abi=False)[0].strip()
    second = await host.engine()
    assert (second.default, second.loads) == ("ardock-default", 0)


async def test_another_text_of_it_is_loaded_anew(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    await host.engine()
    monkeypatch.setattr(profile, "_RULES", profile._RULES + "  deny network packet,\n")
    changed = await host.engine()
    assert (changed.default, changed.loads) == ("ardock-default", 1)
    monkeypatch.undo()
    before = await host.engine()
    assert before.loads == 0, "engines of two releases take turns"


async def test_engines_that_open_at_once_all_get_it(host: Host) -> None:
    found: list[apparmor.Profile] = []

    async def open_one() -> None:
        found.append(await host.engine())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(open_one)
    assert [one.default for one in found] == ["ardock-default"] * 5


@pytest.mark.parametrize(
    ("break_it", "problem"),
    [
        (lambda host: (host.prefix / "usr/sbin/apparmor_parser").unlink(), "apparmor_parser is not installed"),
        (lambda host: host.profiles.unlink(), "/sys/kernel/security/apparmor cannot be read"),
        (
            lambda host: host.parser("echo 'line 3: syntax error' >&2; echo; exit 1"),
            "apparmor_parser failed: line 3: syntax error",
        ),
        (lambda host: host.parser("exit 0"), "apparmor_parser has not loaded it, and said nothing"),
        (
            lambda host: (host.prefix / "usr/sbin/apparmor_parser").chmod(0o644),
            "apparmor_parser cannot be run: Permission denied",
        ),
    ],
    ids=["no parser", "no securityfs", "parser fails", "parser does nothing", "parser cannot be run"],
)
async def test_where_it_cannot_be_loaded_containers_run_without_and_the_log_says_why_once(
    host: Host, break_it: object, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(break_it)
    break_it(host)
    found = await host.engine()
    assert (found.default, found.problem) == ("unconfined", problem)
    assert [record.getMessage() for record in caplog.records] == [
        f"containers run without an AppArmor profile by default: {problem}"
    ]


async def test_an_older_text_is_kept_where_the_new_one_cannot_be_loaded(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.profiles.write_text("ardock-default (enforce)\nardock-default//text-000000000000 (enforce)\n")
    host.parser("echo no >&2; exit 1")
    found = await host.engine()
    assert (found.default, found.problem) == ("ardock-default", "")
    assert "of another release: apparmor_parser failed: no" in caplog.text


async def test_an_engine_under_a_profile_of_its_own_may_signal_its_containers(host: Host) -> None:
    host.write("proc/self/attr/apparmor/current", "snap.ardock.daemon (enforce)\n")
    await host.engine()
    assert "  signal (receive) peer=snap.ardock.daemon,\n" in (host.prefix / "text").read_text()


async def test_the_abi_is_pinned_where_its_file_is(host: Host) -> None:
    host.write(f"etc/apparmor.d/{profile.ABI}", "features\n")
    await host.engine()
    assert (host.prefix / "text").read_text().startswith("abi <abi/3.0>,\n")


async def test_a_profile_by_name_must_be_loaded(host: Host) -> None:
    found = await host.engine()
    found.check("/usr/bin/a b")
    found.check("a//&b")
    found.check(":namespace:a")
    with pytest.raises(NotFound, match="apparmor: the profile 'mine' is not loaded; load it with") as caught:
        found.check("mine")
    assert caught.value.field == "apparmor"


@pytest.mark.parametrize(
    ("label", "read"),
    [
        ("unconfined\n", "unconfined"),
        ("a b (complain)\n\0", "a b"),
        ("x//&y (enforce)", "x//&y"),
        ("", "unconfined"),
    ],
)
def test_the_own_label_is_read_without_its_mode(tmp_path: Path, label: str, read: str) -> None:
    (tmp_path / "proc/self/attr").mkdir(parents=True)
    (tmp_path / "proc/self/attr/current").write_text(label)
    assert kernel.own_label(tmp_path) == read


@pytest.mark.parametrize(
    ("options", "profile_of"),
    [
        ({}, "ardock-default"),
        ({"apparmor": ""}, "ardock-default"),
        ({"apparmor": "unconfined"}, "unconfined"),
        ({"apparmor": "mine"}, "mine"),
        ({"privileged": True}, "unconfined"),
        ({"privileged": True, "apparmor": "mine"}, "mine"),
    ],
)
def test_which_profile_a_container_gets(options: dict[str, object], profile_of: str) -> None:
    """Docker's rules: a named one also where it is privileged."""
    facts = Facts(apparmor=True, apparmor_profile="ardock-default")
    launch = planned(facts=facts, **options)  # type: ignore[arg-type]
    assert launch.spec.process.apparmor == (None if profile_of == "unconfined" else profile_of)
    spec = ContainerSpec(argv=("x",), **options)  # type: ignore[arg-type]
    assert apparmor_profile(spec, facts) == profile_of
    if "apparmor" not in options or options["apparmor"] == "unconfined":
        assert apparmor_profile(spec, Facts()) == ""
        assert planned(**options).spec.process.apparmor is None  # type: ignore[arg-type]


@pytest.mark.parametrize("privileged", [False, True])
def test_an_exec_has_the_containers_profile_also_where_it_is_privileged(privileged: bool) -> None:
    launch = plan_exec(
        ExecSpec(argv=("x",), privileged=privileged), ContainerSpec(argv=("x",)), Facts(), user=User(0, 0, (), "/"),
        seccomp=None, hostname="h", apparmor="mine",
    )  # fmt: skip
    assert launch.process.apparmor == "mine"


def test_what_cannot_be_a_name_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"apparmor: 'a\\nb' is not the name of a profile"):
        planned(facts=Facts(apparmor=True), apparmor="a\nb")
