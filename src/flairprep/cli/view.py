"""flairprep view: show one case in the browser, from a server of this machine alone."""

import argparse
import os
import sys
import threading
import webbrowser

from flairprep.core import console, params
from flairprep.core.errors import FlairprepError
from flairprep.stages.select_slices import BackgroundUsed
from flairprep.viewer import cases
from flairprep.viewer.page import Study, place
from flairprep.viewer.server import HOST, LocalServer
from flairprep.viewer.volumes import Places

LAST = 65535  # port


def run(options: argparse.Namespace) -> None:
    """Serve the pages of all cases until Ctrl-C, and open the one of options.case.

    Raises:
        FlairprepError: ingest has not run, the case is unknown or has no volume, or the port is taken.
    """
    if not 0 <= options.port <= LAST:
        raise FlairprepError(f"--port {options.port}: must be between 1 and {LAST}, or 0 for a free one")
    known = cases.listed()
    cases.check(options.case, known)
    study = Study(known, Places(params.load(BackgroundUsed, "normalize").background, options.maps))
    try:
        with LocalServer(study.find, f"{place(options.case)}/", options.port) as server:
            show(server, browse=not options.no_browser)
            server.serve_forever()
    except KeyboardInterrupt:  # how it is meant to end
        print(file=sys.stderr)


def show(server: LocalServer, *, browse: bool) -> None:
    """Print the address of the first page, and open it in a browser where there is one to be seen."""
    gate = server.gate
    console.say(f"view: {gate.address(gate.token)}")
    if browse and has_display():
        threading.Thread(target=webbrowser.open, args=(gate.address(gate.launch),), daemon=True).start()
    elif browse:
        port = server.server_address[1]
        console.say(
            f"  no display here; to look from another machine, type there: ssh -L {port}:{HOST}:{port} THIS_ONE"
        )
    console.say("  the address is for you alone, on this machine; Ctrl-C ends it")


def has_display() -> bool:
    """Return whether a browser's window can open: one that draws in the terminal shows no volumes."""
    chosen = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform in {"darwin", "win32"} or any(os.environ.get(name) for name in chosen)
