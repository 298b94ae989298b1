"""Output that nobody reads any more, as after `| head -1`."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SIGPIPE = 128 + signal.SIGPIPE
LINES = "[console.say('x' * 4000) for _ in range(100)]"
SOCKET = "import socket; a, b = socket.socketpair(); b.close(); [a.send(b'x' * 4000) for _ in range(100)]"


def ended(code: str, folder: Path, stream: str = "stdout") -> tuple[int, str]:
    """The exit status and the other stream of a program whose `stream` loses its reader after 10 bytes."""
    other = "stderr" if stream == "stdout" else "stdout"
    program = f"import sys; from flairprep.core import console; console.run(lambda: exec({code!r}, globals()))"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder
    )
    kept = getattr(process, stream)
    os.read(kept.fileno(), 10)
    kept.close()
    told = getattr(process, other).read().decode()
    return process.wait(60), told


@pytest.mark.parametrize("code", [LINES, f"print('x' * 20, flush=True); import time; time.sleep(0.5); {LINES}"])
def test_a_program_without_a_reader_ends_quietly(code: str, tmp_path: Path) -> None:
    assert ended(code, tmp_path) == (SIGPIPE, "")


def test_what_waits_to_be_written_at_the_end_is_quiet_too(tmp_path: Path) -> None:
    code = "print('x' * 20, flush=True); import time; time.sleep(0.5); print('y'); sys.exit(3)"
    assert ended(code, tmp_path) == (SIGPIPE, "")


def test_errors_without_a_reader_are_quiet_as_well(tmp_path: Path) -> None:
    code = "[console.warn('x' * 4000) for _ in range(100)]"
    assert ended(code, tmp_path, "stderr") == (SIGPIPE, "")


def test_another_broken_pipe_is_an_error(tmp_path: Path) -> None:
    program = f"from flairprep.core import console; console.run(lambda: exec({SOCKET!r}, globals()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
