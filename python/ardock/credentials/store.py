"""`CredentialStore`: credentials by registry, in Docker's configuration file or with the helpers that it names.

Source: docker/cli, ``cli/config/configfile`` and ``cli/config/credentials``.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Final, cast

from ardock.credentials.helper import Helper
from ardock.model.errors import InvalidArgument
from ardock.model.registry import Credentials

# Docker Hub's is kept under the address that it had when there was no other registry.
_HUB_KEY: Final = "https://index.docker.io/v1/"
_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_LARGEST: Final = 16 << 20

Json = dict[str, object]


class CredentialStore:
    """What ``docker login`` and ``ardock login`` keep. Nothing is cached: each call reads the file.

    Attributes:
        path: The file.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        """Nothing is read yet.

        Args:
            folder: Where ``config.json`` is; None: ``$DOCKER_CONFIG``, else ``~/.docker``.
        """
        given = folder or os.environ.get("DOCKER_CONFIG") or Path("~/.docker").expanduser()
        self.path = Path(given) / "config.json"

    def __repr__(self) -> str:
        """Where it is."""
        return f"<CredentialStore {self.path}>"

    def get(self, registry: str) -> Credentials:
        """Credentials for a registry; empty where there are none.

        Args:
            registry: As in a `Reference`, such as ``docker.io``.

        Raises:
            InvalidArgument: The file is malformed, or its helper is not installed; field ``credsStore`` then.
            NotPermitted: The file may not be read, or the helper fails.
        """
        config = self._load()
        key = server_key(registry)
        helper = _helper_of(config, key)
        if helper is not None:
            return helper.get(key)
        auths = _table(config, "auths", self.path)
        # A key may also be an address, as older clients wrote it.
        entry = auths.get(key) or next((auths[each] for each in auths if hostname(each) == hostname(key)), None)
        return self._decoded(key, entry) if entry else Credentials()

    def encrypted(self, registry: str) -> bool:
        """Whether credentials for a registry are kept by a helper, and not as they are in the file. Raises as `get`."""
        return _helper_of(self._load(), server_key(registry)) is not None

    def put(self, registry: str, credentials: Credentials) -> None:
        """Keep credentials for a registry.

        Raises:
            InvalidArgument: As `get`; or the file cannot be written.
            NotPermitted: As `get`.
        """
        config = self._load()
        key = server_key(registry)
        auths = _table(config, "auths", self.path)
        helper = _helper_of(config, key)
        if helper is not None:
            helper.store(key, credentials)
            # Docker leaves an empty entry, by which others see that there is something.
            auths[key] = {}
        else:
            auths[key] = _encoded(credentials)
        config["auths"] = auths
        self._save(config)

    def erase(self, registry: str) -> bool:
        """Forget the credentials for a registry; whether there were any. Raises as `put`."""
        config = self._load()
        key = server_key(registry)
        auths = _table(config, "auths", self.path)
        helper = _helper_of(config, key)
        found = False
        if helper is not None:
            found = bool(helper.get(key))
            helper.erase(key)
        for each in [each for each in auths if each == key or hostname(each) == hostname(key)]:
            found = found or bool(auths[each])
            del auths[each]
        config["auths"] = auths
        if found or helper is not None:
            self._save(config)
        return found

    def list(self) -> dict[str, str]:
        """User names by registry; empty for one with an identity token alone. Raises as `get`."""
        config = self._load()
        found: dict[str, str] = {}
        for key, entry in _table(config, "auths", self.path).items():
            if entry:
                found[_registry_of(key)] = self._decoded(key, entry).username
        names = {helper for helper in (config.get("credsStore"),) if helper}
        for name in names:
            found |= {_registry_of(key): user for key, user in Helper(str(name)).list().items()}
        for key, name in _table(config, "credHelpers", self.path).items():
            credentials = Helper(str(name)).get(key)
            if credentials:
                found[_registry_of(key)] = credentials.username
        return found

    def _load(self) -> Json:
        try:
            with self.path.open("rb") as file:
                data = file.read(_LARGEST)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise InvalidArgument(f"{self.path}: {error.strerror}", field="config") from error
        try:
            config: object = json.loads(data) if data.strip() else {}
        except ValueError as error:
            raise InvalidArgument(
                f"{self.path} is no JSON: {error}: mend it, or move it away", field="config"
            ) from error
        if not isinstance(config, dict):
            raise InvalidArgument(f"{self.path} is no JSON object: mend it, or move it away", field="config")
        return cast("Json", config)

    def _save(self, config: Json) -> None:
        """Replace the file: it is there whole, before and after, readable by its owner alone."""
        # What the user linked elsewhere stays there.
        target = self.path.resolve()
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".config.json-")
            try:
                with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
                    json.dump(config, file, indent="\t", ensure_ascii=False)
                    file.write("\n")
                    file.flush()
                    os.fsync(file.fileno())
                with contextlib.suppress(FileNotFoundError):
                    _like(Path(name), target)
                Path(name).replace(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise InvalidArgument(f"{self.path}: cannot be written: {error.strerror}", field="config") from error

    def _decoded(self, key: str, entry: object) -> Credentials:
        if not isinstance(entry, dict):
            raise InvalidArgument(f"{self.path}: auths: {key!r} is no object", field="config")
        fields = {str(name): value for name, value in entry.items() if isinstance(value, str)}
        username, password = fields.get("username", ""), fields.get("password", "")
        if fields.get("auth"):
            try:
                pair = base64.b64decode(fields["auth"], validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise InvalidArgument(
                    f"{self.path}: auths: {key!r} has an auth that is no base64: `ardock login` makes it anew",
                    field="config",
                ) from error
            username, _, password = pair.partition(":")
            # Of old clients, which filled it up.
            password = password.rstrip("\0")
        return Credentials(
            username=username,
            password=password,
            identity_token=fields.get("identitytoken", ""),
            registry_token=fields.get("registrytoken", ""),
        )


def server_key(registry: str) -> str:
    """What credentials for a registry are kept under."""
    return _HUB_KEY if registry in _HUB or registry == _HUB_KEY else hostname(registry)


def hostname(key: str) -> str:
    """Of an address (or what already is one) the host and port."""
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _registry_of(key: str) -> str:
    return "docker.io" if key == _HUB_KEY or hostname(key) in _HUB else hostname(key)


def _helper_of(config: Json, key: str) -> Helper | None:
    helpers = config.get("credHelpers")
    name: object = None
    if isinstance(helpers, dict):
        name = helpers.get(key) or helpers.get(hostname(key))
    name = name or config.get("credsStore")
    return Helper(str(name)) if name else None


def _table(config: Json, name: str, path: Path) -> Json:
    table = config.get(name)
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise InvalidArgument(f"{path}: {name} is no object", field="config")
    return cast("Json", table)


def _encoded(credentials: Credentials) -> Json:
    entry: Json = {}
    if credentials.username or credentials.password:
        pair = f"{credentials.username}:{credentials.password}"
        entry["auth"] = base64.b64encode(pair.encode()).decode("ascii")
    if credentials.identity_token:
        entry["identitytoken"] = credentials.identity_token
    if credentials.registry_token:
        entry["registrytoken"] = credentials.registry_token
    return entry


def _like(path: Path, model: Path) -> None:
    """Give a file another's mode and owner, so that root's login does not take a user's file away from them."""
    status = model.stat()
    path.chmod(stat.S_IMODE(status.st_mode))
    with contextlib.suppress(PermissionError):
        os.chown(path, status.st_uid, status.st_gid)
