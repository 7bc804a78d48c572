"""A certificate that nobody has signed, for servers on loopback."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support import require


def self_signed(file: Path) -> Path:
    """Write a certificate of 127.0.0.1 and its key into one file."""
    require(shutil.which("openssl") is not None, "openssl makes the tests' certificate")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=loopback -addext subjectAltName=IP:127.0.0.1"
    made = subprocess.run([*command.split(), "-keyout", "-", "-out", "-"], capture_output=True, check=True, timeout=60)
    file.write_bytes(made.stdout)
    return file


__all__ = ["self_signed"]
