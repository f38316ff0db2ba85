"""The content store: bytes by their digest, and what keeps them from being removed."""

from ardock.engine.content.blobs import Blobs
from ardock.engine.content.leases import Lease, Leases

__all__ = ["Blobs", "Lease", "Leases"]
