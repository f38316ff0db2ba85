"""Volumes: directories that outlive containers, by the local driver."""

from ardock.engine.volumes.service import Volumes
from ardock.engine.volumes.used import Lease
from ardock.engine.volumes.users import volume_names

__all__ = ["Lease", "Volumes", "volume_names"]
