"""The Docker engine, as far as the measurements need it.

Owns every container and network of one run: each carries the run's label and its name, and `clean` takes all of them
away, whatever happened before. It never touches anything without that label. Images stay, for the next run to find.
"""

import os
import random
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

LABEL = "hostler.chaos"
COMMAND_S = 120
BUILD_S = 1800
SUBNETS_TRIED = 30
CLEANED_TIMES = 10


class Failed(Exception):
    """A command of the engine that did not do what it was told."""


def docker(*arguments: str, within_s: float = COMMAND_S) -> str:
    """Runs `docker ARGUMENTS` to its success; returns what it said."""
    return command("docker", *arguments, within_s=within_s)


def command(*line: str, within_s: float = COMMAND_S) -> str:
    """In a session of its own: what is typed to end the run is for the run, which then has commands for cleaning up."""
    # The images are written for the classic builder, which needs no plugin.
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    try:
        done = subprocess.run(
            line,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            env=environment,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{' '.join(line)}: not done within {within_s:.0f} s") from late
    if done.returncode != 0:
        raise Failed(f"{' '.join(line)}: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def build(image: str, directory: Path) -> None:
    docker("build", "--quiet", "--force-rm", "--tag", image, str(directory), within_s=BUILD_S)


def eventually(what: str, condition: Callable[[], bool], within_s: float = 30) -> None:
    """Waits for `condition`; fails with `what` if it does not come true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.02)


def remove_labelled(label: str) -> None:
    """Takes away every container and network with the label, also one that is only just being made."""
    ours = ["--filter", f"label={label}", "--quiet"]
    for _ in range(CLEANED_TIMES):
        containers = docker("ps", "--all", *ours).split()
        networks = docker("network", "ls", *ours).split()
        if not containers and not networks:
            return
        try:
            if containers:
                docker("rm", "--force", "--volumes", *containers)
            if networks:
                docker("network", "rm", *networks)
        except Failed:
            pass  # Gone by itself, or not yet free: the next round tells.
        time.sleep(0.5)
    raise Failed(f"containers or networks with the label {label} stay")


class Engine:
    """What one run has made, by the short names that it gave."""

    def __init__(self) -> None:
        self.run = f"hostler-chaos-{os.getpid()}-{random.randrange(16**4):04x}"
        self.label = f"{LABEL}={self.run}"

    def network(self, name: str) -> None:
        """In a small subnet that nobody else has."""
        for _ in range(SUBNETS_TRIED):
            subnet = f"10.{random.randrange(200, 250)}.{random.randrange(256)}.0/28"
            try:
                docker("network", "create", "--label", self.label, "--subnet", subnet, self.named(name))
                return
            except Failed as failure:
                if "overlaps" not in str(failure):
                    raise
        raise Failed("no subnet is free")

    def start_new(
        self, name: str, image: str, *options: str, networks: list[str], alias: str | None = None, says: tuple[str, ...] = ()
    ) -> None:
        """In all of the networks from its start on; in the first one by its alias as well."""
        first, *others = networks
        named = ["--name", self.named(name), "--label", self.label, "--network", self.named(first)]
        if alias:
            named += ["--network-alias", alias]
        docker("create", *named, *options, image, *says)
        for network in others:
            docker("network", "connect", self.named(network), self.named(name))
        self.start(name)

    def start(self, *names: str) -> None:
        docker("start", *map(self.named, names))

    def stop(self, *names: str) -> None:
        """With SIGTERM, all at the same time."""
        docker("stop", *map(self.named, names))

    def kill(self, name: str) -> None:
        """With SIGKILL; returns when it has ended."""
        docker("kill", self.named(name))

    def restart(self, name: str) -> None:
        docker("restart", self.named(name))

    def remove(self, *names: str) -> None:
        docker("rm", "--force", "--volumes", *map(self.named, names))

    def address(self, name: str, network: str) -> str:
        return self.inspect(name, f'{{{{(index .NetworkSettings.Networks "{self.named(network)}").IPAddress}}}}')

    def running(self, name: str) -> bool:
        return self.inspect(name, "{{.State.Running}}") == "true"

    def health(self, name: str) -> str | None:
        """What its image's own check says, if it has one."""
        return self.inspect(name, "{{if .State.Health}}{{.State.Health.Status}}{{end}}") or None

    def ended(self, name: str) -> float:
        """When it ended for the last time."""
        text = self.inspect(name, "{{.State.FinishedAt}}").removesuffix("Z")
        whole, _, fraction = text.partition(".")
        return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")

    def inspect(self, name: str, template: str) -> str:
        return docker("inspect", "--format", template, self.named(name))

    def save_logs(self, name: str, directory: Path) -> None:
        """Both of its streams, the errors apart."""
        line = ["docker", "logs", "--timestamps", self.named(name)]
        with open(directory / f"{name}.out", "wb") as out, open(directory / f"{name}.err", "wb") as err:
            subprocess.run(line, stdout=out, stderr=err, timeout=COMMAND_S, check=False, start_new_session=True)

    def errors_since(self, name: str, since: float) -> list[str]:
        """The lines on its standard error."""
        line = ["docker", "logs", "--since", f"{since:.3f}", self.named(name)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=COMMAND_S, check=True)
        return done.stderr.splitlines()

    def namespace(self, name: str) -> Path:
        """Of its network, as long as it runs."""
        return Path(f"/proc/{self.inspect(name, '{{.State.Pid}}')}/ns/net")

    def in_network_of(self, name: str, *line: str) -> str:
        """Runs a command of this machine in the container's network namespace."""
        return command("nsenter", f"--net={self.namespace(name)}", *line)

    def clean(self) -> None:
        remove_labelled(self.label)

    def named(self, name: str) -> str:
        return f"{self.run}-{name}"
