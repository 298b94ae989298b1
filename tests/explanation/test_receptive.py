"""receptive: spans through windows against what a layer's outputs see, index by index."""

from itertools import product

import pytest

from flairprep.explanation import receptive
from flairprep.explanation.receptive import Step, Window


def views(window: Window) -> list[set[int]]:
    """The inputs that each output sees."""
    starts = [index * window.stride - window.before for index in range(window.outputs)]
    return [set(range(start, start + window.size)) & set(range(window.inputs)) for start in starts]


WINDOWS = [
    Window(3, 1, 1, 9, 9),  # same
    Window(3, 1, 0, 9, 7),  # valid
    Window(3, 2, 0, 8, 4),  # same, even
    Window(3, 2, 1, 9, 5),  # same, odd
    Window(2, 2, 0, 9, 4),  # pooling that drops the last
    Window(2, 2, 0, 9, 5),  # pooling that pads it
    Window(5, 1, 0, 9, 5),  # cropping
    Window(5, 3, 1, 10, 4),
]


@pytest.mark.parametrize("window", WINDOWS)
def test_a_span_is_seen_and_reached_as_its_indices_are(window: Window) -> None:
    seen_by = views(window)
    for low, high in ((a, b) for a, b in product(range(window.outputs), range(1, window.outputs + 1)) if a < b):
        inputs = set.union(*seen_by[low:high])
        assert window.seen((low, high)) == (min(inputs), max(inputs) + 1)
    for low, high in ((a, b) for a, b in product(range(window.inputs), range(1, window.inputs + 1)) if a < b):
        outputs = [index for index, inputs in enumerate(seen_by) if inputs & set(range(low, high))]
        first, last = window.reached((low, high))
        if outputs:
            assert (first, last) == (outputs[0], outputs[-1] + 1)
        else:
            assert last - first == 1, "one at least, so that no box is empty"


def chain(*windows: Window) -> list[Step]:
    """Steps in a row, after the input."""
    return [Step(None, (number,), (window,) * 3) for number, window in enumerate(windows)]


def test_a_branch_counts_with_the_wider_view_of_the_two() -> None:
    wide, narrow, add = Window(5, 1, 2, 20, 20), Window(1, 1, 0, 20, 20), Window(1, 1, 0, 20, 20)
    steps = [Step(None, (0,), (wide,) * 3), Step(None, (0,), (narrow,) * 3), Step(None, (1, 2), (add,) * 3)]
    assert receptive.reached(steps, 0, 0, (10, 12)) == (8, 14)
    assert receptive.seen(steps, 0, 0, (10, 12)) == (8, 14)
    assert receptive.stride(steps, 0, 0) == 1


def test_a_chain_is_seen_through_every_layer() -> None:
    steps = chain(Window(3, 2, 0, 32, 16), Window(3, 1, 1, 16, 16), Window(2, 2, 0, 16, 8))
    assert receptive.stride(steps, 0, 2) == 4
    assert receptive.seen(steps, 0, 2, (3, 4)) == (10, 19)
    assert receptive.reached(steps, 0, 2, (10, 11)) == (1, 4)


def test_a_waist_is_where_all_paths_meet() -> None:
    # input - a - (b, c from a) - add of b and c - d - (e, add of d and e)
    sources = [(), (0,), (1,), (1,), (2, 3), (4,), (5,), (5, 6)]
    assert receptive.waists([Step(None, each, None) for each in sources]) == [0, 1, 4, 5]
