"""What the registry client costs those who do not use it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
FORBIDDEN = ("httpcore2", "h11", "truststore", "ardock.engine.registry.repository", "ardock.engine.registry.host")
{what}
print(" ".join(name for name in sys.modules if name.partition(".")[0] in FORBIDDEN or name in FORBIDDEN))
"""


def imported(what: str) -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(what=what)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_engine_does_not_import_http() -> None:
    assert imported("import ardock.embedded, ardock.engine.engine, ardock.engine.images.service") == ""


def test_nor_does_having_registries() -> None:
    assert imported("from ardock.engine.registry import Registries; Registries()") == ""
