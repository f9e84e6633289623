"""What the benchmarks need besides themselves: packages, and what is ours, built."""

import shutil
import subprocess
from pathlib import Path

from edge import PROJECT


def install(packages: dict[str, str]) -> None:
    """The Debian packages, by the program that each is wanted for."""
    missing = [package for program, package in packages.items() if not shutil.which(program)]
    if missing:
        subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], check=True, stdout=subprocess.DEVNULL)


def build_app() -> None:
    app = ["cargo", "build", "--release", "--manifest-path", "bench/app/Cargo.toml", "--target-dir", "target/bench", "--locked"]
    subprocess.run(app, cwd=PROJECT, check=True)


def build_edge() -> Path:
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=PROJECT, check=True)
    return PROJECT / "target/release/hostler"


def build_edge_for_counting() -> Path:
    """The same on the system's allocator, which valgrind replaces to see what is asked of it."""
    build = ["cargo", "build", "--release", "--locked", "--features", "bench", "--target-dir", "target/bench"]
    subprocess.run(build, cwd=PROJECT, check=True)
    return PROJECT / "target/bench/release/hostler"
