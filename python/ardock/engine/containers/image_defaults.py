"""What a container gets of its image's configuration, and what an image that is made of a container gets of its. Pure.

Source of the rules: moby, ``daemon/commit.go`` (``merge``), ``daemon/create.go``, and ``daemon/list.go`` for the single empty
entrypoint, which is how ``docker run --entrypoint ""`` travels.
"""

from __future__ import annotations

from typing import Final

from msgspec import structs

from ardock.model.image import HealthCheck, ImageConfig
from ardock.model.spec import ContainerSpec, Mount

DEFAULT_STOP_SIGNAL: Final = "SIGTERM"


class ImageDefaults:
    """An image's configuration, made ready to be merged into many containers' specs.

    Attributes:
        config: It.
    """

    __slots__ = ("_env", "_last", "_mounts", "config")

    def __init__(self, config: ImageConfig) -> None:
        """Of one image."""
        self.config = config
        self._env = variables(config.env)
        self._mounts = tuple(Mount(type="volume", target=path) for path in config.volumes)
        # Callers that run one spec many times give the same object each time.
        self._last: tuple[ContainerSpec, ContainerSpec] | None = None

    def merged(self, spec: ContainerSpec) -> ContainerSpec:
        """`with_image`."""
        last = self._last
        if last is not None and last[0] is spec:
            return last[1]
        config = self.config
        entrypoint, argv = command(spec, config)
        whole = structs.replace(
            spec,
            argv=argv,
            entrypoint=entrypoint,
            # In this order, as `docker inspect` shows them.
            env={**spec.env, **{name: value for name, value in self._env.items() if name not in spec.env}},
            cwd=spec.cwd or config.working_dir,
            user=spec.user or config.user,
            mounts=(*spec.mounts, *(mount for mount in self._mounts if mount not in spec.mounts)),
            exposed_ports=tuple(dict.fromkeys((*spec.exposed_ports, *config.exposed_ports))),
            stop_signal=spec.stop_signal if spec.stop_signal is not None else config.stop_signal or None,
            labels={**config.labels, **spec.labels},
            healthcheck=_health(spec.healthcheck, config.healthcheck),
        )
        self._last = (spec, whole)
        return whole


def with_image(spec: ContainerSpec, config: ImageConfig) -> ContainerSpec:
    """`spec` with what its image says where the user says nothing.

    - An entrypoint of the user's drops the image's command; ``()`` is none and keeps that, ``("",)`` is none and drops it.
    - Arguments of the user's replace the image's command.
    - Variables, labels, ports and the parts of a health check are merged, the user's first; the rest is one or the other.
    - Volumes become mounts without a source: whoever makes those leaves out what has another mount.

    The result has an `entrypoint` (it may be empty), so that nobody has to ask the image again.
    """
    return ImageDefaults(config).merged(spec)


def command(spec: ContainerSpec, config: ImageConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Entrypoint and arguments."""
    if spec.entrypoint:
        return (() if spec.entrypoint == ("",) else spec.entrypoint), spec.argv
    entrypoint = config.entrypoint if spec.entrypoint is None else ()
    return entrypoint, spec.argv or config.cmd


def committed(spec: ContainerSpec, config: ImageConfig) -> ImageConfig:
    """The configuration of an image that is made of a container.

    Args:
        spec: The container's, merged with its image's configuration.
        config: Its image's: what a container has not, the shell of later build steps, is taken over.
    """
    anonymous = [
        mount.target for mount in spec.mounts if mount.type == "volume" and (mount.anonymous or not mount.source)
    ]
    stop_signal = spec.stop_signal
    return ImageConfig(
        user=spec.user,
        exposed_ports=spec.exposed_ports,
        env=tuple(f"{name}={value}" for name, value in spec.env.items()),
        entrypoint=spec.entrypoint or (),
        cmd=spec.argv,
        volumes=tuple(dict.fromkeys((*config.volumes, *anonymous))),
        working_dir=spec.cwd,
        labels=spec.labels,
        stop_signal="" if stop_signal is None else str(stop_signal),
        healthcheck=spec.healthcheck,
        shell=config.shell,
    )


def variables(env: tuple[str, ...]) -> dict[str, str]:
    """``NAME=value`` each as a map; the last of a name counts."""
    pairs = (each.partition("=") for each in env)
    return {name: value for name, equals, value in pairs if equals and name}


def _health(users: HealthCheck | None, images: HealthCheck | None) -> HealthCheck | None:
    if users is None or images is None:
        return users if images is None else images
    return HealthCheck(
        test=users.test or images.test,
        interval=users.interval or images.interval,
        timeout=users.timeout or images.timeout,
        start_period=users.start_period or images.start_period,
        start_interval=users.start_interval or images.start_interval,
        retries=users.retries or images.retries,
    )
