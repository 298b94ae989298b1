"""flairprep view: what it prints and opens, how it ends, and what it refuses."""

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path
from typing import Any

import pytest
import viewed
from tables import put
from workspace import contents, write_params

from flairprep.cli.main import main
from flairprep.viewer.server import LocalServer

SOURCE = Path(__file__).resolve().parents[2] / "src"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the environment names


def fetch(address: str) -> bytes:
    with DIRECT.open(address, timeout=30) as reply:
        return reply.read()


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    viewed.write(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_it_serves_until_ctrl_c_ends_it_with_status_0_and_writes_nothing(study: Path) -> None:
    before = contents(study)
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored in background jobs
    code = f"{heard}; from flairprep.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "view", "00002", "--no-browser"],
        cwd=study,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stdout is not None
            address = running.stdout.readline().split()[-1]
            page = fetch(address).decode()
            assert fetch(f"{address}scan.nii.gz") == Path("data/ingest/volumes/00002.nii.gz").read_bytes()
            for layer in ("input", "mask"):
                assert fetch(f"{address}{layer}.nii.gz")[:2] == b"\x1f\x8b"
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=30)
        finally:
            running.kill()  # else a failure would wait for it without end
    assert (running.returncode, errors.strip()) == (0, "")
    assert "<title>00002" in page
    assert contents(study) == before


@pytest.mark.parametrize("display", [True, False])
def test_the_browser_gets_an_address_of_its_own_where_there_is_a_display(
    display: bool, study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    arrived, ended = threading.Event(), threading.Event()

    def browse(address: str) -> bool:
        opened.append(address)
        arrived.set()
        return True

    def stop(*_: Any) -> None:
        if display:
            assert arrived.wait(30)
        ended.set()
        raise KeyboardInterrupt

    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(webbrowser, "open", browse)
    monkeypatch.setattr(LocalServer, "serve_forever", stop)
    main(["view", "00001"])
    printed = capsys.readouterr().out
    token = printed.split()[1].split("/")[3]
    assert len(token) >= 43
    assert ended.is_set()
    assert len(opened) == display
    assert all(token not in address for address in opened)
    assert ("ssh -L" in printed) == (not display)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that `flairprep view` ends with."""
    with pytest.raises(SystemExit) as ended:
        main(["view", *arguments, "--no-browser"])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_a_folder_that_is_no_study_and_one_that_was_not_ingested_get_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "data/ingest/cases.csv" in refused(capsys, "00001")
    write_params(tmp_path)
    assert "dvc repro" in refused(capsys, "00001")
    put("data/ingest/cases.csv", "case_id,status,code,message\n00001,ok,,\n")
    assert "dvc checkout data/ingest" in refused(capsys, "00001"), "the table is there, the volumes are not"


def test_an_unknown_case_and_a_port_in_use_are_refused_in_one_line(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "00001" in refused(capsys, "0001")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        assert "--port" in refused(capsys, "00001", "--port", str(busy.getsockname()[1]))
    assert "65536" in refused(capsys, "00001", "--port", "65536")


def test_without_its_token_a_page_is_refused(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[int] = []

    def serve(server: LocalServer, *_: Any) -> None:
        thread = threading.Thread(target=LocalServer.handle_request, args=(server,))
        thread.start()
        with pytest.raises(urllib.error.HTTPError) as error:
            fetch(f"http://127.0.0.1:{server.server_address[1]}/00001/")
        thread.join()
        statuses.append(error.value.code)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalServer, "serve_forever", serve)
    main(["view", "00001", "--no-browser"])
    assert statuses == [403]
