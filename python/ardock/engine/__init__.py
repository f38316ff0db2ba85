"""The engine: the only place with behaviour. Gateways, daemon and command line call these methods and decide nothing."""

from ardock.engine.containers.running import RunningContainer, RunningProgram
from ardock.engine.containers.service import Containers
from ardock.engine.engine import Engine, own_engine

__all__ = ["Containers", "Engine", "RunningContainer", "RunningProgram", "own_engine"]
