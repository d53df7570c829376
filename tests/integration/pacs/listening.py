"""A listener in a process of its own, for tests that kill it: prints its port, and listens."""

from __future__ import annotations

import sys
from pathlib import Path

from service.ingest.safety import Limits
from service.logs import Pseudonyms
from service.pacs.listener import Listener
from service.pacs.receiving import ReceiveFolder
from service.settings import ListenerSettings


def main(root: Path) -> None:
    """Listen until standard input ends."""
    folder = ReceiveFolder(root, Limits())
    folder.open()
    listener = Listener(ListenerSettings(port=0), folder, Pseudonyms(b"test"))
    listener.start()
    print(listener.port, flush=True)  # noqa: T201  what the test waits for
    sys.stdin.read()
    listener.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
