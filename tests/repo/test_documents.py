"""What the documents name is there: commands, targets, files, Python names."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ardock
from tests.repo.test_makefile import targets

TOP = Path(__file__).parents[2]
ARDOCK = Path(sys.executable).with_name("ardock")
README = (TOP / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*TOP.glob("*.md"), *TOP.glob("docs/**/*.md")])


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> Iterator[str]:
    """Each command of the README's shell blocks, continued lines joined."""
    for block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.split(" #")[0].strip()
            if command:
                yield command


def ardock_commands() -> list[str]:
    return [command[command.index("ardock ") :] for command in commands() if re.search(r"(^|[ |/])ardock ", command)]


def test_readme_opens_with_what_it_is_in_three_sentences_and_two_commands() -> None:
    _title, first, *_ = README.split("\n\n")
    assert len(re.findall(r"\.(?=\s|$)", first)) == 3
    assert [command.split("#")[0].strip() for command in list(commands())[:2]] == ["make run", "make test"]


def test_make_targets_of_the_documents_exist() -> None:
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE))
        assert named <= targets(), document


@pytest.mark.parametrize("command", ardock_commands())
def test_ardock_commands_of_the_readme_exist_with_their_flags(command: str) -> None:
    words = command.split()
    options = [word.split("=")[0] for word in words[2:] if word.startswith("--")]
    said = subprocess.run([ARDOCK, words[1], "--help"], capture_output=True, text=True, check=True).stdout
    for option in options:
        assert re.search(rf"{option}\b", said), f"{option} is not in `ardock {words[1]} --help`"


@pytest.mark.parametrize("code", blocks("python"))
def test_python_of_the_readme_compiles_and_its_names_exist(code: str) -> None:
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ardock":
            assert node.attr in ardock.__all__


def environment(folder: Path) -> dict[str, str]:
    """Of a command with folders of its own, `ardock` along PATH."""
    return os.environ | {
        "ARDOCK_ROOT": str(folder / "root"),
        "ARDOCK_RUN_DIR": str(folder / "run"),
        "PATH": f"{ARDOCK.parent}:{os.environ['PATH']}",
    }


@contextmanager
def daemon(folder: Path) -> Iterator[None]:
    """`ardock daemon` on the folder, as long as the context lasts."""
    with subprocess.Popen([ARDOCK, "daemon"], env=environment(folder), stderr=subprocess.DEVNULL) as process:
        try:
            words = [str(ARDOCK), "version", "-f", "{{.Server.Pid}}"]
            for _ in range(200):
                said = subprocess.run(words, env=environment(folder), capture_output=True, text=True, check=False)
                if said.stdout.strip() == str(process.pid):
                    break
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_python_of_the_readme_runs(tmp_path: Path) -> None:
    folders = f"{str(tmp_path / 'root')!r}, {str(tmp_path / 'run')!r}"
    code = blocks("python")[0].replace("open_engine()", f"open_engine({folders})").replace("range(1000)", "range(50)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert said[0] == "0 b'hello\\n'"
    assert len(said) == 1 + 50 + 3
    assert said[-1] == "137"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_python_of_the_readme_runs_beside_a_daemon(tmp_path: Path) -> None:
    folders = f"root={str(tmp_path / 'root')!r}, run_dir={str(tmp_path / 'run')!r}"
    code = blocks("python")[1].replace("connect()", f"connect({folders})")
    with daemon(tmp_path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["3", "stdout b'out\\n'", "start ", "die 3"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    "command",
    [
        command
        for command in commands()
        if "ardock run --rm" in command and "--rootfs" in command and "-it" not in command
    ],
)
def test_commands_of_the_readme_run(command: str, tmp_path: Path) -> None:
    """But for the one with a terminal, which has tests of its own."""
    (tmp_path / "data").mkdir()
    tmp_path.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", command.replace("/srv/data", str(tmp_path / "data"))],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_tour_with_the_daemon_runs_as_it_stands(tmp_path: Path) -> None:
    (block,) = (block for block in blocks("sh") if "ardock daemon &" in block)
    first, *tour = block.splitlines()
    assert first == "ardock daemon &"
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed (busybox-static): the tour's image is made of it")
    (tmp_path / "tree").mkdir()
    shutil.copy2(busybox, tmp_path / "tree" / "echo")
    (tmp_path / "tree" / "hello").symlink_to("echo")
    script = "\n".join(["set -ex", *tour]).replace("/srv/tree", str(tmp_path / "tree")).replace("/hello", "/echo hello")
    with daemon(tmp_path):
        done = subprocess.run(
            ["bash", "-c", script], env=environment(tmp_path), capture_output=True, text=True, timeout=50, check=False
        )
        left = subprocess.run(
            [ARDOCK, "ps", "-aq"], env=environment(tmp_path), capture_output=True, text=True, check=True
        )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("+")] == []
    assert left.stdout == ""
    said = done.stdout
    assert "running" in said
    assert '["sh","-c","while date; do sleep 1; done"]' in said
    assert "\n137\n" in said
    assert '"Action":"rename"' in said
    assert "\nhello\n" in said


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_of_the_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_changelog_has_its_form() -> None:
    """keepachangelog.com: an Unreleased section first, known kinds of change."""
    text = (TOP / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)[0] == "Unreleased"
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.parametrize("example", sorted((TOP / "examples").glob("*.py")), ids=lambda path: path.name)
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_examples_run(example: Path, tmp_path: Path) -> None:
    environment = os.environ | {"ARDOCK_ROOT": str(tmp_path / "root"), "ARDOCK_RUN_DIR": str(tmp_path / "run")}
    done = subprocess.run(
        [sys.executable, example],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
