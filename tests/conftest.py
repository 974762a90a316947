"""Every test runs offline and seeded; real corpora come from the mirror when one is at hand."""

import os
import socket
from pathlib import Path

import pytest

from lab.threads import spin_shortly

spin_shortly()  # before torch is imported
import torch  # noqa: E402

MIRROR = Path(__file__).resolve().parents[2] / "shared" / "data"
DEAD_PROXY = "http://127.0.0.1:9"  # nothing listens there: a child process that asks fails at once
HERE = ("127.0.0.1", "::1", "localhost")

if MIRROR.is_dir():
    os.environ.setdefault("LAB_MIRROR", str(MIRROR))
for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
    os.environ[name] = DEAD_PROXY
os.environ.setdefault("PYTHONUTF8", "1")  # what a child prints is read as UTF-8, on Windows too
torch.set_num_threads(1)  # the tensors of a test are too small for two
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A connection to anywhere but this computer is an error."""
    connect = socket.socket.connect

    def only_here(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in HERE:
            raise OSError(f"a test asked the network for {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_here)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
