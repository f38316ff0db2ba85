"""Other engines, each told to do the same job as nearly as it can.

What they leave out is in their favour and stands beside their rows: runc and
crun run on a plain directory (an overlay is made by the engine above them),
bwrap has no limits, no overlay and no seccomp policy of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path

from bench import build
from bench.systems import CPUS, MEMORY, PIDS, CommandSystem, Place, UnusableError

GROUP = f"ardock-bench-{os.getpid()}"
"""What every control group of the bench is called, or begins with."""

DOCKER_DEFAULT_CAPABILITIES = [
    "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
]  # fmt: skip

# crun refuses hybrid control groups; without the v2 hierarchy in sight it does not see that they are.
_WITHOUT_V2 = ("unshare", "--mount", "sh", "-c", 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"', "sh")


class Bwrap(CommandSystem):
    """bubblewrap: namespaces and mounts from the command line."""

    def __init__(self, name: str, place: Place, *, in_flight: int) -> None:
        program = [build.PROGRAM, place.text()] if place.captures else ["/bin/true"]
        root = str(place.rootfs)
        argv = ["bwrap", "--unshare-all", "--ro-bind", root, "/", "--proc", "/proc", "--dev", "/dev", *program]
        super().__init__(name, place, argv, in_flight=in_flight)


class OciRuntime(CommandSystem):
    """runc or crun on a bundle of its own `spec`, with limits, Docker's capabilities and its seccomp policy."""

    def __init__(self, name: str, runtime: str, place: Place, *, in_flight: int) -> None:
        self._runtime = runtime
        self._place = place
        self._bundle = place.folder / f"{runtime}-{in_flight}"
        self._state = place.folder / f"{runtime}-{in_flight}-state"
        prefix = _WITHOUT_V2 if runtime == "crun" and Path("/sys/fs/cgroup/unified").exists() else ()
        argv = [runtime, "--root", str(self._state), "run", "-b", str(self._bundle), f"{GROUP}-{{i}}"]
        super().__init__(name, place, argv, in_flight=in_flight, prefix=prefix)

    def start(self) -> None:
        """Write the bundle and try it."""
        self._bundle.mkdir()
        try:
            subprocess.run([self._runtime, "spec"], cwd=self._bundle, check=True, capture_output=True)
        except FileNotFoundError as error:
            raise UnusableError(f"not installed: {error.filename}") from error
        file = self._bundle / "config.json"
        config = json.loads(file.read_text())
        # A bundle's command is fixed, so all containers print the same text, which is checked as strictly.
        program = [build.PROGRAM, self._place.text("000000000")] if self._place.captures else ["/bin/true"]
        config["process"]["terminal"] = False
        config["process"]["args"] = program
        config["process"].pop("rlimits", None)  # raising one needs CAP_SYS_RESOURCE
        for kind in ("bounding", "effective", "permitted"):
            config["process"]["capabilities"][kind] = DOCKER_DEFAULT_CAPABILITIES
        config["root"] = {"path": str(self._place.rootfs), "readonly": True}
        config["linux"]["resources"] = {
            "devices": config["linux"]["resources"].get("devices", []),
            "memory": {"limit": MEMORY},
            "cpu": {"quota": CPUS * 100_000, "period": 100_000},
            "pids": {"limit": PIDS},
        }
        if not any(entry["type"] == "cgroup" for entry in config["linux"]["namespaces"]):
            config["linux"]["namespaces"].append({"type": "cgroup"})
        file.write_text(json.dumps(config))
        super().start()

    def expected(self) -> str:
        """Return what each container prints."""
        return self._place.text("000000000")


class Dockerd:
    """A dockerd of the bench's own, in private network and mount namespaces, all its state in one folder."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._folder = place.folder / "docker"
        self.socket = f"unix://{self._folder}/sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._problem: str | None = None

    def start(self) -> None:
        """Start it once for all systems that use it and import the image."""
        if self._problem:
            raise UnusableError(self._problem)
        if self._process:
            return
        try:
            self._start()
        except UnusableError as error:
            self._problem = str(error)
            self.stop()
            raise

    def _start(self) -> None:
        for program in ("dockerd", "docker", "unshare"):
            if not shutil.which(program):
                raise UnusableError(f"not installed: {program}")
        folder = self._folder
        folder.mkdir()
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "--net", "--mount", "dockerd", "-H", self.socket, "--data-root", str(folder / "data"),
                 "--exec-root", str(folder / "exec"), "-p", str(folder / "pid"), "--storage-driver", "overlay2",
                 "--bridge", "none", "--iptables=false", "--cgroup-parent", f"/{GROUP}-docker"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while subprocess.run(self._command("version"), capture_output=True, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise UnusableError(f"dockerd did not start: {(folder / 'log').read_text()[-400:]}")
            time.sleep(0.1)
        image = folder / "image.tar"
        with tarfile.open(image, "w") as archive:
            archive.add(self._place.rootfs, "/")
        done = subprocess.run(self._command("import", str(image), "bench"), capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnusableError(f"docker import: {done.stderr.strip()}")

    def run_command(self) -> list[str]:
        """Return the words of `docker run` with the bench's limits, up to the image."""
        limits = ["--memory", str(MEMORY), "--cpus", str(CPUS), "--pids-limit", str(PIDS)]
        return self._command("run", "--rm", "--net", "none", *limits, "bench")

    def _command(self, *words: str) -> list[str]:
        return ["docker", "-H", self.socket, *words]

    def stop(self) -> None:
        """End it and its containerd (which it ends itself), and remove the control groups it made."""
        process, self._process = self._process, None
        if process:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


class Docker(CommandSystem):
    """`docker run` against the bench's own dockerd."""

    def __init__(self, name: str, dockerd: Dockerd, place: Place, *, in_flight: int) -> None:
        self._dockerd = dockerd
        program = [build.PROGRAM, place.text()] if place.captures else ["/bin/true"]
        super().__init__(name, place, [*dockerd.run_command(), *program], in_flight=in_flight)

    def start(self) -> None:
        """Start dockerd if it does not run yet, and try one container."""
        self._dockerd.start()
        super().start()

    def stop(self) -> None:
        """End dockerd; the first of its systems to stop does."""
        self._dockerd.stop()


def remove_groups() -> None:
    """Remove the bench's own control groups in every hierarchy, deepest first; what is busy stays and is told."""
    for pattern in (f"{GROUP}*", f"*/{GROUP}*"):
        for top in Path("/sys/fs/cgroup").glob(pattern):
            if top.is_symlink():
                continue
            for folder, _, _ in os.walk(top, topdown=False):
                try:
                    Path(folder).rmdir()
                except OSError as error:
                    print(f"left behind: {folder}: {error.strerror}")
