"""`make install`: the command, the unit and the group's declaration, beneath any PREFIX and DESTDIR."""

from __future__ import annotations

import configparser
import os
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
UNIT = TOP / "packaging/ardock.service"


def unit(text: str) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign] # names as they are
    parsed.read_string(text)
    return parsed


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package without dependencies that stands in for ours, which takes minutes to build: its command says where it is."""
    path = tmp_path / "ardock-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ardock/__init__.py", "")
        archive.writestr("ardock/cli/__init__.py", "")
        archive.writestr("ardock/cli/__main__.py", "import sys; print(sys.prefix, *sys.argv[1:])")
        archive.writestr("ardock-0.1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: ardock\nVersion: 0.1.0\n")
        archive.writestr(
            "ardock-0.1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("ardock-0.1.0.dist-info/RECORD", "")
    return path


def install(wheel: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    words = [str(TOP / "packaging/install"), str(wheel), *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.timeout(120)
def test_install_and_install_again(wheel: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "opt"
    assert install(wheel, str(prefix)).returncode == 0
    done = install(wheel, str(prefix))
    assert done.returncode == 0, done.stderr
    assert "groupadd --system ardock" in done.stderr
    said = subprocess.run(
        [prefix / "bin/ardock", "ps", "-a"], capture_output=True, text=True, check=True, cwd="/"
    ).stdout
    assert said.split() == [str(prefix / "lib/ardock"), "ps", "-a"]
    assert sorted(path.name for path in (prefix / "lib").iterdir()) == ["ardock", "systemd", "sysusers.d"]
    installed = unit((prefix / "lib/systemd/system/ardock.service").read_text())
    assert installed["Service"]["ExecStart"] == f"{prefix}/bin/ardock daemon"
    stop = unit((prefix / "lib/systemd/system/ardock-shutdown.service").read_text())["Service"]["ExecStop"]
    assert stop.count(f"{prefix}/bin/ardock ") == 2
    assert "/usr/local" not in stop
    assert (prefix / "lib/sysusers.d/ardock.conf").read_text().splitlines()[-1] == "g ardock -"
    assert (prefix / "share/doc/ardock/protocol.md").exists()


@pytest.mark.timeout(120)
def test_beneath_destdir_all_names_what_will_be(wheel: Path, tmp_path: Path) -> None:
    done = install(wheel, "/usr", str(tmp_path / "image"))
    assert done.returncode == 0, done.stderr
    top = tmp_path / "image/usr"
    assert (
        unit((top / "lib/systemd/system/ardock.service").read_text())["Service"]["ExecStart"]
        == "/usr/bin/ardock daemon"
    )
    command = top / "bin/ardock"
    assert command.read_text() == '#!/bin/sh\nexec /usr/lib/ardock/bin/python -I -m ardock.cli "$@"\n'
    assert stat.S_IMODE(command.stat().st_mode) == 0o755


def test_a_relative_prefix_is_refused(wheel: Path) -> None:
    done = install(wheel, "opt")
    assert done.returncode == 1
    assert "PREFIX must be absolute" in done.stderr


def test_the_unit_ends_the_daemon_and_no_container() -> None:
    """KillMode=process leaves what is in the service's control group alone, and nothing of ours is in there anyway."""
    service = unit(UNIT.read_text())["Service"]
    assert service["Type"] == "notify"
    assert service["KillMode"] == "process"
    assert "Delegate" not in service
    assert "RuntimeDirectory" not in service  # systemd would remove it, exit records and all, with the service
    assert service["ExecStart"] == "/usr/local/bin/ardock daemon"


def test_the_machines_end_is_no_business_of_the_services_stop() -> None:
    """What stops the containers is started with the service, stopped before it when both are, and never because of it."""
    parsed = unit(UNIT.with_name("ardock-shutdown.service").read_text())
    assert unit(UNIT.read_text())["Unit"]["Wants"] == "ardock-shutdown.service"
    assert "ardock.service" in parsed["Unit"]["After"].split()
    assert not {"Requires", "BindsTo", "PartOf", "Requisite"} & set(parsed["Unit"])
    assert parsed["Service"]["RemainAfterExit"] == "yes"
    assert "ExecStart" not in parsed["Service"]
