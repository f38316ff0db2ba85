"""The registry client: OCI distribution spec 1.1 on trio.

`Registries` is what an engine has; `Registries.open` gives a `Repository` to read from and write to. Beneath, from the outside
in: `repository` (what the specification offers), `blobs` and `uploads` (transfers that go on after a break), `host` (one
registry as one user sees it: redirects, trying again), `authorize` (credentials and tokens), `transport` (HTTP). What can be
decided without I/O is in modules without any: `challenge`, `tokens`, `retrying`, `ranges`, `places`, `failures`.

Importing this package imports no HTTP library, which most engines never need.
"""

from ardock.engine.registry.configured import configured
from ardock.engine.registry.registries import Registries

__all__ = ["Registries", "configured"]
