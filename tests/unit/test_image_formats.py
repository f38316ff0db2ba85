"""Documents of images: indexes, manifests and configurations of every make, read and written."""

from __future__ import annotations

import contextlib
import hashlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardock.engine.images import formats
from ardock.engine.images.formats import Descriptor, Image, Index, Manifest
from ardock.model.errors import ArdockError, InvalidArgument, Unsupported
from ardock.model.image import HealthCheck, HistoryEntry, ImageConfig, Platform

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
# As `docker build` of Docker 20.10 wrote it, with what is of no interest left out; nulls stand where they stand there.
DOCKER = {
    "architecture": "amd64",
    "config": {
        "Hostname": "", "User": "1000:staff", "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Tty": False,
        "Env": ["PATH=/usr/bin:/bin", "EMPTY="], "Cmd": ["serve"], "ArgsEscaped": True, "Image": "sha256:0",
        "Volumes": {"/data": {}}, "WorkingDir": "/srv", "Entrypoint": ["/init", "--"], "OnBuild": None,
        "Labels": {"a": "b"}, "StopSignal": "SIGQUIT", "Shell": ["/bin/ash", "-c"],
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000, "Retries": 3},
    },
    "container": "0", "container_config": {"Cmd": None}, "created": "2021-03-04T05:06:07.123456789Z",
    "docker_version": "20.10.5", "author": "me <me@example.org>", "os": "linux", "variant": "v2",
    "history": [
        {"created": "2021-03-04T05:06:00Z", "created_by": "ADD x in /"},
        {"created": "2021-03-04T05:06:07.123456789Z", "created_by": 'CMD ["serve"]', "empty_layer": True},
        {"created_by": "RUN y", "comment": "last"},
    ],
    "rootfs": {"type": "layers", "diff_ids": [A, B]},
}  # fmt: skip


def described(kind: str, digest: str = A, size: int = 3) -> dict[str, object]:
    return {"mediaType": kind, "digest": digest, "size": size}


def manifest(media_type: str = formats.OCI_MANIFEST, config: str = formats.OCI_CONFIG, **more: object) -> bytes:
    body = {
        "schemaVersion": 2, "mediaType": media_type, "config": described(config),
        "layers": [described(f"{formats.OCI_LAYER}+gzip", B)], **more,
    }  # fmt: skip
    return json.dumps(body).encode()


def test_a_configuration_of_dockers_is_read_whole() -> None:
    image = formats.read_config(json.dumps(DOCKER).encode(), "it")
    assert image.config == ImageConfig(
        user="1000:staff",
        exposed_ports=("80/tcp", "53/udp"),
        env=("PATH=/usr/bin:/bin", "EMPTY="),
        entrypoint=("/init", "--"),
        cmd=("serve",),
        volumes=("/data",),
        working_dir="/srv",
        labels={"a": "b"},
        stop_signal="SIGQUIT",
        healthcheck=HealthCheck(test=("CMD-SHELL", "true"), interval=5_000_000_000, retries=3),
        shell=("/bin/ash", "-c"),
    )
    assert image.platform == Platform(os="linux", architecture="amd64", variant="v2")
    assert image.diff_ids == (A, B)
    assert image.created_at == 1_614_834_367_123_456_789
    assert [step.layer for step in image.history] == [A, "", B]
    assert image.author == "me <me@example.org>"
    assert image.docker_version == "20.10.5"


@pytest.mark.parametrize(
    "config",
    [None, {}, {"Env": None, "Cmd": None, "Entrypoint": None, "Volumes": None, "Labels": None, "ExposedPorts": None}],
)
def test_what_is_null_or_missing_is_nothing(config: object) -> None:
    image = formats.read_config(json.dumps({"config": config}).encode(), "it")
    assert image.config == ImageConfig()
    assert (image.diff_ids, image.created_at, image.platform.architecture) == ((), 0, "")


def test_a_command_of_one_string_is_one_word() -> None:
    image = formats.read_config(b'{"config":{"Cmd":"sh","Entrypoint":"/x y"}}', "it")
    assert (image.config.cmd, image.config.entrypoint) == (("sh",), ("/x y",))


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=10)
configs = st.builds(
    ImageConfig,
    user=words,
    exposed_ports=st.sets(words, max_size=2).map(lambda them: tuple(sorted(them))),
    env=st.lists(words, max_size=2).map(tuple),
    entrypoint=st.lists(words, max_size=2).map(tuple),
    cmd=st.lists(words, max_size=2).map(tuple),
    volumes=st.sets(words, max_size=2).map(lambda them: tuple(sorted(them))),
    labels=st.dictionaries(words, words, max_size=2),
    healthcheck=st.none() | st.builds(HealthCheck, test=st.just(("CMD", "x")), retries=st.integers(0, 9)),
)


