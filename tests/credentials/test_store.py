"""The user's credentials: Docker's file, and credential helpers as real programs."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ardock.credentials import CredentialStore
from ardock.model.errors import InvalidArgument, NotPermitted
from ardock.model.registry import Credentials

HUB = "https://index.docker.io/v1/"
ALICE = Credentials(username="alice", password="se:cret")


def auth(pair: str) -> dict[str, str]:
    return {"auth": base64.b64encode(pair.encode()).decode()}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[object], CredentialStore]:
    def write(config: object) -> CredentialStore:
        (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        return CredentialStore(tmp_path)

    return write


def read(store: CredentialStore) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(store.path.read_text())
    return loaded


# --- the file ---


def test_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    assert CredentialStore().path == tmp_path / ".docker/config.json"
    monkeypatch.setenv("DOCKER_CONFIG", "/elsewhere")
    assert CredentialStore().path == Path("/elsewhere/config.json")
    assert CredentialStore(tmp_path).path == tmp_path / "config.json"


@pytest.mark.parametrize(
    ("registry", "entry", "credentials"),
    [
        ("docker.io", {HUB: auth("alice:se:cret")}, ALICE),
        ("index.docker.io", {HUB: auth("alice:se:cret")}, ALICE),
        ("localhost:5000", {"localhost:5000": auth("alice:se:cret")}, ALICE),
        ("localhost:5000", {"http://localhost:5000/v2/": auth("alice:se:cret")}, ALICE),
        ("example.com", {"https://example.com": auth("alice:se:cret")}, ALICE),
        ("example.com", {"example.com": auth("alice:se:cret\0\0")}, ALICE),
        ("example.com", {"example.com": {"username": "alice", "password": "se:cret"}}, ALICE),
        ("example.com", {"example.com": {**auth("alice:"), "identitytoken": "x"}},
         Credentials(username="alice", identity_token="x")),
        ("example.com", {"example.com": {"registrytoken": "x"}}, Credentials(registry_token="x")),
        ("example.com", {"example.com:5000": auth("alice:secret")}, Credentials()),
        ("example.com", {"example.com": {}}, Credentials()),
        ("example.com", {"sub.example.com": auth("alice:secret")}, Credentials()),
    ],
)  # fmt: skip
def test_what_docker_wrote_is_read(
    write: Callable[[object], CredentialStore], registry: str, entry: object, credentials: Credentials
) -> None:
    assert write({"auths": entry}).get(registry) == credentials


def test_nothing_is_there(tmp_path: Path, write: Callable[[object], CredentialStore]) -> None:
    store = CredentialStore(tmp_path)
    assert store.get("docker.io") == Credentials()
    assert store.list() == {}
    assert not store.erase("docker.io")
    assert not store.path.exists()
    assert write("").get("docker.io") == Credentials()
    assert write({"auths": None}).get("docker.io") == Credentials()


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("{", "is no JSON"),
        ([], "is no JSON object"),
        ({"auths": []}, "auths is no object"),
        ({"auths": {"a": "x"}}, "'a' is no object"),
        ({"auths": {"a": {"auth": "?"}}}, "no base64: `ardock login`"),
        ({"credsStore": "../evil"}, "no name of a credential helper"),
    ],
)
def test_a_file_that_is_malformed_is_named(
    write: Callable[[object], CredentialStore], config: object, text: str
) -> None:
    store = write(config)
    with pytest.raises(InvalidArgument, match=text):
        store.get("a")


def test_what_is_written_is_dockers_and_leaves_the_rest_alone(write: Callable[[object], CredentialStore]) -> None:
    store = write({"HttpHeaders": {"X": "ö"}, "auths": {"other": auth("b:c")}, "psFormat": "x"})
    store.put("docker.io", ALICE)
    store.put("localhost:5000", Credentials(username="alice", identity_token="token"))
    assert read(store) == {
        "HttpHeaders": {"X": "ö"},
        "auths": {
            "other": auth("b:c"),
            HUB: auth("alice:se:cret"),
            "localhost:5000": {**auth("alice:"), "identitytoken": "token"},
        },
        "psFormat": "x",
    }
    assert store.get("docker.io") == ALICE
    assert store.list() == {"other": "b", "docker.io": "alice", "localhost:5000": "alice"}
    assert store.erase("docker.io")
    assert not store.erase("docker.io")
    assert set(read(store)["auths"]) == {"other", "localhost:5000"}


def test_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path / "new")
    before = os.umask(0)
    try:
        store.put("a", ALICE)
    finally:
        os.umask(before)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    # As the user has it.
    store.path.chmod(0o640)
    store.put("a", ALICE)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o640
    assert os.listdir(store.path.parent) == ["config.json"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    target = tmp_path / "dotfiles" / "docker.json"
    target.parent.mkdir()
    target.write_text("{}")
    (tmp_path / "config.json").symlink_to("dotfiles/docker.json")
    store = CredentialStore(tmp_path)
    store.put("a", ALICE)
    assert store.path.is_symlink()
    assert json.loads(target.read_text())["auths"] == {"a": auth("alice:se:cret")}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgument, match="Not a directory"):
        CredentialStore(tmp_path / "file").put("a", ALICE)


# --- helpers ---

HELPER = """#!{python}
import json, os, sys
path = {path!r}
kept = json.load(open(path)) if os.path.exists(path) else {{}}
action, given = sys.argv[1], sys.stdin.read()
def fail(text):
    print(text)
    sys.exit(1)
