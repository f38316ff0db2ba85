"""The description of the virtual machines, held against the checkout. Nothing is booted here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.vm import artefacts, left_out, matrix, orders


def test_every_boot_is_made_of_what_is_described() -> None:
    machines = matrix.read()
    assert "v2" in machines.boot
    for boot in machines.boot.values():
        suites = machines.kernel[boot.kernel].suites
        assert all(entry.split(" ")[0] in machines.mirror for entry in suites)
        # What the kernel mounts must be what the init mounts.
        assert ("cgroup_no_v1=all" in boot.append) == (boot.cgroup == "v2" and boot.init == "busybox")


def test_an_unknown_key_of_the_matrix_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "matrix.toml"
    monkeypatch.setattr(matrix, "MATRIX", other)
    other.write_text(Path(matrix.__file__).with_name("matrix.toml").read_text() + '\n[boot.x]\nkernl = "bookworm"\n')
    with pytest.raises(ValueError, match="kernl"):
        matrix.read()


def test_a_boot_of_an_unknown_kernel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Path(matrix.__file__).with_name("matrix.toml").read_text()
    other = tmp_path / "matrix.toml"
    other.write_text(text.replace('kernel = "backports"', 'kernel = "bakports"'))
    monkeypatch.setattr(matrix, "MATRIX", other)
    with pytest.raises(LookupError, match="bakports"):
        matrix.read()


def test_what_is_left_out_is_there_and_has_a_reason() -> None:
    entries = left_out.read()
    for name, reason in entries.python.items():
        file, _, rest = name.partition("::")
        function = rest.partition("[")[0].rpartition("::")[2]
        assert (artefacts.PROJECT / file).exists(), name
        assert not function or f"def {function}" in (artefacts.PROJECT / file).read_text(), name
        assert len(reason) > 10
    for name, reason in entries.rust.items():
        crate, _, rest = name.partition(".")
        test, _, function = rest.partition("/")
        source = artefacts.PROJECT / "rust" / crate / "tests" / f"{test}.rs"
        assert f"fn {function}" in source.read_text(), name
        assert len(reason) > 10


def test_every_set_names_tests_that_are_there() -> None:
    for wanted in orders.SETS.values():
        assert wanted.python or wanted.rust
        for word in wanted.python.split():
            name, _, test = word.partition("::")
            path = artefacts.PROJECT / name
            assert path.exists(), word
            # A test of a class may stand in the suite that the class takes it from.
            function = f"def {test.rpartition('::')[2]}("
            assert not test or any(function in file.read_text() for file in path.parent.glob("*.py")), word
        for pattern in wanted.rust.split():
            crate, _, test = pattern.partition(".")
            folder = artefacts.PROJECT / "rust" / crate
            assert (test == "*" and folder.is_dir()) or (folder / "tests" / f"{test}.rs").is_file(), pattern
    for boot in matrix.read().boot.values():
        assert boot.tests in orders.SETS


def test_modules_are_loaded_after_what_they_need_and_those_built_in_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    (tmp_path / "modules.dep").write_text(
        "kernel/virtio_blk.ko: kernel/virtio.ko kernel/virtio_ring.ko\n"
        "kernel/virtio-pci.ko.xz: kernel/legacy.ko kernel/virtio.ko kernel/virtio_ring.ko\n"
    )
    order = artefacts._module_order(tmp_path, ("virtio_pci", "virtio_blk", "ext4"))
    assert order[:3] == ["kernel/virtio_ring.ko", "kernel/virtio.ko", "kernel/legacy.ko"]
    assert order[3:] == ["kernel/virtio-pci.ko.xz", "kernel/virtio_blk.ko"]
    with pytest.raises(artefacts.MachineError, match="no nbd"):
        artefacts._module_order(tmp_path, ("nbd",))


def test_the_result_line_is_what_the_host_reads() -> None:
    from tests.vm import machine

    last = re.search(r'echo "(ardock-vm: exit )\$code"', (artefacts.GUEST / "run").read_text())
    assert last is not None
    assert machine._LAST.search(f"x\r\n{last[1]}17\r\n".encode()) is not None
