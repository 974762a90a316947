"""JupyterLab as `lab lab` starts it."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil
import pytest

UNGUARDED = "c.IdentityProvider.token = c.ServerApp.token = c.PasswordIdentityProvider.hashed_password = ''\n"


def status(address: str) -> int | None:
    """The HTTP status of an answer; None where nobody answers."""
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code
    except OSError:
        return None


@pytest.mark.slow
def test_a_token_is_asked_for_whatever_a_persons_own_settings_say(tmp_path):
    (tmp_path / "jupyter_server_config.py").write_text(UNGUARDED)
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path), "JUPYTER_TOKEN": "secret"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "lab", "lab", "--", "--no-browser", "--allow-root", f"--port={port}"]
    api = f"http://127.0.0.1:{port}/api"
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    ) as server:
        until = time.monotonic() + 60
        while (unguarded := status(f"{api}/contents")) is None and time.monotonic() < until:
            time.sleep(0.2)
        guarded = status(f"{api}/contents?token=secret")
        for process in psutil.Process(server.pid).children(recursive=True):
            process.kill()
    assert (unguarded, guarded) == (403, 200)
