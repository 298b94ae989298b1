"""Import tensorflow with oneDNN and without its start-up messages; import this module before tensorflow.

What the user has set in the environment stays.
"""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from flairprep.core.errors import FlairprepError

# Without oneDNN some 3D convolutions take 50 times as long on CPUs where tensorflow leaves it off.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # every failure is raised as an exception as well


@contextmanager
def _no_standard_error() -> Iterator[None]:
    """Drop what libraries write to file descriptor 2: a few messages come before any log level is read."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _quick_import() -> Iterator[None]:
    """Import without what nobody here uses, and collect no garbage meanwhile: a third of tensorflow's start.

    Keras's wrappers for scikit-learn would import it and scipy.stats; Keras does without where it is not installed.
    """
    left_out = {"sklearn"} - sys.modules.keys()
    collected = gc.isenabled()
    sys.modules.update(dict.fromkeys(left_out))  # type: ignore[arg-type]  # None: not to be imported
    gc.disable()
    try:
        yield
    finally:
        for name in left_out:
            del sys.modules[name]
        gc.freeze()  # the million objects of an import stay; a collection need not look at them
        if collected:
            gc.enable()


try:
    with _no_standard_error(), _quick_import():
        import tensorflow  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "tensorflow":  # it is there, but lacks a part
        raise
    raise FlairprepError(
        "tensorflow is not installed: pip install 'flairprep[cpu]', or 'flairprep[gpu]' for an NVIDIA GPU"
    ) from error
