"""Images beside skopeo, umoci, docker and buildah: digests are the same both ways, and so are the trees."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import trio

from ardock.engine.snapshots import Overlay, Vfs
from tests.engine.images import made
from tests.engine.images.stores import chunks, store
from tests.registry.servers import Registry, plain_registry

pytestmark = [pytest.mark.root, pytest.mark.peer]

Docker = Callable[..., "subprocess.CompletedProcess[str]"]

# What layers have in them that is easily got wrong. Each instruction is a layer.
DOCKERFILE = r"""
FROM scratch
ADD root.tar /
RUN set -e; mkdir -p /d/deep/er /opq/sub /tosswitch /sticky "/a b" "/ü"; chmod 1777 /sticky; chmod 0700 /d/deep; \
  echo one > /d/file; ln /d/file /hard; ln /d/file /d/deep/hard2; ln -s /d/file /abs; ln -s ../nowhere /d/broken; \
  mkfifo /fifo; mknod /null c 1 3; mknod /loop b 7 0; echo s > /suid; chmod 4755 /suid; echo g > /sgid; chmod 2711 /sgid; \
  chown 12345:54321 /d/file; echo big > /big; chown 3000000:3000001 /big; touch -d 1970-01-02 /old; \
  dd if=/dev/zero of=/sparse bs=1 count=1 seek=3000000 2>/dev/null; echo x > "/a b/c d"; echo y > "/ü/ñ"; \
  n=$(printf '%0120d' 0); mkdir -p /$n/$n; echo long > /$n/$n/$n; \
  echo 1 > /opq/old; echo 2 > /opq/sub/old; echo 3 > /gone; echo 4 > /tosswitch/in; echo 5 > /tofolder; mkdir /modes; \
  touch -d '2001-02-03 04:05:06' /modes
RUN set -e; rm /gone /hard; rm -r /opq; mkdir /opq; echo new > /opq/new; rm -r /tosswitch; echo file > /tosswitch; \
  rm /tofolder; mkdir /tofolder; echo in > /tofolder/in; chmod 0600 /d/file; chmod 0711 /modes; touch -d 2002-03-04 /modes; \
  ln /sgid /sgid2; rm /abs; ln -s relative /abs; mv /suid /moved
RUN set -e; rm -r /d/deep; mkdir -p /d/deep/er; echo again > /d/deep/er/file; rm /tosswitch; mkdir /tosswitch; \
  echo back > /gone; touch -d 2010-01-01 /d/deep
COPY copied /copied/file
"""


def run(*words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, cwd=cwd)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def needs(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with plain_registry() as running:
        yield running


@pytest.fixture(scope="module")
def context(busybox_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to build in."""
    folder = tmp_path_factory.mktemp("context")
    with tarfile.open(folder / "root.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(busybox_root, ".")
        capable = tarfile.TarInfo("capable")
        capable.mode, capable.size, capable.mtime = 0o755, 1, 1_000_000_000
        # cap_net_raw=ep, as setcap writes it.
        capable.pax_headers = {"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20" + "\x00" * 14}
        tar.addfile(capable, io.BytesIO(b"c"))
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "copied").write_text("copied")
    return folder


def build_with_docker(docker: Docker, context: Path, folder: Path) -> Path:
    """The image in an archive of docker's; docker itself has it from there."""
    built = docker("build", "--network", "none", "-t", "odd:1", str(context))
    assert built.returncode == 0, built.stdout + built.stderr
    archive = folder / "docker.tar"
    for words in (("save", "-o", str(archive), "odd:1"), ("rmi", "odd:1"), ("load", "-i", str(archive))):
        done = docker(*words)
        assert done.returncode == 0, done.stderr
    return archive


