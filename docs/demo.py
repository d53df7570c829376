"""Send a sample study to a service of our own over REST, and print what comes back.

A client needs nothing but HTTP; everything here but the table is the standard library. Run by
`make demo`; takes a folder of DICOM files as its only argument, or the first sample.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import zipfile
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from service.report.json_writer import from_json
from service.report.terminal import print_report, report_console

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "demo-out"
READY_TIMEOUT_S = 30.0
WAIT_S = 120


def main() -> None:
    """Start the service, send a study, keep and print the report, stop the service."""
    study = Path(sys.argv[1]) if len(sys.argv) > 1 else first_sample()
    console = report_console(sys.stdout)
    service = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        url = service.stdout.readline().strip() if service.stdout else ""
        if not url:
            raise SystemExit("the service did not start")
        wait_until_ready(url)
        console.print(f"The service is ready at {url}; sending {study.name} ...")
        start = time.perf_counter()
        report = ask(url, f"/v1/studies?wait={WAIT_S}", body=zipped(study))
        seconds = time.perf_counter() - start
        save_outputs(url, report)
    finally:
        service.terminate()
        service.wait(timeout=20)
    print_report(from_json(report), console)
    console.print(f"Answered in {seconds:.1f} s. The reports lie in {OUT.name}/: open report.html")


def first_sample() -> Path:
    """The first study of data_samples/."""
    manifest = json.loads((ROOT / "data_samples" / "MANIFEST.json").read_text())
    name = Path(min(manifest["sha256"])).parts[0]
    return ROOT / "data_samples" / name


def zipped(folder: Path) -> bytes:
    """A folder as a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


def wait_until_ready(url: str) -> None:
    """Ask /readyz until the model bundles are open."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if exchange(url, "/readyz")[0] == 200:
            return
        time.sleep(0.1)
    raise SystemExit("the service did not become ready")


def ask(url: str, path: str, *, accept: str = "application/json", body: bytes = b"") -> bytes:
    """Ask the service; a problem document ends the demo."""
    status, content = exchange(url, path, accept=accept, body=body)
    if status != 200:
        raise SystemExit(f"the service answered {status}: {content.decode()}")
    return content


def exchange(
    url: str, path: str, *, accept: str = "application/json", body: bytes = b""
) -> tuple[int, bytes]:
    """One request: GET, or POST of a zip archive when there is a body."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=WAIT_S + 30)
    try:
        headers = {"Accept": accept}
        if body:
            headers["Content-Type"] = "application/zip"
        connection.request("POST" if body else "GET", path, body=body or None, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def save_outputs(url: str, report: bytes) -> None:
    """Keep the report as JSON and HTML, and its overview picture."""
    study = f"/v1/studies/{json.loads(report)['study']['study_instance_uid']}"
    OUT.mkdir(exist_ok=True)
    (OUT / "report.json").write_bytes(report)
    (OUT / "report.html").write_bytes(ask(url, f"{study}/report", accept="text/html"))
    (OUT / "key-1.png").write_bytes(ask(url, f"{study}/key-images/1.png", accept="image/png"))


if __name__ == "__main__":
    main()