@given(configs, st.integers(0, 4_000_000_000_999_999_999), words)
def test_what_is_written_is_read_back(config: ImageConfig, created: int, author: str) -> None:
    image = Image(
        config=config,
        platform=Platform(os="linux", architecture="arm64"),
        diff_ids=(A, C),
        history=(
            HistoryEntry(created_at=created, created_by="x", layer=A),
            HistoryEntry(empty_layer=True),
            HistoryEntry(layer=C),
        ),
        created_at=created,
        author=author,
    )
    data = formats.write_config(image)
    assert formats.read_config(data, "it") == image
    assert formats.write_config(formats.read_config(data, "it")) == data
    assert json.loads(data)["rootfs"]["type"] == "layers"


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | words, st.lists).map(lambda it: json.dumps(it).encode())
)
def test_garbage_is_refused_by_name(data: bytes) -> None:
    for read in (formats.read_config, formats.read_index, formats.read_manifest):
        # An empty object is a configuration and an index without anything in it.
        with contextlib.suppress(ArdockError):
            read(data, "the thing")
    with pytest.raises(ArdockError, match="the thing"):
        formats.read_any(data, "", "the thing")


def test_manifests_and_indexes_are_told_apart() -> None:
    index = json.dumps({"schemaVersion": 2, "manifests": [described(formats.OCI_MANIFEST)]}).encode()
    assert isinstance(formats.read_any(manifest(), formats.OCI_MANIFEST, "it"), Manifest)
    assert isinstance(formats.read_any(manifest(formats.DOCKER_MANIFEST, formats.DOCKER_CONFIG), "", "it"), Manifest)
    assert isinstance(formats.read_any(index, formats.DOCKER_INDEX, "it"), Index)
    # Without any media type, by what is in it (image-spec: mediaType SHOULD be there).
    assert isinstance(formats.read_any(index, "", "it"), Index)
    untyped = json.loads(manifest())
    del untyped["mediaType"]
    assert isinstance(formats.read_any(json.dumps(untyped).encode(), "application/json", "it"), Manifest)


@pytest.mark.parametrize(
    ("data", "media_type", "kind", "words"),
    [
        (b'{"schemaVersion":1,"fsLayers":[]}', "", Unsupported, "schema 1"),
        (b'{"schemaVersion":2}', formats.DOCKER_SCHEMA_1[1], Unsupported, "schema 1"),
        (b'{"schemaVersion":2}', "text/html", InvalidArgument, "text/html"),
        (b"<html>", "", InvalidArgument, "no image manifest"),
        (manifest(config="application/vnd.cncf.helm.config.v1+json"), "", Unsupported, "helm"),
        (
            manifest(layers=[described("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")]),
            "",
            Unsupported,
            "foreign",
        ),
        (manifest(layers=[described("x", "sha256:12")]), "", InvalidArgument, "sha256"),
        (manifest(layers=[described("x", "md5:" + "a" * 32)]), "", Unsupported, "md5"),
        (manifest(layers=[described("x", A, -1)]), "", InvalidArgument, "-1"),
        (manifest(layers=[described("x")] * 501), "", InvalidArgument, "501"),
    ],
)
def test_what_is_not_taken_is_refused_by_name(
    data: bytes, media_type: str, kind: type[ArdockError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        formats.read_any(data, media_type, "it")


def test_chain_ids_are_those_of_the_specification() -> None:
    assert formats.chain_ids(()) == ()
    assert formats.chain_ids((A,)) == ("a" * 64,)
    second = hashlib.sha256(f"{A} {B}".encode()).hexdigest()
    third = hashlib.sha256(f"sha256:{second} {C}".encode()).hexdigest()
    assert formats.chain_ids((A, B, C)) == ("a" * 64, second, third)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("2021-03-04T05:06:07.5+01:00", 1_614_830_767_500_000_000),
        ("2021-03-04t05:06:07.123456789z", 1_614_834_367_123_456_789),
        ("2021-13-04T05:06:07Z", None),
        ("yesterday", None),
    ],
)
def test_times_are_read(text: str, time: int | None) -> None:
    assert formats.parse_time(text) == time


def test_a_descriptor_in_json_is_the_specifications() -> None:
    descriptor = Descriptor(
        media_type="x/y",
        digest=A,
        size=1,
        annotations={"k": "v"},
        platform=Platform(os="linux", architecture="arm", variant="v7"),
    )
    assert json.loads(msgspec.json.encode(descriptor)) == {
        "mediaType": "x/y", "digest": A, "size": 1, "annotations": {"k": "v"},
        "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
    }  # fmt: skip
