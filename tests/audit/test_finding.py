"""An item of reports/audit.json."""

import json

from flairprep.audit.finding import Finding


def test_an_item_has_every_key_and_null_for_what_was_not_measured() -> None:
    item = Finding("plane", "shortcut", "not testable", "the same in all cases").as_item()
    assert list(item) == ["name", "kind", "verdict", "p", "p_holm", "effect", "measure", "cases", "text"]
    assert (item["p"], item["p_holm"], item["effect"], item["measure"], item["cases"]) == (None, None, None, None, [])


def test_numbers_have_six_digits() -> None:
    item = Finding("plane", "shortcut", "clean", "", "auc", 2 / 3, float("nan"), 1.0, ("00001",)).as_item()
    assert json.loads(json.dumps(item, allow_nan=False))["effect"] == 0.666667
    assert (item["p"], item["p_holm"], item["cases"]) == (None, 1.0, ["00001"])
