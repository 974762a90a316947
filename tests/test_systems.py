"""As far as its source can tell, lab does on Linux, macOS and Windows what it does on one of them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    "bootstrap.py",
    *(path for room in ("lab", "benchmarks") for path in sorted((ROOT / room).rglob("*.py"))),
]
# Windows has none of these; a file that stands in `ASKED` looks first whether it is there.
POSIX = set(
    ["os.fork", "os.kill", "os.killpg", "os.getuid", "os.uname", "os.rename", "os.mkfifo", "signal.SIGKILL"]
)
POSIX |= {f"import {module}" for module in ("fcntl", "grp", "pwd", "resource", "termios")}
ASKED = {"lab/speech/espeak_worker.py": {"os.fork"}, "benchmarks/bpe.py": {"import resource"}}


def unnamed_encodings(source: str) -> list[str]:
    """Calls that read or write text in the encoding of the system, which on Windows is not UTF-8.

    >>> unnamed_encodings("open('a'); open('a', 'rb'); path.read_text('utf-8'); run(command, text=True)")
    ["open('a')", 'run(command, text=True)']
    """
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", None))
        module = getattr(getattr(call.func, "value", None), "id", None)
        named = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
        mode = str(getattr(call.args[-1], "value", "")) if call.args else ""
        opens = name == "open" and module not in ("os", "wave", "opener", "Image") and "b" not in mode
        reads = (name == "read_text" and not call.args) or (name == "write_text" and len(call.args) < 2)
        listens = named.get("text") is True or named.get("universal_newlines") is True
        if (opens or reads or listens) and "encoding" not in named:
            found.append(ast.unparse(call))
    return found


def of_one_system(source: str) -> set[str]:
    """What of `POSIX` a source uses, and paths that only some systems have.

    >>> sorted(of_one_system("import fcntl; os.kill(1, 9); open('/tmp/x'); print('a/b')"))
    ['/tmp/x', 'import fcntl', 'os.kill']
    """
    used = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute | ast.Import):
            used.add(ast.unparse(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            used.add(node.value)
    return {one for one in used if one in POSIX or one.startswith(("/tmp", "/dev/", "/var/"))}


def test_what_is_looked_for_is_found():
    odd = "open(place, 'w'); path.open(); p.write_text('x'); Popen(c, universal_newlines=True); import pwd; os.fork()"
    assert len(unnamed_encodings(odd)) == 4 and of_one_system(odd) == {"import pwd", "os.fork"}


@pytest.mark.parametrize("path", [(ROOT / path).relative_to(ROOT).as_posix() for path in SOURCES])
def test_text_names_its_encoding_and_nothing_is_asked_of_one_system_alone(path):
    source = (ROOT / path).read_text("utf-8")
    assert unnamed_encodings(source) == []
    assert of_one_system(source) <= ASKED.get(path, set())
