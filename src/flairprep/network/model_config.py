"""Read section `model` of params.yaml and fill in what is a named network's own; without tensorflow."""

import logging
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt

from flairprep.core import params
from flairprep.core.params import Section

logger = logging.getLogger(__name__)

Norm = Literal["after_conv", "after_pool", "group", "none"]
Init = Literal["glorot_uniform", "he_normal"]
RENAMED = {"question_cnn": "tutorial_cnn"}  # former values of model.name


def _current_name(name: Any) -> Any:
    """Return what a network of a former name is called now, with a warning."""
    if not isinstance(name, str) or name not in RENAMED:
        return name
    _warn_renamed(name)
    return RENAMED[name]


@cache  # one line per program, however often it reads the section
def _warn_renamed(name: str) -> None:
    logger.warning(f"{params.FILE}: model.name: {name!r} is now called {RENAMED[name]!r}; write the new name there")


class ModelParams(Section):
    """Section `model` of params.yaml; null: the named network's own value."""

    name: Annotated[Literal["resnet3d", "tutorial_cnn"], BeforeValidator(_current_name)]
    """The network: a small residual one, or that of keras.io's tutorial on CT scans to the letter (formerly
    question_cnn)."""
    skip: bool | None
    """Shortcuts around the convolutions."""
    norm: Norm | None
    """Batch normalisation right after each convolution, or after each pooling; group normalisation, which has no
    averages that lag; none."""
    norm_momentum: Annotated[float, Field(gt=0, lt=1)] | None
    """Of batch normalisation's moving averages: 0.99 needs hundreds of steps before they mean anything."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None
    """Rate before the output."""
    # YAML has lists only, which a strict tuple would refuse.
    filters: Annotated[tuple[PositiveInt, ...], Field(min_length=1, strict=False)] | None
    """One number per block."""
    dense: NonNegativeInt | None
    """Units of a hidden dense layer, 0 for none."""
    init: Init | None
    """How the first weights are drawn."""


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that model.build needs: five fields of the network's own, and those of `ModelParams`."""

    convs: int  # convolutions in a block
    strided: bool  # its first convolution halves the map, padding same; otherwise padding valid, then max pooling
    halve_input: bool
    global_max: bool  # adds the maximum of each map to its average, which a small lesion hardly moves
    start_at_prior: bool  # an untrained network answers the share of positive cases
    skip: bool
    norm: Norm
    norm_momentum: float
    dropout: float
    filters: tuple[int, ...]
    dense: int
    init: Init


NETWORKS: dict[str, NetworkConfig] = {
    # Convolutions at full resolution would cost eight times as much, and the lesions looked for span many voxels.
    "resnet3d": NetworkConfig(
        convs=2,
        strided=True,
        halve_input=True,
        global_max=True,
        start_at_prior=True,
        skip=True,
        norm="after_conv",
        norm_momentum=0.9,  # few cases make few steps: 0.99 would still hold the initial statistics
        dropout=0.0,
        filters=(8, 16, 32, 64),
        dense=0,
        init="he_normal",
    ),
    "tutorial_cnn": NetworkConfig(
        convs=1,
        strided=False,
        halve_input=False,
        global_max=False,
        start_at_prior=False,
        skip=False,
        norm="after_pool",
        norm_momentum=0.99,
        dropout=0.3,
        filters=(64, 64, 128, 256),
        dense=512,
        init="glorot_uniform",
    ),
}


def resolve(params: ModelParams) -> NetworkConfig:
    """Return the named network with every value that `params` gives in place of its own."""
    return replace(NETWORKS[params.name], **params.model_dump(exclude={"name"}, exclude_none=True))
