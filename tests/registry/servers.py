"""Real registries for tests: Debian's `docker-registry` on loopback, with storage in a temporary folder.

    with plain_registry() as registry:
        image = registry.put_image("app", "1", layers=[b"..."])

Each takes some 50 ms to start. Skipped visibly where the program is missing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urljoin

import pytest

from ardock.model.registry import Credentials

USERNAME = "alice"
PASSWORD = "secret"
# bcrypt of PASSWORD, which is the only form that docker-registry reads; made by libcrypt.
_HTPASSWD = f"{USERNAME}:$2b$05$ardockardockardockardeP2cTp3bq11Ux1E8XqdslaZVco.K0cx2\n"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Image(NamedTuple):
    """What was put into a registry.

    Attributes:
        digest: Of the manifest.
        manifest: Its bytes.
        config: Digest of the config.
        layers: Digests of the layers.
    """

    digest: str
    manifest: bytes
    config: str
    layers: tuple[str, ...]


class Registry:
    """A registry that runs.

    Attributes:
        host: ``127.0.0.1:port``.
        scheme: ``http`` or ``https``.
        storage: Its folder; ``docker/registry/v2`` beneath it.
        certificates: A folder in the layout of ``certs.d`` that vouches for it; empty without TLS.
        credentials: That let in; empty where anybody may.
        log: What it told so far.
    """

    def __init__(self, folder: Path, config: dict[str, Any], *, tls: bool, credentials: Credentials) -> None:
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.scheme = "https" if tls else "http"
        self.storage = folder / "storage"
        self.certificates = str(folder / "certs.d") if tls else ""
        self.credentials = credentials
        self._folder = folder
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        if tls:
            own = folder / "certs.d" / self.host
            own.mkdir(parents=True)
            shutil.copy(folder / "ca.crt", own / "ca.crt")

    @property
    def url(self) -> str:
        """Of its root."""
        return f"{self.scheme}://{self.host}"

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    def start(self) -> None:
        """Start it (again), on the same port with the same storage."""
        config = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}, "delete": {"enabled": True}},
            **self._config,
        }
        config["http"] = {"addr": self.host, "secret": "of a test", **self._config.get("http", {})}
        path = self._folder / "config.yml"
        path.write_text(json.dumps(config))  # JSON is YAML, too
        program = shutil.which("docker-registry")
        assert program is not None
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "serve", str(path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    pytest.fail(f"docker-registry does not start:\n{self.log[-2000:]}")
                time.sleep(0.01)

    def stop(self) -> None:
        """End it, at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def request(
        self, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request by other means than the client under test, with the credentials: status, headers, body."""
        sent = dict(headers or {})
        if self.credentials.username:
            pair = f"{self.credentials.username}:{self.credentials.password}".encode()
            sent["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        context = None
        if self.scheme == "https":
            context = ssl.create_default_context(cafile=self._folder / "ca.crt")
        asked = urllib.request.Request(urljoin(self.url, path), data=data, headers=sent, method=method)
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(asked, timeout=20) as answer:
                return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()

    def put_blob(self, repository: str, data: bytes, algorithm: str = "sha256") -> str:
        """Put a blob there; its digest."""
        digest = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        status, headers, body = self.request("POST", f"/v2/{repository}/blobs/uploads/", b"")
        assert status == 202, body
        place = headers["location"]
        place += f"{'&' if '?' in place else '?'}digest={digest}"
        status, _, body = self.request("PUT", place, data, {"Content-Type": "application/octet-stream"})
        assert status == 201, body
        return digest

    def put_manifest(self, repository: str, tag: str, data: bytes, media_type: str = _MANIFEST) -> str:
        """Put a manifest there; its digest."""
        status, headers, body = self.request(
            "PUT", f"/v2/{repository}/manifests/{tag}", data, {"Content-Type": media_type}
        )
        assert status == 201, body
        return headers["docker-content-digest"]

    def put_image(
        self, repository: str, tag: str, layers: Sequence[bytes], config: dict[str, Any] | None = None
    ) -> Image:
        """Put an image there whose layers are these bytes, whatever they are."""
        encoded = json.dumps(config or {"architecture": "amd64", "os": "linux", "config": {}}).encode()
        digests = tuple(self.put_blob(repository, layer) for layer in layers)
        config_digest = self.put_blob(repository, encoded)
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {"mediaType": _CONFIG, "digest": config_digest, "size": len(encoded)},
                "layers": [
                    {"mediaType": _LAYER, "digest": digest, "size": len(layer)}
                    for digest, layer in zip(digests, layers, strict=True)
                ],
            }
        ).encode()
        return Image(self.put_manifest(repository, tag, manifest), manifest, config_digest, digests)

    def uploads(self, repository: str) -> list[str]:
        """Upload sessions that are open. (Of one that was given up, docker-registry 2.8 leaves the state of its hash.)"""
        folder = self.storage / "docker/registry/v2/repositories" / repository / "_uploads"
        return sorted(path.parent.name for path in folder.glob("*/startedat"))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def plain_registry(config: dict[str, Any] | None = None) -> Iterator[Registry]:
    """A registry without TLS that lets everybody do everything.

    Args:
        config: Further parts of its configuration file.
    """
    with _folder() as folder, _running(Registry(folder, config or {}, tls=False, credentials=Credentials())) as running:
        yield running


@contextmanager
def tls_registry(
    config: dict[str, Any] | None = None,
    *,
    auth: bool = True,
    client_certificate: bool = False,
    names: str = "IP:127.0.0.1,DNS:localhost",
) -> Iterator[Registry]:
    """A registry with TLS by an authority of its own, and basic credentials.

    Args:
        config: Further parts of its configuration file.
        auth: Whether it wants credentials.
        client_certificate: Whether it wants to be shown a certificate; `certificates` has one then.
        names: What its certificate is for.
    """
    with _folder() as folder:
        authority = Authority(folder)
        certificate, key = authority.issue("server", names)
        tls: dict[str, Any] = {"certificate": str(certificate), "key": str(key)}
        if client_certificate:
            tls["clientcas"] = [str(folder / "ca.crt")]
        parts: dict[str, Any] = {"http": {"tls": tls}, **(config or {})}
        if auth:
            (folder / "htpasswd").write_text(_HTPASSWD)
            parts["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
        credentials = Credentials(username=USERNAME, password=PASSWORD) if auth else Credentials()
        registry = Registry(folder, parts, tls=True, credentials=credentials)
        if client_certificate:
            own = Path(registry.certificates) / registry.host
            certificate, key = authority.issue("client", "DNS:client")
            shutil.copy(certificate, own / "client.cert")
            shutil.copy(key, own / "client.key")
        with _running(registry):
            yield registry


class Authority:
    """A certificate authority of a test: `ca.crt` in its folder."""

    def __init__(self, folder: Path, *, algorithm: Literal["ec", "rsa"] = "ec") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        self._folder = folder
        option = "ec_paramgen_curve:P-256" if algorithm == "ec" else "rsa_keygen_bits:2048"
        self._newkey = ("-newkey", algorithm, "-pkeyopt", option)
        self._openssl(
            *("req", "-x509", *self._newkey, "-nodes", "-days", "2"),
            *("-subj", "/CN=an authority of a test", "-keyout", "ca.key", "-out", "ca.crt"),
            *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"),
        )

    def issue(self, name: str, names: str) -> tuple[Path, Path]:
        """A certificate for these subjectAltNames, and its key."""
        self._openssl(
            *("req", "-x509", "-CA", "ca.crt", "-CAkey", "ca.key", *self._newkey),
            *("-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.crt", "-addext", f"subjectAltName={names}"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
        )
        return self._folder / f"{name}.crt", self._folder / f"{name}.key"

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)


@contextmanager
def _folder() -> Iterator[Path]:
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    with tempfile.TemporaryDirectory(prefix="ardock-registry-") as folder:
        yield Path(folder)


@contextmanager
def _running(registry: Registry) -> Iterator[Registry]:
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()