def build_with_buildah(docker: Docker, context: Path, folder: Path) -> Path:
    """The image in a layout of buildah's; docker has it by skopeo."""
    needs("buildah", "skopeo")
    root = ("--root", str(folder / "storage"), "--runroot", str(folder / "run"), "--storage-driver", "vfs")
    built = subprocess.run(
        ["buildah", *root, "bud", "--isolation", "chroot", "--cap-add", "CAP_MKNOD", "--layers", "-t", "odd:1", str(context)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if built.returncode != 0:
        pytest.skip(f"buildah cannot build here: {built.stderr[-300:]}")
    run("buildah", *root, "push", "--format", "oci", "odd:1", f"oci:{folder}/layout:odd:1")
    run("skopeo", "copy", f"oci:{folder}/layout:odd:1", f"docker-archive:{folder}/docker.tar:odd:1")
    done = docker("load", "-i", f"{folder}/docker.tar")
    assert done.returncode == 0, done.stderr
    return folder / "layout"


def merged(layers: Sequence[str]) -> dict[str, dict[str, object]]:
    """What an overlay of these directories (the topmost first) shows."""
    script = 'mount -t tmpfs none /mnt && mkdir /mnt/m /mnt/e && n=0 && for l; do mkdir /mnt/l$n && mount --bind "$l" /mnt/l$n && '
    script += 'lower=$lower:/mnt/l$n && n=$((n+1)) || exit 1; done && mount -t overlay -o "lowerdir=${lower#:}:/mnt/e" none /mnt/m && '
    script += f"exec {sys.executable} -m tests.engine.peer.listing /mnt/m"
    found: dict[str, dict[str, object]] = json.loads(
        run("unshare", "-m", "sh", "-c", script, "sh", *layers, cwd=Path(__file__).parents[3])
    )
    return found


def of_docker(docker: Docker, image: str) -> dict[str, dict[str, object]]:
    done = docker("image", "inspect", "--format", "{{json .GraphDriver}}", image)
    assert done.returncode == 0, done.stderr
    driver = json.loads(done.stdout)
    assert driver["Name"] == "overlay2"
    data = driver["Data"]
    return merged([data["UpperDir"], *filter(None, data.get("LowerDir", "").split(":"))])


def without_links(tree: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    return {path: {key: value for key, value in about.items() if key != "links"} for path, about in tree.items()}


def differences(one: dict[str, dict[str, object]], other: dict[str, dict[str, object]]) -> list[str]:
    lines = [f"only in the first: {path}" for path in sorted(one.keys() - other.keys())]
    lines += [f"only in the second: {path}" for path in sorted(other.keys() - one.keys())]
    for path in sorted(one.keys() & other.keys()):
        for key in one[path].keys() | other[path].keys():
            if one[path].get(key) != other[path].get(key):
                lines.append(f"{path}: {key} {one[path].get(key)} != {other[path].get(key)}")
    return lines


@pytest.mark.timeout(400)
@pytest.mark.parametrize("build", [build_with_docker, build_with_buildah])
def test_a_tree_is_the_one_that_docker_and_umoci_unpack(
    tmp_path: Path, docker: Docker, context: Path, build: Callable[[Docker, Path, Path], Path]
) -> None:
    archive = build(docker, context, tmp_path)
    theirs = of_docker(docker, "odd:1")
    assert len(theirs) > 30

    async def ours(driver: type[Overlay | Vfs]) -> tuple[dict[str, dict[str, object]], bytes]:
        async with store(tmp_path / driver.__name__, driver=driver) as (images, _):
            (loaded,) = await images.load(archive)
            async with images.save([loaded.names[0] if loaded.names else loaded.id]) as stream:
                data = b"".join([piece async for piece in stream])
            return merged(images.layers_of(loaded.id)), data

    tree, data = trio.run(ours, Overlay)
    assert differences(tree, theirs) == []
    # The drivers that apply one layer onto another show the same, but that an overlay counts the names of a file that are hidden.
    applied = trio.run(ours, Vfs)[0]
    assert differences(without_links(applied), without_links(theirs)) == []
    if shutil.which("umoci") is not None:
        layout = tmp_path / "for-umoci"
        layout.mkdir()
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            tar.extractall(layout, filter="data")
        run("umoci", "unpack", "--image", f"{layout}:1", str(tmp_path / "bundle"))
        unpacked = merged([str(tmp_path / "bundle" / "rootfs")])
        # It applies them, too.
        assert differences(applied, unpacked) == []


async def test_digests_are_the_same_both_ways(tmp_path: Path, registry: Registry) -> None:
    needs("skopeo")
    image = made.image({"a": b"1" * 100_000}, {"b": b"2"})
    layout = made.layout(tmp_path / "layout", {"it": image})
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    run("skopeo", "copy", *plain, f"oci:{layout}:it", f"docker://{registry.host}/theirs:1")
    async with store(tmp_path / "root") as (images, _):
        info = await images.pull(f"{registry.host}/theirs:1")
        assert info.id == image.id
        assert info.digests == (f"{registry.host}/theirs@{image.digest}",)
        await images.tag(info.id, f"{registry.host}/ours:1")
        pushed = await images.push(f"{registry.host}/ours:1")
        assert pushed.digest == image.digest
        # What was made here, skopeo takes with the same digests, too.
        source = tmp_path / "source"
        source.mkdir()
        (source / "f").write_text("x")
        own = await images.import_tree(source, f"{registry.host}/own:1")
        pushed = await images.push(f"{registry.host}/own:1")
        async with images.save([f"{registry.host}/own:1"]) as stream:
            (tmp_path / "own.tar").write_bytes(b"".join([piece async for piece in stream]))
    told = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{registry.host}/ours:1"))
    assert told["Digest"] == image.digest
    for name, digest in (("ours", image.digest), ("own", pushed.digest)):
        run("skopeo", "copy", *plain, f"docker://{registry.host}/{name}:1", f"oci:{tmp_path}/{name}:1")
        index = json.loads((tmp_path / name / "index.json").read_text())
        assert index["manifests"][0]["digest"] == digest
    # Our archive is a layout and an archive of docker's: by skopeo's reading, too.
    run("skopeo", "copy", f"oci-archive:{tmp_path}/own.tar", f"oci:{tmp_path}/again:1")
    run("skopeo", "copy", f"docker-archive:{tmp_path}/own.tar", f"oci:{tmp_path}/dockers:1")
    for name in ("again", "dockers"):
        index = json.loads((tmp_path / name / "index.json").read_text())
        manifest = json.loads((tmp_path / name / made.path_of(index["manifests"][0]["digest"])).read_text())
        assert manifest["config"]["digest"] == own.id


async def test_docker_takes_what_is_saved(tmp_path: Path, docker: Docker) -> None:
    image = made.image({"bin": None, "bin/x": b"1"}, {"y": b"2"}, config={"Cmd": ["/bin/x"]})
    async with store(tmp_path / "root") as (images, _):
        await images.load(made.layout(tmp_path / "layout", {"taken:1": image}))
        async with images.save(["taken:1"]) as stream:
            (tmp_path / "saved.tar").write_bytes(b"".join([piece async for piece in stream]))
        done = docker("load", "-i", str(tmp_path / "saved.tar"))
        assert (done.returncode, done.stdout) == (0, "Loaded image: taken:1\n"), done.stderr
        done = docker("image", "inspect", "--format", "{{.Id}} {{json .Config.Cmd}}", "taken:1")
        assert done.stdout == f'{image.id} ["/bin/x"]\n'
        # And we what docker saves.
        done = docker("save", "-o", str(tmp_path / "docker.tar"), "taken:1")
        assert done.returncode == 0, done.stderr
        assert [each.id for each in await images.load(chunks((tmp_path / "docker.tar").read_bytes()))] == [image.id]
