"""A PostgreSQL of our own on loopback, from Debian's programs, run by nobody in particular."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.jobs.installation import free_port

USER = "nobody"
"""PostgreSQL refuses to run as root; where the tests do, it runs as this user."""


def programs() -> Path | None:
    """Folder of the newest PostgreSQL that is installed, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts)
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@contextmanager
def cluster() -> Iterator[str]:
    """A fresh cluster that is gone afterwards; yields the URL of an empty database in it."""
    bin_dir = programs()
    assert bin_dir is not None
    folder = Path(tempfile.mkdtemp(prefix="acuity-pg-"))
    data = folder / "data"
    port = free_port()
    as_user: list[str] = []
    if os.getuid() == 0:
        user = pwd.getpwnam(USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = ["runuser", "-u", USER, "--"]
    subprocess.run(
        [*as_user, bin_dir / "initdb", "-D", data, "-U", "acuity", "-A", "trust", "-E", "UTF8"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    server = subprocess.Popen(
        [
            *as_user,
            bin_dir / "postgres",
            "-D",
            data,
            "-p",
            str(port),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"unix_socket_directories={folder}",
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        ready = [bin_dir / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, check=False).returncode != 0:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"postgresql://acuity@127.0.0.1:{port}/postgres"
    finally:
        # runuser passes it on; "fast": connections are cut.
        subprocess.run(
            [*as_user, bin_dir / "pg_ctl", "-D", data, "-m", "fast", "stop"],
            cwd=folder,
            check=False,
            stdout=subprocess.DEVNULL,
        )
        server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)
