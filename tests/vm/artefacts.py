"""What a machine is made of, each part kept under a hash of what went into it.

A root file system and a kernel come from Debian's mirror and are kept until their description changes (a newer package of
the same name on the mirror does not count: `rm -r target/vm` begins anew). What is tested is packed anew for each boot, in
about a second: nothing in the machine is compiled.
"""

from __future__ import annotations

import compileall
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Final

import msgspec

from tests.vm.matrix import Kernel, Root

PROJECT: Final = Path(__file__).resolve().parents[2]
GUEST: Final = Path(__file__).with_name("guest")
CACHE: Final = Path(os.environ.get("ARDOCK_VM_CACHE", PROJECT / "target" / "vm"))

ROOT_SIZE: Final = "4G"  # sparse
# What the initramfs loads, where the kernel does not have it built in.
BOOT_MODULES: Final = ("virtio_pci", "virtio_blk", "ext4")
# Not needed to run tests.
_DEVELOPMENT_ONLY: Final = frozenset(
    {"maturin", "mypy", "mypy-extensions", "ruff", "librt", "ast-serialize", "pathspec"}
)
_PLATFORMS: Final = ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64")
_PYTHON: Final = "3.11"


class MachineError(Exception):
    """A part could not be made; the text says which command failed and how."""


def say(text: str) -> None:
    """Tell what takes its time."""
    print(f"vm: {text}", file=sys.stderr, flush=True)


