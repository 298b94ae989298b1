"""Load trained networks and apply them to batches; the one module of this package that imports tensorflow."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
import tempfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from flairprep.core.errors import FlairprepError
from flairprep.network.training import inference


class Ensemble:
    """One or more networks with one size of input, kept in memory."""

    def __init__(self, archives: Mapping[str, bytes]) -> None:
        """Load the networks from the bytes of their model.keras, by the names of their runs.

        Raises:
            FlairprepError: a file is no network that this version of Keras reads, or the inputs differ.
        """
        networks = {name: _load(name, content) for name, content in archives.items()}
        shapes = {network.input_shape[1:]: name for name, network in networks.items()}
        if len(shapes) > 1:
            (one, first), (other, second), *_ = shapes.items()
            raise FlairprepError(f"{first} takes volumes of {one}, {second} of {other}; name runs with one size")
        self.shape: tuple[int, int, int, int] = next(iter(shapes))
        self._infer = [inference(network) for network in networks.values()]

    def predict(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return each network's probability of label 1, (networks, cases), for images (cases, z, y, x, 1)."""
        batch = tf.constant(images)
        return np.stack([infer(batch).numpy()[:, 0] for infer in self._infer]).astype(np.float64)


def _load(name: str, content: bytes) -> keras.Model:
    with tempfile.NamedTemporaryFile(suffix=".keras") as file:
        Path(file.name).write_bytes(content)
        try:
            return keras.models.load_model(file.name, compile=False, safe_mode=True)
        except (ValueError, OSError, TypeError, KeyError) as error:
            raise FlairprepError(
                f"{name}: its model.keras cannot be read by Keras {keras.__version__} ({type(error).__name__}); "
                "dvc checkout, or install the versions of its requirements.lock"
            ) from error
