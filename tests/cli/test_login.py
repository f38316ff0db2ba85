"""`ardock login` and `logout`, with a real engine and real registries."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.driver import Ardock, Tmux, shell_line
from tests.registry.servers import PASSWORD, USERNAME, Registry, plain_registry, tls_registry
from tests.registry.tokens import IDENTITY, token_registry

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """Wants credentials; its certificate is not trusted, so that the engine has to be told."""
    with tls_registry() as running:
        yield running


class User:
    """Who calls the command, with a folder of Docker's of their own."""

    def __init__(self, ardock: Ardock, folder: Path) -> None:
        self.ardock = ardock
        self.environment = {**os.environ, "DOCKER_CONFIG": str(folder)}
        self.path = folder / "config.json"

    def __call__(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.ardock.words(*words),
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=self.environment,
        )

    @property
    def auths(self) -> dict[str, dict[str, str]]:
        loaded: dict[str, dict[str, str]] = json.loads(self.path.read_text())["auths"]
        return loaded


@pytest.fixture
def user(ardock: Ardock, tmp_path: Path) -> User:
    return User(ardock, tmp_path / "docker")


@pytest.fixture
def trusted(user: User, registry: Registry) -> Iterator[str]:
    """The registry's name, with a daemon that trusts it."""
    with subprocess.Popen(
        user.ardock.words("daemon", "--insecure-registry", registry.host),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as daemon:
        assert daemon.stdout is not None
        try:
            for line in daemon.stdout:
                if b"serving" in line:
                    break
            yield registry.host
        finally:
            daemon.terminate()
            daemon.stdout.read()


def test_credentials_are_tried_and_kept(user: User, trusted: str) -> None:
    wrong = user("login", "-u", USERNAME, "--password-stdin", trusted, stdin="wrong")
    assert wrong.returncode == 1
    assert f"`ardock login {trusted}`" in wrong.stderr
    assert not user.path.exists()

    right = user("login", "-u", USERNAME, "--password-stdin", f"https://{trusted}/v2/", stdin=PASSWORD + "\r\n")
    assert (right.returncode, right.stdout) == (0, "Login Succeeded\n")
    assert "stored unencrypted" in right.stderr
    assert set(user.auths) == {trusted}

    again = user("login", trusted)
    assert again.stdout == "Authenticating with existing credentials...\nLogin Succeeded\n"

    out = user("logout", trusted)
    assert (out.returncode, out.stdout) == (0, f"Removing login credentials for {trusted}\n")
    assert user.auths == {}
    assert user("logout", trusted).stdout == f"Not logged in to {trusted}\n"


def test_a_password_on_the_command_line_is_warned_of(user: User, trusted: str) -> None:
    done = user("login", "-u", USERNAME, "-p", PASSWORD, trusted)
    assert done.returncode == 0
    assert "Use --password-stdin" in done.stderr


def test_a_registry_that_cannot_be_trusted_is_told(user: User, registry: Registry) -> None:
    done = user("login", "-u", USERNAME, "-p", PASSWORD, registry.host)
    assert done.returncode == 1
    assert "certificate is not trusted" in done.stderr


@pytest.mark.parametrize(
    ("words", "stdin", "text"),
    [
        (["-p", "x", "--password-stdin", "-u", "a"], None, "exclude each other"),
        (["--password-stdin"], None, "needs --username"),
        (["-u", "a", "--password-stdin", "h"], "\n", "password is required"),
        (["-u", "a", "-p", "", "h"], None, "password is required"),
        (["h"], None, "no terminal"),
        (["a", "b"], None, "at most one argument"),
        (["https:///"], None, "is no registry"),
        (["-u", "a", "-p", "b", "bad_host:x"], None, "is no registry"),
    ],
)
def test_what_is_wrong_with_the_command_line_is_told(
    user: User, words: list[str], stdin: str | None, text: str
) -> None:
    done = user("login", *words, stdin=stdin)
    assert done.returncode in {1, 125}
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_an_identity_token_takes_the_passwords_place(user: User) -> None:
    with token_registry() as (registry, _):
        done = user("login", "-u", USERNAME, "--password-stdin", registry.host, stdin=PASSWORD)
        assert (done.returncode, done.stdout) == (0, "Login Succeeded\n")
        assert user.auths[registry.host]["identitytoken"] == IDENTITY
        assert PASSWORD not in user.path.read_text()
        assert user("login", registry.host).stdout.endswith("Login Succeeded\n")


def test_it_asks_at_the_terminal_without_showing_the_password(user: User, trusted: str, tmux: Tmux) -> None:
    tmux.enter(f"export DOCKER_CONFIG={user.path.parent}")
    tmux.enter(shell_line(user.ardock.words("login", trusted)))
    tmux.wait_for_words("Username: ")
    tmux.enter(USERNAME)
    tmux.wait_for_words("Password: ")
    tmux.enter(PASSWORD)
    assert PASSWORD not in tmux.wait_for_words("Login Succeeded")
    assert set(user.auths) == {trusted}


def test_a_registry_that_wants_no_credentials_takes_any(user: User) -> None:
    with plain_registry() as registry:
        assert user("login", "-u", "a", "-p", "b", registry.host).returncode == 0