def run(words: Iterable[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """A command's output.

    Raises:
        MachineError: It is not there, or ended otherwise than with 0.
    """
    listed = [str(word) for word in words]
    try:
        done = subprocess.run(listed, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MachineError(f"{listed[0]} is not installed: `make vm` installs what is needed") from None
    if done.returncode != 0:
        raise MachineError(
            f"{' '.join(listed[:4])} ... ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}"
        )
    return done.stdout


def kept(kind: str, description: object, made_by: str) -> Path:
    """Where the thing of this description is kept. `made_by` is counted up where it is made otherwise than before."""
    content = msgspec.json.encode([description, made_by], order="deterministic")
    return CACHE / f"{kind}-{hashlib.sha256(content).hexdigest()[:16]}"


@contextlib.contextmanager
def making(place: Path) -> Iterator[Path]:
    """A new folder that becomes `place` when all went well."""
    CACHE.mkdir(parents=True, exist_ok=True)
    # Not beneath a folder that others may enter: a root file system has set-user-id programs.
    aside = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=CACHE))
    try:
        yield aside
        # One who was quicker has made the same.
        with contextlib.suppress(FileExistsError, OSError):
            aside.rename(place)
        if not place.is_dir():
            raise MachineError(f"{place} could not be made")
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def file_system(folder: Path, image: Path, *, size: str, journal: bool) -> None:
    """An ext4 image of what is in `folder`, with its owners and modes."""
    features = "" if journal else "^has_journal"
    run(["truncate", "-s", size, image])
    options = ["-O", features] if features else []
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", *options, "-d", folder, image])


def root_image(root: Root, mirror: Mapping[str, str]) -> Path:
    """A root file system: ext4 with a journal."""
    place = kept("root", [root, mirror["debian"], ROOT_SIZE], "1")
    if not place.is_dir():
        say(f"making a root of {root.suite} (a minute or two)")
        with making(place) as aside:
            tree = aside / "tree"
            packages = ",".join(root.packages)
            run(["debootstrap", "--variant=minbase", f"--include={packages}", root.suite, tree, mirror["debian"]])
            for path in (tree / "var/cache/apt/archives").glob("*.deb"):
                path.unlink()
            # A boot is to start nothing that it is not for.
            for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer"):
                (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
            (tree / "etc/machine-id").write_text("")
            file_system(tree, aside / "root.img", size=ROOT_SIZE, journal=True)
            shutil.rmtree(tree)
    return place / "root.img"


class KernelFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel's files, and its version as in /lib/modules."""

    version: str
    image: Path
    modules: Path
    initramfs: Path


def kernel_files(kernel: Kernel, mirror: Mapping[str, str]) -> KernelFiles:
    """The kernel of a package, its modules on an image of their own, and an initramfs that finds the root."""
    init = (GUEST / "init").read_text()
    place = kept("kernel", [kernel, mirror, BOOT_MODULES, init], "2")
    if not place.is_dir():
        say(f"fetching {kernel.package} of {', '.join(kernel.suites)}")
        with making(place) as aside:
            tree = aside / "tree"
            run(["dpkg-deb", "-x", _download(kernel, mirror, aside / "apt"), tree])
            modules = tree / "lib/modules"
            (version,) = [path.name for path in modules.iterdir()]
            run(["depmod", "-b", tree, version])
            file_system(modules, aside / "modules.img", size="192M", journal=False)
            shutil.copy2(tree / f"boot/vmlinuz-{version}", aside / "vmlinuz")
            _make_initramfs(modules / version, aside / "initramfs", init)
            (aside / "version").write_text(version)
            shutil.rmtree(tree)
            shutil.rmtree(aside / "apt")
    return KernelFiles(
        version=(place / "version").read_text(),
        image=place / "vmlinuz",
        modules=place / "modules.img",
        initramfs=place / "initramfs",
    )


def _download(kernel: Kernel, mirror: Mapping[str, str], state: Path) -> Path:
    """The package with the kernel itself, by an apt whose sources and state are our own."""
    for name in ("lists/partial", "cache/archives/partial", "here"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    lines = []
    for entry in kernel.suites:
        key, suite = entry.split(" ")
        lines.append(f"deb [signed-by={keyring} arch=amd64] {mirror[key]} {suite} main\n")
    (state / "sources.list").write_text("".join(lines))
    options = [
        *("-o", f"Dir::Etc::SourceList={state}/sources.list", "-o", "Dir::Etc::SourceParts=/dev/null"),
        *("-o", f"Dir::State={state}", "-o", f"Dir::State::status={state}/status", "-o", f"Dir::Cache={state}/cache"),
        *("-o", "APT::Architecture=amd64", "-o", "APT::Sandbox::User=root"),
    ]
    run(["apt-get", "-q", *options, "update"])
    depends = run(["apt-cache", *options, "depends", kernel.package])
    real = re.search(r"^ +Depends: (linux-image-\S+)$", depends, re.MULTILINE)
    if real is None:
        raise MachineError(f"{kernel.package} depends on no kernel:\n{depends}")
    run(["apt-get", "-q", *options, "download", real[1]], cwd=state / "here")
    (package,) = (state / "here").glob("*.deb")
    return package


def _make_initramfs(modules: Path, image: Path, init: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        for folder in ("bin", "dev", "proc", "sys", "root", "modules"):
            (tree / folder).mkdir()
        shutil.copy2("/bin/busybox", tree / "bin/busybox")
        order = _module_order(modules, BOOT_MODULES)
        for path in order:
            shutil.copy2(modules / path, tree / "modules" / Path(path).name)
        (tree / "modules/order").write_text("".join(f"{Path(path).name}\n" for path in order))
        (tree / "init").write_text(init)
        (tree / "init").chmod(0o755)
        archive = "find . | busybox cpio -o -H newc 2>/dev/null | gzip -1"
        with image.open("wb") as out:
            subprocess.run(["sh", "-c", archive], cwd=tree, stdout=out, check=True)


def _module_order(modules: Path, wanted: Iterable[str]) -> list[str]:
    """Paths of modules in an order in which each finds what it depends on; those built in are left out."""
    depends: dict[str, tuple[str, list[str]]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        depends[_module_name(path)] = (path, rest.split())
    builtin = {_module_name(path) for path in (modules / "modules.builtin").read_text().splitlines()}
    order: list[str] = []
    for name in wanted:
        if name in builtin:
            continue
        if name not in depends:
            raise MachineError(f"the kernel has no {name}, neither built in nor as a module")
        path, needs = depends[name]
        # modules.dep lists what is needed with the nearest first.
        order += [one for one in (*reversed(needs), path) if one not in order]
    return order


def _module_name(path: str) -> str:
    return Path(path).name.partition(".")[0].replace("-", "_")


def packages() -> Path:
    """Python packages that the tests need, for the root's Python."""
    lock = (PROJECT / "requirements/dev.lock").read_text()
    entries = [entry for entry in re.split(r"\n(?=[A-Za-z])", lock) if re.match(r"[A-Za-z0-9_.-]+==", entry)]
    chosen = [entry for entry in entries if entry.partition("==")[0].lower() not in _DEVELOPMENT_ONLY]
    place = kept("packages", [chosen, _PLATFORMS, _PYTHON], "1")
    if not place.is_dir():
        say("installing the Python packages that the tests need")
        with making(place) as aside:
            (aside / "lock").write_text("\n".join(chosen) + "\n")
            platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
            run(
                [
                    *(sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"),
                    *("--require-hashes", "--only-binary=:all:", "--python-version", _PYTHON, "--implementation", "cp"),
                    *("--abi", "cp311", "--abi", "abi3", "--abi", "none", *platforms),
                    *("--no-compile", "--target", aside / "site", "-r", aside / "lock"),
                ]
            )
            _compile(aside / "site")
    return place / "site"


def _compile(tree: Path) -> None:
    """Compiled files for the root's Python, where this one is of the same version."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == _PYTHON:
        compileall.compile_dir(tree, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


class RustBinaries(msgspec.Struct, frozen=True, kw_only=True):
    """Rust tests.

    Attributes:
        tests: Their binaries, by ``crate.test``.
        programs: What tests start, by the absolute path at which they were compiled to find it.
    """

    tests: dict[str, Path]
    programs: tuple[Path, ...]


def payload(image: Path, orders: str, *, wheel: Path | None, rust: RustBinaries | None) -> None:
    """What is tested, on an image.

    Args:
        image: Made.
        orders: A program's text, run in the machine at /payload/project; its exit code is the boot's.
        wheel: ardock's own.
        rust: The Rust tests, where they are wanted.
    """
    with tempfile.TemporaryDirectory(prefix="ardock-vm.") as name:
        tree = Path(name)
        shutil.copytree(GUEST, tree / "guest")
        (tree / "orders").write_text(orders)
        (tree / "orders").chmod(0o755)
        _venv(tree / "venv", wheel)
        _project(tree / "project")
        if rust is not None:
            (tree / "rust/programs").mkdir(parents=True)
            for test, binary in rust.tests.items():
                run(["strip", "-g", "-o", tree / "rust" / test, binary])
            for program in rust.programs:
                run(["strip", "-g", "-o", tree / "rust/programs" / program.name, program])
            places = "".join(f"{program}\n" for program in rust.programs)
            (tree / "rust/programs/places").write_text(places)
        blocks = sum(path.lstat().st_size // 4096 + 2 for path in tree.rglob("*"))
        file_system(tree, image, size=str(blocks * 4096 * 5 // 4 + (32 << 20)), journal=False)


def _venv(venv: Path, wheel: Path | None) -> None:
    """A virtual environment for the root's Python at /payload/venv, which none of its programs has to make."""
    site = venv / f"lib/python{_PYTHON}/site-packages"
    shutil.copytree(packages(), site, symlinks=True)
    (venv / "bin").mkdir()
    for name in ("python", "python3"):
        (venv / "bin" / name).symlink_to(f"/usr/bin/python{_PYTHON}")
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    if wheel is not None:
        pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--no-compile")
        run([*pip, "--no-index", "--target", site, wheel])
        shutil.rmtree(site / "bin", ignore_errors=True)
        _compile(site / "ardock")
        (venv / "bin/ardock").write_text(
            "#!/payload/venv/bin/python\nimport sys\nfrom ardock.cli import main\nsys.exit(main())\n"
        )
        (venv / "bin/ardock").chmod(0o755)


def _project(project: Path) -> None:
    """The checkout, as far as tests look at it, without the package itself: the wheel's is tested."""
    ignore = shutil.ignore_patterns("__pycache__", "*.so", "target")
    project.mkdir()
    for name in ("tests", "docs", "examples", "packaging", "bench"):
        shutil.copytree(PROJECT / name, project / name, ignore=ignore, symlinks=True)
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy2(PROJECT / name, project / name)


def built_wheel() -> Path:
    """The wheel of this checkout, as `make wheel` has left it.

    Raises:
        MachineError: There is none.
    """
    found = sorted((PROJECT / "dist").glob("ardock-*.whl"))
    if not found:
        raise MachineError("there is no wheel in dist: `make wheel` builds it")
    return found[-1]


def rust_binaries() -> RustBinaries:
    """The Rust tests of this checkout, built where they are not."""
    say("building the Rust tests")
    words = ["cargo", "test", "--workspace", "--exclude", "ardock-python", "--no-run", "--message-format=json"]
    tests: dict[str, Path] = {}
    programs: list[Path] = []
    for line in run(words, cwd=PROJECT).splitlines():
        message = json.loads(line)
        if not message.get("executable"):
            continue
        executable, target = Path(message["executable"]), message["target"]
        if message["profile"]["test"]:
            crate = Path(message["manifest_path"]).parent.name
            tests[f"{crate}.{target['name']}"] = executable
        elif target["kind"] == ["bin"]:
            programs.append(executable)
    if not tests:
        raise MachineError("cargo names no test binary")
    return RustBinaries(tests=dict(sorted(tests.items())), programs=tuple(programs))