if action == "get":
    if given not in kept:
        fail("credentials not found in native keychain")
    print(json.dumps(kept[given]))
elif action == "store":
    record = json.loads(given)
    kept[record["ServerURL"]] = record
elif action == "erase":
    if given not in kept:
        fail("credentials not found in native keychain")
    del kept[given]
elif action == "list":
    print(json.dumps({{key: each["Username"] for key, each in kept.items()}}))
json.dump(kept, open(path, "w"))
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Makes a program ``docker-credential-<name>`` that can be found; the path of what it keeps."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    def make(name: str, text: str = HELPER) -> Path:
        path = tmp_path / f"{name}.json"
        program = programs / f"docker-credential-{name}"
        program.write_text(text.format(python=sys.executable, path=str(path)) if text is HELPER else text)
        program.chmod(0o755)
        return path

    return make


def test_a_helper_keeps_what_the_file_does_not(
    write: Callable[[object], CredentialStore], helper: Callable[..., Path]
) -> None:
    path = helper("test")
    store = write({"credsStore": "test"})
    assert store.encrypted("docker.io")
    assert store.get("docker.io") == Credentials()
    store.put("docker.io", ALICE)
    store.put("example.com", Credentials(username="alice", identity_token="token"))
    assert json.loads(path.read_text()) == {
        HUB: {"ServerURL": HUB, "Username": "alice", "Secret": "se:cret"},
        "example.com": {"ServerURL": "example.com", "Username": "<token>", "Secret": "token"},
    }
    assert read(store)["auths"] == {HUB: {}, "example.com": {}}
    assert store.get("docker.io") == ALICE
    assert store.get("example.com") == Credentials(identity_token="token")
    assert store.list() == {"docker.io": "alice", "example.com": "<token>"}
    assert store.erase("docker.io")
    assert not store.erase("docker.io")
    assert read(store)["auths"] == {"example.com": {}}


def test_a_registry_may_have_a_helper_of_its_own(
    write: Callable[[object], CredentialStore], helper: Callable[..., Path]
) -> None:
    path = helper("own")
    store = write({"credHelpers": {"example.com": "own", HUB: "own"}, "auths": {"other": auth("b:c")}})
    store.put("example.com", ALICE)
    assert set(json.loads(path.read_text())) == {"example.com"}
    assert store.get("other") == Credentials(username="b", password="c")
    assert not store.encrypted("other")
    assert store.list() == {"other": "b", "example.com": "alice"}


def test_a_helper_that_is_missing_is_told_with_the_remedy(write: Callable[[object], CredentialStore]) -> None:
    store = write({"credsStore": "nowhere-to-be-found"})
    with pytest.raises(
        InvalidArgument, match="docker-credential-nowhere-to-be-found is not installed: install it, or"
    ) as caught:
        store.get("docker.io")
    assert caught.value.field == "credsStore"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("#!/bin/sh\necho 'the keychain\nis locked'; exit 2\n", "docker-credential-bad get: the keychain is locked"),
        ("#!/bin/sh\nexit 1\n", "it fails and does not say why"),
        ("#!/bin/sh\necho nonsense\n", "its answer cannot be read"),
        ("#!/bin/sh\nyes\n", "more than 1 MiB"),
        ("#!/bin/sh\nexec >&-; sleep 0.2; kill -9 $$\n", "it fails and does not say why"),
    ],
)
def test_a_helper_that_fails_is_told_in_its_words(
    write: Callable[[object], CredentialStore], helper: Callable[..., Path], text: str, told: str
) -> None:
    helper("bad", text)
    with pytest.raises(NotPermitted, match=told):
        write({"credsStore": "bad"}).get("docker.io")


def test_a_helper_that_hangs_is_not_waited_for_long(
    write: Callable[[object], CredentialStore], helper: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ardock.credentials.helper._PATIENCE", 0.2)
    helper("slow", "#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(NotPermitted, match="does not answer within"):
        write({"credsStore": "slow"}).get("docker.io")
