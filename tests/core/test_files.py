"""Files and folders appear whole or not at all."""

import json
from pathlib import Path

import pytest

from flairprep.core.files import atomic_file, atomic_folder, shown_folder, write_json, write_text


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tree(folder: str = ".") -> dict[str, str]:
    """All files below `folder` and their texts."""
    return {path.as_posix(): path.read_text() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def test_file_replaces_the_former_one_when_the_block_ends() -> None:
    path = Path("new/a.txt")
    for text in ("one", "two"):
        before = tree()
        with atomic_file(path) as partial:
            partial.write_text(text)
            assert partial.parent == path.parent  # the same file system
            assert {name: value for name, value in tree().items() if name != partial.as_posix()} == before
        assert tree() == {"new/a.txt": text}


def test_replaced_file_is_a_new_one_where_the_former_is_linked_elsewhere() -> None:
    write_text(Path("cache"), "one")
    Path("out").hardlink_to("cache")
    write_text(Path("out"), "two")
    assert tree() == {"cache": "one", "out": "two"}


def fill(partial: Path, *names: str) -> None:
    for name in names:
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).write_text(name)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("exists", [True, False])
def test_failure_leaves_the_former_result_and_nothing_else(error: type[BaseException], exists: bool) -> None:
    if exists:
        write_text(Path("data/a.txt"), "former")
        write_text(Path("data/out/b.txt"), "former")
    before = tree()

    def write_both() -> None:
        with atomic_folder(Path("data/out")) as folder, atomic_file(Path("data/a.txt")) as file:
            fill(folder, "b.txt", "deep/c.txt")
            file.write_text("half")
            raise error

    with pytest.raises(error):
        write_both()
    assert tree() == before


def test_file_that_the_block_does_not_write_is_an_error_and_leaves_the_former_one() -> None:
    write_text(Path("a.txt"), "former")
    with pytest.raises(FileNotFoundError), atomic_file(Path("a.txt")):
        pass
    assert tree() == {"a.txt": "former"}


def test_folder_replaces_the_former_one_as_a_whole() -> None:
    with atomic_folder(Path("data/out")) as partial:
        fill(partial, "old.txt", "deep/old.txt")
        assert not Path("data/out").exists()
    with atomic_folder(Path("data/out")) as partial:
        assert list(partial.iterdir()) == []
        fill(partial, "deep/new.txt")
    assert tree() == {"data/out/deep/new.txt": "deep/new.txt"}


def test_what_an_interrupted_run_left_is_not_in_the_next_result() -> None:
    with atomic_folder(Path("data/out")) as partial:
        left = partial
    fill(left, "stale.txt")
    with atomic_folder(Path("data/out")) as partial:
        assert partial == left
        fill(partial, "new.txt")
    assert tree() == {"data/out/new.txt": "new.txt"}


def test_what_a_killed_worker_left_half_written_is_not_in_the_result() -> None:
    with atomic_folder(Path("data/out")) as partial:
        fill(partial, "deep/.a.nii.gz.123.partial", "deep/.a.nii.gz.123.partial.nii", "deep/b.nii.gz")
    assert tree() == {"data/out/deep/b.nii.gz": "deep/b.nii.gz"}


def test_text_is_utf8_with_line_feeds() -> None:
    write_text(Path("a.txt"), "ä\nb\n")
    assert Path("a.txt").read_bytes() == b"\xc3\xa4\nb\n"


def test_json_keeps_the_order_of_keys_and_refuses_nan() -> None:
    value = {"b": 1, "a": [0.5, None, "ä"]}
    write_json(Path("a.json"), value)
    assert list(json.loads(Path("a.json").read_text(encoding="utf-8")).items()) == list(value.items())
    assert Path("a.json").read_text(encoding="utf-8").endswith("}\n")
    with pytest.raises(ValueError, match="JSON"):
        write_json(Path("a.json"), {"auc": float("nan")})
    assert json.loads(Path("a.json").read_text(encoding="utf-8")) == value


def test_a_shown_folder_begins_empty_and_goes_with_a_block_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "train"
    path.mkdir()
    (path / "model.keras").touch()
    with shown_folder(path):
        assert not path.exists()
        write_text(path / "history.csv", "epoch\n")
    assert [file.name for file in path.iterdir()] == ["history.csv"]

    def ended() -> None:
        with shown_folder(path):
            write_text(path / "history.csv", "epoch\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ended()
    assert not path.exists()
