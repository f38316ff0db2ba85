"""Volumes: directories that outlive containers, by the local driver."""

from ardock.engine.volumes.service import Lease, Volumes, volume_names

__all__ = ["Lease", "Volumes", "volume_names"]
