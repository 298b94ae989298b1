"""phantom: the anatomy lies as the atlas does, and the label explains what the signal says."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from nilearn import datasets

from flairprep.demo import phantom
from flairprep.demo.plan import DemoCase


def test_left_stays_left(atlas: phantom.Atlas) -> None:
    """nilearn's RAS and the atlas's LPS agree at places off every axis of symmetry."""
    grey = datasets.load_mni152_gm_template(resolution=2)
    white = datasets.load_mni152_wm_template(resolution=2)
    for right, front, top in ((30, -20, 40), (-40, 34, 8), (22, 46, -2)):
        index = np.rint(np.linalg.inv(grey.affine) @ [right, front, top, 1]).astype(int)[:3]
        p_grey, p_white = grey.get_fdata()[tuple(index)], white.get_fdata()[tuple(index)]
        total = max(p_grey + p_white, 1)
        intensity = (
            phantom.GREY * p_grey + phantom.WHITE * p_white + phantom.FLUID * (total - p_grey - p_white)
        ) / total
        seen = atlas.image[atlas.image.TransformPhysicalPointToIndex((-right, -front, top))]
        assert seen[0] == pytest.approx(intensity, rel=1e-5)


def test_full_signal_separates_the_classes() -> None:
    drawn = np.array([[phantom.tumour(np.random.default_rng(i), label, 1) for label in (0, 1)] for i in range(50)])
    (radius_0, bright_0), (radius_1, bright_1) = drawn[:, 0].T, drawn[:, 1].T
    assert radius_0.max() + 3 < radius_1.min()
    assert 2 * bright_0.max() < bright_1.min()


def test_without_signal_the_label_changes_nothing(atlas: phantom.Atlas, planned: list[DemoCase]) -> None:
    for i in range(50):
        assert phantom.tumour(np.random.default_rng(i), 0, 0) == phantom.tumour(np.random.default_rng(i), 1, 0)
    heads = [phantom.head(atlas, replace(planned[0], label=label), 0) for label in (0, 1)]
    volumes = [sitk.GetArrayViewFromImage(head.image) for head in heads]
    np.testing.assert_array_equal(*volumes)


def test_the_label_changes_nothing_but_the_tumour(atlas: phantom.Atlas, planned: list[DemoCase]) -> None:
    cases = [replace(planned[0], label=label) for label in (0, 1)]
    heads = [phantom.head(atlas, case, 1) for case in cases]
    np.testing.assert_array_equal(heads[0].centre, heads[1].centre)
    grids = [phantom.grid(case, head) for case, head in zip(cases, heads, strict=True)]
    assert grids[0].IsSameImageGeometryAs(grids[1], 0.0, 0.0)
    volumes = [phantom.scan(case, head, grids[0]) for case, head in zip(cases, heads, strict=True)]
    changed = np.argwhere(np.abs(volumes[1] - volumes[0]) > 1e-3)[:, ::-1]
    points = [grids[0].TransformIndexToPhysicalPoint(index) for index in changed.tolist()]
    assert 0 < np.linalg.norm(np.array(points) - heads[0].centre, axis=1).max() < 50
