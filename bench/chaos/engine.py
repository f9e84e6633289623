"""The Docker engine, as far as the measurements need it.

Owns every container and network of one run: each carries the run's label and its name, and `clean` takes all of them
away, whatever happened before. It never touches anything without that label. Images stay, for the next run to find.
"""

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

LABEL = "hostler.chaos"
COMMAND_S = 120
BUILD_S = 1800
SUBNETS_TRIED = 30


class Failed(Exception):
    """A command of the engine that did not do what it was told."""


def docker(*arguments: str, within_s: float = COMMAND_S) -> str:
    """Runs `docker ARGUMENTS` to its success; returns what it said."""
    return command("docker", *arguments, within_s=within_s)


def command(*line: str, within_s: float = COMMAND_S) -> str:
    # The images are written for the classic builder, which needs no plugin.
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=within_s, env=environment, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(line)}: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def build(image: str, directory: Path) -> None:
    docker("build", "--quiet", "--tag", image, str(directory), within_s=BUILD_S)


def eventually(what: str, condition: Callable[[], bool], within_s: float = 30) -> None:
    """Waits for `condition`; fails with `what` if it does not come true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.02)


class Engine:
    """What one run has made, by the short names that it gave."""

    def __init__(self) -> None:
        self.run = f"hostler-chaos-{os.getpid()}-{random.randrange(16**4):04x}"
        self.label = f"{LABEL}={self.run}"

    def network(self) -> None:
        """One network for all, as in the tutorial, in a small subnet that nobody else has."""
        for _ in range(SUBNETS_TRIED):
            subnet = f"10.{random.randrange(200, 250)}.{random.randrange(256)}.0/27"
            try:
                docker("network", "create", "--label", self.label, "--subnet", subnet, self.run)
                return
            except Failed as failure:
                if "overlaps" not in str(failure):
                    raise
        raise Failed("no subnet is free")

    def start_new(self, name: str, image: str, *options: str, alias: str | None = None) -> None:
        named = ["--name", self.named(name), "--label", self.label, "--network", self.run]
        if alias:
            named += ["--network-alias", alias]
        docker("run", "--detach", *named, *options, image)

    def start(self, *names: str) -> None:
        docker("start", *map(self.named, names))

    def stop(self, *names: str) -> None:
        """With SIGTERM, all at the same time."""
        docker("stop", *map(self.named, names))

    def kill(self, name: str) -> None:
        docker("kill", self.named(name))

    def restart(self, name: str) -> None:
        docker("restart", self.named(name))

    def remove(self, *names: str) -> None:
        docker("rm", "--force", "--volumes", *map(self.named, names))

    def address(self, name: str) -> str:
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return self.inspect(name, template)

    def running(self, name: str) -> bool:
        return self.inspect(name, "{{.State.Running}}") == "true"

    def inspect(self, name: str, template: str) -> str:
        return docker("inspect", "--format", template, self.named(name))

    def save_logs(self, name: str, directory: Path) -> None:
        """Both of its streams, the errors apart."""
        line = ["docker", "logs", "--timestamps", self.named(name)]
        with open(directory / f"{name}.out", "wb") as out, open(directory / f"{name}.err", "wb") as err:
            subprocess.run(line, stdout=out, stderr=err, timeout=COMMAND_S, check=False)

    def errors_since(self, name: str, since: float) -> list[str]:
        """The lines on its standard error."""
        line = ["docker", "logs", "--since", f"{since:.3f}", self.named(name)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=COMMAND_S, check=True)
        return done.stderr.splitlines()

    def in_network_of(self, name: str, *line: str) -> None:
        """Runs a command of this machine in the container's network namespace."""
        process = self.inspect(name, "{{.State.Pid}}")
        command("nsenter", "--target", process, "--net", *line)

    def clean(self) -> None:
        ours = ["--filter", f"label={self.label}", "--quiet"]
        if containers := docker("ps", "--all", *ours).split():
            docker("rm", "--force", "--volumes", *containers)
        if networks := docker("network", "ls", *ours).split():
            docker("network", "rm", *networks)

    def named(self, name: str) -> str:
        return f"{self.run}-{name}"
