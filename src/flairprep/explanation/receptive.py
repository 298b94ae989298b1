"""Which voxels of one map of a network see which of another, along one axis, through the windows of its layers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

Span = tuple[int, int]  # along an axis: the first index, and the one after the last


class Window(NamedTuple):
    """What output `index` of a layer sees along an axis: `size` inputs from index * stride - before on.

    inputs, outputs: how many there are. Inputs before 0 and after the last are padding.
    """

    size: int
    stride: int
    before: int
    inputs: int
    outputs: int

    def reached(self, span: Span) -> Span:
        """Return the outputs that see any input of `span`; one of them at least, though it may see none."""
        first = -((self.size - 1 - self.before - span[0]) // self.stride)
        last = (span[1] - 1 + self.before) // self.stride
        low = min(max(first, 0), self.outputs - 1)
        return low, min(max(last, low) + 1, self.outputs)

    def seen(self, span: Span) -> Span:
        """Return the inputs that any output of `span` sees."""
        low, high = span[0] * self.stride - self.before, (span[1] - 1) * self.stride - self.before + self.size
        return max(low, 0), min(high, self.inputs)


class Step(NamedTuple):
    """A layer of a network, with the numbers of the steps whose outputs it gets.

    windows: along z, y and x; None where an output may see all of the input.
    """

    layer: Any
    sources: tuple[int, ...]
    windows: tuple[Window, Window, Window] | None


def waists(steps: Sequence[Step]) -> list[int]:
    """Return the steps, in order, whose output is all that the later steps know of the earlier ones."""
    last = {source: number for number, step in enumerate(steps) for source in step.sources}
    return [
        number for number in range(len(steps) - 1) if all(last.get(earlier, 0) <= number for earlier in range(number))
    ]


def reached(steps: Sequence[Step], first: int, axis: int, span: Span) -> Span:
    """Return where along `axis` the output of the last of `steps` sees any of `span` in the output of step `first`.

    steps: with windows; numbered from first + 1 on.
    """
    spans = {first: span}
    for number, step in enumerate(steps, start=first + 1):
        spans[number] = _window(step, axis).reached(_hull([spans[source] for source in step.sources]))
    return spans[first + len(steps)]


def seen(steps: Sequence[Step], first: int, axis: int, span: Span) -> Span:
    """Return what the `span` in the output of the last of `steps` sees along `axis`; steps, first: see `reached`."""
    spans: dict[int, list[Span]] = {first + len(steps): [span]}
    for number, step in reversed([*enumerate(steps, start=first + 1)]):
        for source in step.sources:
            spans.setdefault(source, []).append(_window(step, axis).seen(_hull(spans[number])))
    return _hull(spans[first])


def stride(steps: Sequence[Step], first: int, axis: int) -> int:
    """Return the voxels of the output of step `first` per voxel of that of the last of `steps`, along `axis`."""
    strides = {first: 1}
    for number, step in enumerate(steps, start=first + 1):
        strides[number] = strides[step.sources[0]] * _window(step, axis).stride
    return strides[first + len(steps)]


def _window(step: Step, axis: int) -> Window:
    assert step.windows is not None  # steps without are never asked
    return step.windows[axis]


def _hull(spans: Sequence[Span]) -> Span:
    return min(low for low, _ in spans), max(high for _, high in spans)
