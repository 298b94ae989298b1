"""Keep the network that gives the declared predictions: the mean over the networks of the last epochs."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from flairprep.network.model import in_float32
from flairprep.network.train_config import DECLARED_EPOCHS


class LastEpochs(keras.callbacks.Callback):
    """Keep the weights of the last DECLARED_EPOCHS epochs, in memory.

    former: those of the epochs before, where a training goes on: (epoch, weights) in order.
    """

    def __init__(self, former: Iterable[tuple[int, Sequence[Any]]] = ()) -> None:
        super().__init__()
        self.weights: deque[tuple[int, Sequence[Any]]] = deque(former, maxlen=DECLARED_EPOCHS)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the weights of the epoch; Keras calls it."""
        self.weights.append((epoch + 1, self.model.get_weights()))

    def mean(self) -> keras.Model:
        """Return one network from images, (batch, z, y, x, 1), to the mean of the kept networks' answers, (batch, 1).

        The mean of the answers, not the answer of the mean weights: it equals the declared predictions by
        construction, where averaged weights would need new statistics of batch normalisation, and be another network
        than any that was validated. Untrained further, so without loss and optimizer, and in float32.
        """
        images, config = keras.Input(self.model.input_shape[1:], name="image"), in_float32(self.model).get_config()
        members = []
        for epoch, weights in self.weights:
            member = keras.Model.from_config({**config, "name": f"epoch_{epoch}"})
            member.set_weights(weights)
            members.append(member(images))
        answer = keras.layers.Average(name="declared")(members) if len(members) > 1 else members[0]
        return keras.Model(images, answer, name=self.model.name)
