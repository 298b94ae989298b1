"""flairprep: FLAIR brain scans from DICOM to a trained 3D CNN and a verdict that can be believed."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

__version__ = "0.2.0"

__all__ = ["__version__", "dataset", "load_run", "load_volume", "preprocess", "torch_dataset"]


def __getattr__(name: str) -> Any:
    """Import a function of `inference.api` when it is first asked for: tools that need none of them start at once."""
    if name in __all__:
        return getattr(import_module("flairprep.inference.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List what the package offers."""
    return sorted({*globals(), *__all__})


class _Dataset(ModuleType):
    """The package `flairprep.dataset`, which is also the function of that name."""

    def __call__(
        self, directory: Path | str, folds: Sequence[int] | None = None, *, shuffle_seed: int | None = None
    ) -> Any:
        """Return the cases of some folds of data/export as a tf.data.Dataset; see `dataset.tf_data.dataset`."""
        tf_data = import_module("flairprep.dataset.tf_data")  # imports tensorflow
        return tf_data.dataset(directory, folds, shuffle_seed=shuffle_seed)


# By name, since every package that asks this one for its version would seem to import them.
dataset = import_module("flairprep.dataset")
dataset.__class__ = _Dataset
