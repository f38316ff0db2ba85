"""Volumes: directories that outlive containers, by the local driver."""

from ardock.engine.volumes.service import Lease, Volumes

__all__ = ["Lease", "Volumes"]
