"""`aufs`, which no kernel at hand has: that it says so, and how branches are given to the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from ardock.engine.snapshots import aufs
from ardock.engine.snapshots.aufs import Aufs
from ardock.model.errors import Unsupported
from tests.engine.snapshots.suite import Suite

pytestmark = pytest.mark.root


def has_aufs() -> bool:
    return "aufs" in Path("/proc/filesystems").read_text().split()


@pytest.mark.skipif(not has_aufs(), reason="this kernel has no aufs")
class TestAufs(Suite):
    """The suite."""

    name = "aufs"


@pytest.mark.skipif(has_aufs(), reason="this kernel has aufs")
def test_a_kernel_without_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="this kernel has no aufs"):
        Aufs(tmp_path / "home")


def test_branches_that_a_page_does_not_hold_are_added_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(aufs, "mount", lambda source, target, kind, flags, options: calls.append(options))
    branches = ["/upper=rw", *(f"/layers/{number:064x}=ro+wh" for number in range(127))]
    aufs._mount(branches, Path("/point"))
    assert all(len(options) < 4096 for options in calls)
    first = calls[0].removeprefix("br:").partition(",")[0].split(":")
    assert first + [options.removeprefix("append:") for options in calls[1:]] == branches
