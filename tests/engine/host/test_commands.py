"""`ardock doctor` and `ardock info` as a person or a script calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ARDOCK = Path(sys.executable).with_name("ardock")


def ardock(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ARDOCK, *arguments], capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_doctor_finds_this_machine_fit_and_names_the_first_limit(tmp_path: Path) -> None:
    done = ardock("--root", str(tmp_path), "doctor", "--format", "json")
    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert report["healthy"]
    assert report["fits"] == min(bound["fits"] for bound in report["bounds"] if bound["counts"])
    assert report["binding"] in ardock("--root", str(tmp_path), "doctor").stdout.splitlines()[-1]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_doctor_of_a_user_without_privileges_says_so_and_exits_with_1() -> None:
    """The modules are loaded before: the interpreter's own folder may be root's alone."""
    code = (
        "import os, ardock.cli.app, ardock.cli.group, ardock.cli.doctor, ardock.engine.host\n"
        "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "ardock.cli.app.main(['doctor'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (1, "")
    assert "no, user 65534" in done.stdout
    assert "mend: run ardock as root" in done.stdout
    assert "Containers cannot run here: root, capabilities" in done.stdout.splitlines()[-1]


def test_doctor_fits_a_narrow_terminal() -> None:
    """Prose is wrapped; only the table of limits, which is to be read across, may be wider."""
    done = subprocess.run(
        [ARDOCK, "doctor"], capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "60"}, timeout=30
    )
    prose = done.stdout.split("\nhow many")[0].splitlines()
    assert max(map(len, prose)) <= 66


def test_doctor_changes_nothing(tmp_path: Path) -> None:
    ardock("--root", str(tmp_path / "root"), "--run-dir", str(tmp_path / "run"), "doctor")
    ardock("--root", str(tmp_path / "root"), "--run-dir", str(tmp_path / "run"), "info")
    assert list(tmp_path.iterdir()) == []


def test_info_for_programs_is_json(tmp_path: Path) -> None:
    done = ardock("--root", str(tmp_path), "info", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["root"] == str(tmp_path)
    assert found["network"] == "none"


def test_info_for_people_names_the_folders(tmp_path: Path) -> None:
    done = ardock("--root", str(tmp_path), "info")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(tmp_path) in done.stdout
    assert "none yet" in done.stdout


@pytest.mark.parametrize("command", ["doctor", "info"])
def test_wrong_use_is_one_sentence(command: str) -> None:
    done = ardock(command, "--format", "{{.Nothing" if command == "info" else "yaml")
    assert done.returncode == 125
    assert done.stderr.startswith("ardock: ")
    assert len(done.stderr.splitlines()) == 1
