"""Docker's argument syntax (pflag), and that the table of flags is Docker's."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from ardock.cli import run_flags as f
from ardock.cli.errors import UsageError
from ardock.cli.flags import FALSE, TRUE, HelpRequested, Many, Parser, Refused, Switch, Values
from ardock.cli.run_flags import RUN_FLAGS


def parse(*arguments: str) -> tuple[Values, list[str]]:
    return Parser(RUN_FLAGS).parse(arguments)


@pytest.mark.parametrize(
    ("arguments", "expected", "rest"),
    [
        (["--memory", "64m", "cmd"], 64 << 20, ["cmd"]),
        (["--memory=64m", "cmd"], 64 << 20, ["cmd"]),
        (["-m", "64m", "cmd"], 64 << 20, ["cmd"]),
        (["-m64m", "cmd"], 64 << 20, ["cmd"]),
        (["-m=64m", "cmd"], 64 << 20, ["cmd"]),
        (["-m", "1g", "-m", "64m"], 64 << 20, []),  # the last one wins
        (["-itm64m", "cmd"], 64 << 20, ["cmd"]),
        (["cmd", "-m", "64m"], None, ["cmd", "-m", "64m"]),  # options end at the first positional argument
        (["--", "-m", "64m"], None, ["-m", "64m"]),
        (["-", "-m", "64m"], None, ["-", "-m", "64m"]),
    ],
)
def test_a_value_may_be_written_in_every_way_that_docker_takes(
    arguments: list[str], expected: int | None, rest: list[str]
) -> None:
    values, remaining = parse(*arguments)
    assert values.one(f.MEMORY) == expected
    assert remaining == rest


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], False),
        (["-t"], True),
        (["--tty"], True),
        (["--tty=true"], True),
        (["--tty=1"], True),
        (["--tty=false"], False),
        (["-t=false"], False),
        (["-t=0"], False),
        (["-it"], True),
        (["-ti"], True),
        (["-t", "-t"], True),
        (["--tty", "--tty=false"], False),
    ],
)
def test_a_switch_takes_gos_booleans(arguments: list[str], expected: bool) -> None:
    values, rest = parse(*arguments)
    assert values.on(f.TTY) is expected
    assert rest == []


def test_a_switch_does_not_swallow_the_next_argument() -> None:
    values, rest = parse("--tty", "false")
    assert values.on(f.TTY)
    assert rest == ["false"]


def test_repeated_values_keep_their_order() -> None:
    values, _ = parse("-e", "A=1", "--env=B=2", "-eC=3", "-e", "D==")
    assert values.many(f.ENV) == ["A=1", "B=2", "C=3", "D=="]


def test_a_value_may_begin_with_a_dash() -> None:
    values, _ = parse("--memory-swap", "-1", "--pids-limit", "-1", "-w", "/-x")
    assert values.one(f.MEMORY_SWAP) == -1
    assert values.one(f.PIDS_LIMIT) == -1


def test_hidden_aliases_are_the_same_flag() -> None:
    values, _ = parse("--net", "host", "--dns-opt", "a", "--dns-option", "b")
    assert values.one(f.NETWORK) == "host"
    assert values.many(f.DNS_OPTION) == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["--foo=1"], "unknown flag: --foo"),
        (["-ix"], "unknown shorthand flag: 'x' in -ix"),
        (["--memory"], "flag needs an argument: --memory"),
        (["-m"], "flag needs an argument: 'm' in -m"),
        (["-im"], "flag needs an argument: 'm' in -im"),
        (["---x"], 'bad flag syntax: "---x"'),
        (["--=x"], 'bad flag syntax: "--=x"'),
        (["--tty=maybe"], 'invalid argument "maybe" for "-t, --tty" flag: give true or false'),
    ],
)
def test_a_wrong_flag_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*arguments)
    assert caught.value.message == message


def test_control_characters_of_a_bad_value_do_not_reach_the_terminal() -> None:
    with pytest.raises(UsageError) as caught:
        parse("--memory", "\x1b[2J\udcff")
    assert "\x1b" not in caught.value.message
    assert r"\x1b[2J" in caught.value.message


def test_help_is_asked_for_by_its_long_name_alone() -> None:
    with pytest.raises(HelpRequested):
        parse("-i", "--help")
    values, _ = parse("-h", "box")
    assert values.one(f.HOSTNAME) == "box"


REFUSED = [flag for flag in RUN_FLAGS if isinstance(flag, Refused)]


@pytest.mark.parametrize("flag", REFUSED, ids=lambda flag: flag.name)
def test_a_flag_that_is_not_built_is_refused_by_name(flag: Refused) -> None:
    with pytest.raises(UsageError) as caught:
        parse(f"--{flag.name}", "something", "cmd")
    assert caught.value.message.startswith(f"{flag.spelled} is not supported: ")
    assert caught.value.exit_code == 125


@pytest.mark.parametrize(
    "arguments",
    [
        ["--restart", "no"],
        ["--restart=no"],
        ["-d=false"],
        ["--detach=false"],
        ["--init=false"],
        ["-P=false"],
        ["--log-driver", "none"],
        ["--memory-swappiness", "-1"],
        ["--blkio-weight=0"],
        ["--pull", "never"],
        ["--quiet"],
        ["--no-healthcheck"],
        ["--disable-content-trust=false"],
        ["--isolation=default"],
        ["--userns=host"],
        ["--platform", "linux"],
    ],
)
def test_a_flag_that_asks_for_what_happens_anyway_is_accepted(arguments: list[str]) -> None:
    _, rest = parse(*arguments, "cmd")
    assert rest == ["cmd"]


def test_no_two_flags_share_a_name() -> None:
    names = [name for flag in RUN_FLAGS for name in (flag.name, *flag.aliases)]
    letters = [flag.short for flag in RUN_FLAGS if flag.short]
    assert len(set(names)) == len(names)
    assert len(set(letters)) == len(letters)


# docker run --help prints `  -a, --attach list   Attach to ...`; the type is missing for switches.
DOCKER_FLAG = re.compile(r"^  (?:-(?P<short>\w), |    )--(?P<name>[\w-]+)(?: (?P<type>[\w-]+))?(?:  |$)", re.MULTILINE)
OURS = {"rootfs", "scratch", "timeout"}


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker command to compare with")
def test_the_table_holds_every_flag_of_docker_run() -> None:
    """Each by the same name, the same letter, and taking a value or not."""
    help_text = subprocess.run(["docker", "run", "--help"], capture_output=True, text=True, check=True).stdout
    docker = {
        match["name"]: (match["short"] or "", match["type"] is not None) for match in DOCKER_FLAG.finditer(help_text)
    }
    assert len(docker) > 90, "the pattern no longer fits docker's help"
    del docker["help"]
    ours = {flag.name: (flag.short, flag.takes_value) for flag in RUN_FLAGS if flag.name not in OURS}
    missing = {name: docker[name] for name in docker.keys() - ours.keys()}
    assert missing == {}
    assert {name: ours[name] for name in docker} == docker


def test_flags_that_may_be_repeated_in_docker_may_be_repeated_here() -> None:
    repeated = {flag.name for flag in RUN_FLAGS if isinstance(flag, Many)}
    assert repeated >= {"env", "volume", "mount", "tmpfs", "label", "cap-add", "ulimit", "sysctl", "device", "dns"}


def test_gos_booleans_are_complete() -> None:
    assert {"1", "t", "T", "TRUE", "true", "True"} == TRUE
    assert {"0", "f", "F", "FALSE", "false", "False"} == FALSE
    assert isinstance(f.TTY, Switch)
