"""Answer for a volume without each of many parts, and compute anew only what the part changes.

A hidden part changes a small box of the first maps of a convolutional network, and a larger one of each later map. The
rest is what it was for the whole volume (Nakandala and others, SIGMOD 2019). Arrays are (z, y, x), maps have channels
last.
"""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from flairprep.explanation import receptive
from flairprep.explanation.occlusion import Array, Block, Hidden
from flairprep.explanation.receptive import Span, Step, Window

AXES = (0, 1, 2)  # z, y and x
PARTS = 32  # hidden at a time
MOST_BYTES = 2**28  # of the largest maps of the rest of the network in one call
WORTH = 0.5  # share of a map from which on it is computed whole
POINTWISE = (layers.InputLayer, layers.BatchNormalization, layers.ReLU, layers.Add)
POOLING = (layers.AveragePooling3D, layers.MaxPooling3D)

Box = tuple[Span, Span, Span]  # (z, y, x)
Weights = list[list[Any]]  # of each layer of a network, as tensors


def steps_of(network: keras.Model) -> list[Step]:
    """Return the layers of a functional `network`, each after those whose output it gets."""
    made = {id(layer.output): number for number, layer in enumerate(network.layers)}
    return [
        Step(layer, tuple(made[id(tensor)] for tensor in _inputs(layer)), windows_of(layer)) for layer in network.layers
    ]


def _inputs(layer: keras.Layer) -> list[Any]:
    return [*layer.input] if isinstance(layer.input, list) else [layer.input]


