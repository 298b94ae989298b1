"""Apply `-S KEY=VALUE` to the values of params.yaml as `dvc exp run` does, without writing them."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from flairprep.core import params


def key_fault(override: str, values: dict[str, Any]) -> str | None:
    """Return why the key of KEY=VALUE cannot be set among the `values` of params.yaml, None where it can."""
    key, equals, _ = override.partition("=")
    if not equals and not key.startswith("~"):
        return f"-S {override}: no value; write KEY=VALUE, e.g. -S lr=1e-5"
    path, colon, key = key.rpartition(":")
    if colon and path != str(params.FILE):
        return f"-S {override}: the stages read {params.FILE} alone; write the key without {path!r}"
    node: Any = values
    for depth, part in enumerate(parts := key.lstrip("+~").split(".")):
        if not isinstance(node, dict) or part not in node:
            known = tuple(map(str, node)) if isinstance(node, dict) else ()
            above = ".".join(parts[:depth])
            if above in ("ingest.exclude", "ingest.pick") and key.startswith("+"):  # their keys are cases
                return None
            inside = f"{above}: " if above else ""
            return f"-S {override}: params.yaml: {inside}no key {part!r}; {params.suggest(part, known)}"
        node = node[part]
    return None


def combinations(overrides: Sequence[str], values: dict[str, Any]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Yield the overrides of each run that DVC would make, and all values of its params.yaml.

    A sweep such as lr=1e-4,1e-5 makes several. The parser is DVC's own, Hydra.

    Raises:
        ValueError: an override does not follow Hydra's grammar.
    """
    from dvc.utils.hydra import get_hydra_sweeps, to_hydra_overrides
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    name = str(params.FILE)
    plain = [override.removeprefix(f"{name}:") for override in overrides]
    try:
        for sweep in get_hydra_sweeps({name: plain}):
            config = OmegaConf.create(values, flags={"allow_objects": True})
            OmegaConf.set_struct(config, True)
            ConfigLoaderImpl._apply_overrides_to_config(to_hydra_overrides(sweep[name]), config)
            yield sweep[name], cast(dict[str, Any], OmegaConf.to_object(config))
    except (HydraException, OmegaConfBaseException) as error:
        quoted = isinstance(error, OverrideParseException)
        hint = """; quote a text with such characters, e.g. -S 'KEY="VALUE"'""" if quoted else ""
        raise ValueError(" ".join(str(error).split()) + hint) from error