def windows_of(layer: keras.Layer) -> tuple[Window, Window, Window] | None:
    """Return what an output of `layer` sees along z, y and x; None where that may be everything."""
    size, stride, before, same = (1, 1, 1), (1, 1, 1), (0, 0, 0), False
    if isinstance(layer, layers.Conv3D) and set(layer.dilation_rate) == {1}:
        size, stride, same = layer.kernel_size, layer.strides, layer.padding == "same"
    elif isinstance(layer, POOLING):
        size, stride, same = layer.pool_size, layer.strides, layer.padding == "same"
    elif isinstance(layer, layers.Cropping3D):
        size = tuple(sum(ends) + 1 for ends in layer.cropping)  # as if seen: a cut must hold what is cropped of it
    elif not isinstance(layer, POINTWISE):
        return None
    inputs, outputs = (_inputs(layer) or [layer.output])[0].shape[1:4], layer.output.shape[1:4]
    if same:  # as tensorflow pads: the odd voxel goes to the end
        total = [(o - 1) * s + k - n for k, s, n, o in zip(size, stride, inputs, outputs, strict=True)]
        before = tuple(max(each, 0) // 2 for each in total)
    z, y, x = (Window(*each) for each in zip(size, stride, before, inputs, outputs, strict=True))
    return z, y, x


def weights_of(network: keras.Model) -> Weights:
    """Return the weights of each layer of `network`, for `Incremental.start`."""
    return [[tf.convert_to_tensor(each) for each in layer] for layer in _variables(network.layers)]


def _variables(of: Iterable[keras.Layer]) -> list[list[Any]]:
    return [[*layer.trainable_variables, *layer.non_trainable_variables] for layer in of]


class Segment:
    """Layers of a network between two of its waists, for the whole of a map or for a cut of it.

    shape, stride: of the map before them, and its voxels per voxel of the map after them, (z, y, x).
    """

    def __init__(self, steps: Sequence[Step], first: int, last: int) -> None:
        own = steps[first + 1 : last + 1]
        self.shape: tuple[int, ...] = tuple(steps[first].layer.output.shape[1:4])
        self.stride = tuple(receptive.stride(own, first, axis) for axis in AXES)
        self._run, self._own = _function(steps, first, last, (None, None, None)), slice(first + 1, last + 1)
        # Few spans, of many boxes.
        self._reached = cache(partial(receptive.reached, own, first))
        self._seen = cache(partial(receptive.seen, own, first))

    def run(self, weights: Weights, maps: Array) -> Array:
        """Return the maps after the segment, (batch, z, y, x, channels), of those before it."""
        return np.asarray(self._run(weights[self._own], maps).numpy())

    def reached(self, box: Box) -> Box:
        """Return the voxels of the map after the segment that see any of `box` in the map before it."""
        z, y, x = map(self._reached, AXES, box)
        return z, y, x

    def cuts(self, boxes: Sequence[Box]) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
        """Return the size of the cuts, and where each begins, that `boxes` in the map after the segment see.

        A cut begins at a multiple of the stride, and its size has the map's rest: so its windows, and the padding
        before the first of them, lie as those of the whole map do.
        """
        size, begin = [], []
        for axis, stride, whole in zip(AXES, self.stride, self.shape, strict=True):
            seen = [self._seen(axis, box[axis]) for box in boxes]
            lows = [low // stride * stride for low, _ in seen]
            least = max(high - low for low, (_, high) in zip(lows, seen, strict=True))
            size.append(min(whole, least + (whole - least) % stride))
            begin.append([min(low, whole - size[-1]) for low in lows])
        return tuple(size), [*zip(*begin, strict=True)]


class Rest:
    """The layers of a network after a waist, for whole maps, of which one call may get `most`."""

    def __init__(self, steps: Sequence[Step], waist: int) -> None:
        self._run = _function(steps, waist, len(steps) - 1, steps[waist].layer.output.shape[1:4])
        self._own = slice(waist + 1, None)
        largest = max(math.prod(step.layer.output.shape[1:]) for step in steps[waist:])
        self.most = max(1, MOST_BYTES // (4 * largest))

    def run(self, weights: Weights, maps: Array) -> Array:
        """Return the logits, float64 (batch,), of maps at the waist, (batch, z, y, x, channels)."""
        return np.asarray(self._run(weights[self._own], maps).numpy()[:, 0].astype(np.float64))


class Incremental:
    """A network of logits, taken apart: segments that compute the changed boxes only, and the rest.

    It is traced once for all weights that it is given.
    """

    def __init__(self, network: keras.Model) -> None:
        steps = steps_of(network)
        local = next(number for number, step in enumerate(steps) if step.windows is None)
        kept = [0]
        for waist in (each for each in receptive.waists(steps) if 0 < each < local):
            sizes = [steps[number].layer.output.shape[1:4] for number in (kept[-1], waist)]
            if len(kept) > 1 and sizes[0] == sizes[1]:
                kept.pop()
            kept.append(waist)
        self._segments = [Segment(steps, *ends) for ends in pairwise(kept)]
        self._rests = [Rest(steps, waist) for waist in kept]

    def start(self, weights: Weights, volume: Array, background: float) -> tuple[float, Hidden]:
        """Return the logit of `volume`, float32 (z, y, x), and the function from parts to the logits without each.

        weights: see `weights_of`, of a network like the one that was taken apart.
        """
        maps = [volume[np.newaxis, ..., np.newaxis]]
        for segment in self._segments:
            maps.append(segment.run(weights, maps[-1]))
        (logit,) = self._rests[-1].run(weights, maps[-1]).tolist()

        def without(parts: Sequence[Block]) -> Array:
            chunks = [parts[start : start + PARTS] for start in range(0, len(parts), PARTS)]
            each = [self._without(chunk, weights, maps, background) for chunk in chunks]
            return np.concatenate([np.zeros(0), *each])

        return logit, without

    def _without(self, parts: Sequence[Block], weights: Weights, maps: Sequence[Array], background: float) -> Array:
        boxes: list[Box] = [tuple((span.start, span.stop) for span in part) for part in parts]  # type: ignore[misc]
        patches = [np.full([*(high - low for low, high in box), 1], background, np.float32) for box in boxes]
        depth = 0
        for segment in self._segments:
            after = [segment.reached(box) for box in boxes]
            size, begin = segment.cuts(after)
            if math.prod(size) > WORTH * math.prod(segment.shape):
                break
            cuts = [_patched(maps[depth][0], *each, size) for each in zip(boxes, patches, begin, strict=True)]
            made = segment.run(weights, np.stack(cuts))
            corners = [[at // stride for at, stride in zip(corner, segment.stride, strict=True)] for corner in begin]
            patches = [
                cut[tuple(slice(low - at, high - at) for (low, high), at in zip(box, corner, strict=True))]
                for cut, box, corner in zip(made, after, corners, strict=True)
            ]
            boxes, depth = after, depth + 1
        whole, rest = maps[depth][0], self._rests[depth]
        logits = []
        for start in range(0, len(boxes), rest.most):
            changed = zip(boxes[start : start + rest.most], patches[start : start + rest.most], strict=True)
            batch = np.stack([_patched(whole, *each, (0, 0, 0), whole.shape[:3]) for each in changed])
            logits.append(rest.run(weights, batch))
        return np.concatenate(logits)


def _patched(whole: Array, box: Box, patch: Array, begin: Sequence[int], size: Sequence[int]) -> Array:
    """Return a copy of `size` voxels of `whole` from `begin` on, with `patch` where the `box` lies."""
    cut = whole[tuple(slice(at, at + length) for at, length in zip(begin, size, strict=True))].copy()
    spans = []
    for (low, high), at, length in zip(box, begin, size, strict=True):
        first = min(max(low, at), at + length)
        spans.append((first, max(min(high, at + length), first)))  # empty where the layers see none of the box
    into = tuple(slice(low - at, high - at) for (low, high), at in zip(spans, begin, strict=True))
    out_of = tuple(slice(low - first, high - first) for (low, high), (first, _) in zip(spans, box, strict=True))
    cut[into] = patch[out_of]
    return cut


def _function(steps: Sequence[Step], first: int, last: int, shape: Sequence[int | None]) -> Callable[[Any, Any], Any]:
    """Return the function from weights and the output of step `first` to that of step `last`; shape: (z, y, x)."""
    own = steps[first + 1 : last + 1]

    def run(weights: Weights, maps: Any) -> Any:
        made = {first: maps}
        for number, (step, each) in enumerate(zip(own, weights, strict=True), start=first + 1):
            inputs = [made[source] for source in step.sources]
            count = len(step.layer.trainable_variables)
            made[number], _ = step.layer.stateless_call(
                each[:count], each[count:], inputs if len(inputs) > 1 else inputs[0]
            )
        return made[last]

    like = [
        [tf.TensorSpec(each.shape, each.dtype) for each in layer] for layer in _variables(step.layer for step in own)
    ]
    maps = tf.TensorSpec((None, *shape, steps[first].layer.output.shape[-1]), tf.float32)
    function: Callable[[Any, Any], Any] = tf.function(run, input_signature=[like, maps], autograph=False)
    return function
