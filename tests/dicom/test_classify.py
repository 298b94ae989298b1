"""Recognise FLAIR, T1w, T1wCE and T2w by what scanners of all vendors write."""

from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import phantoms
import pytest
from phantoms import refusal
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from series_headers import (
    ADDED,
    DERIVED,
    EP,
    FLAIR_TIMES,
    GR,
    IR,
    MP,
    MPR,
    MPRAGE_TIMES,
    NO_TIMES,
    ORIGINAL,
    POST,
    REFORMATTED,
    SE,
    SUB,
    T1_TIMES,
    TWO,
    made,
    only,
    timed,
)

from flairprep.core.codes import Code
from flairprep.dicom.classify import SEQUENCES, recognise
from flairprep.dicom.header import Header, read_header
from flairprep.dicom.series import choose_candidate


class Row(NamedTuple):
    """A series as scanned: times are (TE, TR, TI) in ms; `expected` is what a neuroradiologist calls it."""

    name: str
    times: tuple[float | None, float | None, float | None]
    scanning: tuple[str, ...]
    image_type: tuple[str, ...]
    expected: str
    marks: tuple[str, ...] = ()


TABLE = [
    # FLAIR: Siemens, Philips, GE, Canon, United Imaging, Hitachi, Hyperfine
    Row("t2_tirm_tra_dark-fluid", (89, 9000, 2500), IR, ORIGINAL, "FLAIR"),
    Row("t2_tirm_tra_dark-fluid NO BLADE", (84, 9000, 2500), IR, ORIGINAL, "FLAIR"),
    Row("t2_spc_da-fl_sag_p2_iso", (387, 5000, 1800), IR, ORIGINAL, "FLAIR"),
    Row("t2_space_dark-fluid_sag_fs_iso", (394, 5000, 1650), IR, ORIGINAL, "FLAIR"),
    Row("t2_space_da_fl_sag", NO_TIMES, (), ORIGINAL, "FLAIR"),
    Row("t2spacedafl_1mm", NO_TIMES, (), ORIGINAL, "FLAIR"),
    Row("t2_blade_dark-fluid_tra", (117, 9000, 2500), IR, ORIGINAL, "FLAIR"),
    Row("space T2 FLAIR", (389, 6000, 2200), IR, ORIGINAL, "FLAIR"),
    Row("T2W_FLAIR_SENSE", (125, 11000, 2800), ("IR",), ORIGINAL, "FLAIR"),
    Row("eT2W_FLAIR SPIR CLEAR", (120, 6000, 2000), ("IR",), ORIGINAL, "FLAIR"),
    Row("FLAIR_longTR", (125, 11000, 2800), ("IR",), ORIGINAL, "FLAIR"),
    Row("VISTA FLAIR 3D", (340, 4800, 1650), ("IR",), ORIGINAL, "FLAIR"),
    Row("3D_Brain_VIEW_FLAIR", (290, 4800, 1650), IR, ORIGINAL, "FLAIR"),
    Row("AX T2 FLAIR", (120, 8002, 2000), IR, ORIGINAL, "FLAIR"),
    Row("Cor T2 FLAIR FS", (125, 9002, 2250), IR, ORIGINAL, "FLAIR"),
    Row("Sag CUBE FLAIR", (118, 6000, 1850), IR, ORIGINAL, "FLAIR"),
    Row("Sag 3D T2 FLAIR_ti1650", (119, 4800, 1650), IR, ORIGINAL, "FLAIR"),
    Row("OAx T2 FLAIR PROPELLER", (95, 8500, 2300), IR, ORIGINAL, "FLAIR"),
    Row("t2_fse_flair_tra_fs", (107, 8500, 2400), IR, ORIGINAL, "FLAIR"),
    Row("FASE FLAIR AX", (105, 10000, 2700), IR, ORIGINAL, "FLAIR"),
    Row("FLAIR AX PRIMEFSE", (117, 10000, 2300), IR, ORIGINAL, "FLAIR"),
    Row("FLAIR (Axi)", (194.4, 4000, 1400), IR, ORIGINAL, "FLAIR"),
    Row("Flair post op", FLAIR_TIMES, IR, ORIGINAL, "FLAIR"),
    Row("FLAIR post fossa", FLAIR_TIMES, IR, ORIGINAL, "FLAIR"),
    Row("AX FLAIR no contrast", FLAIR_TIMES, IR, ORIGINAL, "FLAIR"),
    Row("FLAIR noncontrast", FLAIR_TIMES, IR, ORIGINAL, "FLAIR"),
    Row("FLAIR multislice block 2", FLAIR_TIMES, IR, ORIGINAL, "FLAIR"),
    Row("FLAIR subject 7", FLAIR_TIMES, IR, ORIGINAL, "FLAIR"),
    Row("sub-01_FLAIR", FLAIR_TIMES, IR, ORIGINAL, "FLAIR"),
    Row("EPI FLAIR", (90, 9000, 2500), ("EP", "SE", "IR"), ORIGINAL, "FLAIR"),
    Row("", (87, 9000, 2500), IR, ORIGINAL, "FLAIR"),
    Row("t2_tirm_cor", (90, 9000, 2500), IR, ORIGINAL, "FLAIR"),  # its TI tells it from a STIR
    # FLAIR that is marked
    Row("SAG FLAIR 3D +C", (118, 6000, 1850), IR, ORIGINAL, "FLAIR", (POST,)),
    Row("Ax FLAIR post Gd", FLAIR_TIMES, IR, ORIGINAL, "FLAIR", (POST,)),
    Row("FLAIR_KM_tra", FLAIR_TIMES, IR, ORIGINAL, "FLAIR", (POST,)),
    Row("3D FLAIR GADO", FLAIR_TIMES, IR, ORIGINAL, "FLAIR", (POST,)),
    Row("T2 FLAIR C+", FLAIR_TIMES, IR, ORIGINAL, "FLAIR", (POST,)),
    Row("FLAIR_SUB", (390, 5000, 1800), IR, ADDED, "FLAIR", (SUB, DERIVED)),
    Row("FLAIR subtraction", FLAIR_TIMES, IR, ORIGINAL, "FLAIR", (SUB,)),
    Row("FLAIR_MPR_Tra", (390, 5000, 1800), IR, MPR, "FLAIR", (DERIVED,)),
    Row("Sag CUBE FLAIR Reformat", (118, 6000, 1850), IR, REFORMATTED, "FLAIR", (DERIVED,)),
    Row("t2_space_dir_FLAIR", (325, 7500, 3000), IR, ORIGINAL, "FLAIR", (TWO,)),
    Row("SAG 3D DIR", (325, 7500, 3000), IR, ORIGINAL, "FLAIR", (TWO,)),  # nulls fluid, and white matter as well
    Row("FLAIR 16dir shim", FLAIR_TIMES, IR, ORIGINAL, "FLAIR"),
    # T1 and its kin without contrast agent
    Row("AX T1 FLAIR", (9, 2500, 860), IR, ORIGINAL, "T1w"),
    Row("Sag T1 Flair", NO_TIMES, (), ORIGINAL, "T1w"),
    Row("t1_tirm_tra_dark-fluid", (9.4, 2000, 860), IR, ORIGINAL, "T1w"),
    Row("T1_MPRAGE_SAG", (2.3, 2300, 900), MP, ORIGINAL, "T1w"),
    Row("t1_mpr_ns_sag_p2_iso", (2.9, 2300, 900), MP, ORIGINAL, "T1w"),
    Row("T1w_MPR", (2.1, 2400, 1000), MP, ORIGINAL, "T1w"),
    Row("t1_se_tra", (8.4, 500, None), SE, ORIGINAL, "T1w"),
    Row("t1_space_sag", (20, 700, None), SE, ORIGINAL, "T1w"),  # "space" ends in "ce"
    Row("T1 slice 5mm", T1_TIMES, SE, ORIGINAL, "T1w"),
    Row("t1_mp2rage_sag_p3_iso_UNI_Images", (2.98, 5000, None), MP, ORIGINAL, "T1w"),
    Row("sT1W_3D_TFE", (3.7, 8.1, None), GR, ORIGINAL, "T1w"),
    Row("WIP cs_T1W_3D_TFE", (3.7, 8.1, None), GR, ORIGINAL, "T1w"),
    Row("eT1W_SE_CLEAR", (12, 560, None), SE, ORIGINAL, "T1w"),
    Row("Ax FSPGR 3D", (3.2, 8.2, 450), GR, ORIGINAL, "T1w"),
    Row("Sag BRAVO", (3.2, 8.2, 450), GR, ORIGINAL, "T1w"),
    Row("MPRAGE GRAPPA2(adni)", (2.98, 2300, 900), MP, ORIGINAL, "T1w"),
    Row("3DT1 SAG", (3.0, 8.0, None), GR, ORIGINAL, "T1w"),
    Row("AxT1", T1_TIMES, SE, ORIGINAL, "T1w"),
    Row("t1_gre_fsp_3d_sag_iso", (3.1, 7.2, None), GR, ORIGINAL, "T1w"),
    Row("T1 non-contrast", T1_TIMES, SE, ORIGINAL, "T1w"),
    Row("T1 AX W/O CONTRAST", T1_TIMES, SE, ORIGINAL, "T1w"),
    Row("T1 ohne KM", T1_TIMES, SE, ORIGINAL, "T1w"),
    Row("T1 pre Gd", T1_TIMES, SE, ORIGINAL, "T1w"),
    Row("AX T1 postop", T1_TIMES, SE, ORIGINAL, "T1w"),
    Row("", MPRAGE_TIMES, MP, ORIGINAL, "T1w"),
    Row("T1 (Axi)", (6.1, 1500, 300), IR, ORIGINAL, "T1w"),
    # T1 with contrast agent
    Row("T1_MPRAGE_SAG_KM", (2.3, 2300, 900), MP, ORIGINAL, "T1wCE", (POST,)),
    Row("T1 post", T1_TIMES, SE, ORIGINAL, "T1wCE", (POST,)),
    Row("T1W_3D_TFE_GD", (3.7, 8.1, None), GR, ORIGINAL, "T1wCE", (POST,)),
    Row("AX T1 SE C+", (14, 600, None), SE, ORIGINAL, "T1wCE", (POST,)),
    Row("t1_gre_fsp_3d_sag_ACS+C", (3.1, 7.2, None), GR, ORIGINAL, "T1wCE", (POST,)),
    Row("T1w CE", T1_TIMES, SE, ORIGINAL, "T1wCE", (POST,)),
    Row("T1wCE", NO_TIMES, (), ORIGINAL, "T1wCE", (POST,)),
    Row("T1C", T1_TIMES, SE, ORIGINAL, "T1wCE", (POST,)),
    Row("Ax 3D T1 Gado", T1_TIMES, GR, ORIGINAL, "T1wCE", (POST,)),
    Row("T1 Gado post op", T1_TIMES, SE, ORIGINAL, "T1wCE", (POST,)),
    Row("Gd T1 GD pre op", T1_TIMES, SE, ORIGINAL, "T1wCE", (POST,)),
    Row("SAG BRAVO +C", (3.2, 8.2, 450), GR, ORIGINAL, "T1wCE", (POST,)),
    Row("Post Ax T1 FLAIR PROPELLER", (26, 2500, 780), IR, ORIGINAL, "T1wCE", (POST,)),
    Row("T1_SUB", T1_TIMES, GR, ADDED, "T1w", (SUB, DERIVED)),
    Row("t1_gre_fsp_3d_tra_fs_MPR_SAG", (3.1, 7.2, None), GR, MPR, "T1w", (DERIVED,)),
    # T2
    Row("t2_tse_tra", (100, 6000, None), SE, ORIGINAL, "T2w"),
    Row("T2W_TSE", (80, 3000, None), SE, ORIGINAL, "T2w"),
    Row("eT2W_TSE_CLEAR", (100, 4400, None), SE, ORIGINAL, "T2w"),
    Row("Ax T2 PROPELLER", (102, 4500, None), SE, ORIGINAL, "T2w"),
    Row("T2 CUBE", (90, 2500, None), SE, ORIGINAL, "T2w"),
    Row("t2_spc_sag_p2_iso", (408, 3200, None), SE, ORIGINAL, "T2w"),
    Row("AX T2 FRFSE", (105, 5000, None), SE, ORIGINAL, "T2w"),
    Row("T2 (Axi)", (215, 2200, None), SE, ORIGINAL, "T2w"),
    Row("", (95, 5000, None), SE, ORIGINAL, "T2w"),
    # none of them
    Row("t2_tirm_cor_fs STIR", (60, 5000, 150), IR, ORIGINAL, ""),
    Row("t2_tirm_cor", (61, 5000, 160), IR, ORIGINAL, ""),
    Row("STIR longTE", (90, 5000, 220), IR, ORIGINAL, ""),
    Row("t1_mp2rage_sag_p3_iso_INV1", (2.98, 5000, 700), MP, ORIGINAL, ""),
    Row("t1_mp2rage_sag_p3_iso_INV2", (2.98, 5000, 2500), MP, ORIGINAL, ""),
    Row("t1_mp2rage_sag_p3_iso", (2.98, 5000, 2500), MP, ORIGINAL, ""),
    Row(
        "t1_mp2rage_sag_p3_iso_T1_Images", (2.98, 5000, None), MP, ("DERIVED", "PRIMARY", "M", "T1 MAP"), "", (DERIVED,)
    ),
    Row("", (2.98, 5000, 2500), MP, ORIGINAL, ""),  # the second inversion of an MP2RAGE
    Row("T1 map", (1.1, 3, None), GR, ORIGINAL, ""),
    Row("T1rho 3D", (6, 1000, None), GR, ORIGINAL, ""),
    Row("3-Pl T2* FGRE", (1.6, 6, None), GR, ORIGINAL, ""),
    Row("Ax T2 STAR", (20, 600, None), GR, ORIGINAL, ""),
    Row("t2star_tra", NO_TIMES, (), ORIGINAL, ""),
    Row("AX T2 GRE", (20, 620, None), GR, ORIGINAL, ""),
    Row("t2_fl2d_tra_hemo", (20, 620, None), GR, ORIGINAL, ""),
    Row("T2W_FFE", (16, 700, None), GR, ORIGINAL, ""),
    Row("SWI_Images", (20, 28, None), GR, ORIGINAL, ""),
    Row("3D Ax SWAN", (25, 40, None), GR, ORIGINAL, ""),
    Row("ep2d_diff_3scan_trace_p2_TRACEW", (90, 6000, None), EP, ORIGINAL, ""),
    Row("ep2d_diff_3scan_trace_p2_ADC", (90, 6000, None), EP, ("DERIVED", "PRIMARY", "ADC"), "", (DERIVED,)),
    Row("Ax DWI T2", NO_TIMES, (), ORIGINAL, ""),
    Row("DTI b0 T2", (85, 8000, None), EP, ORIGINAL, ""),
    Row("ep2d_perf_p2", (30, 1500, None), ("EP",), ORIGINAL, ""),
    Row("T2 perfusion", (30, 1500, None), ("EP",), ORIGINAL, ""),
    Row("t1_twist_dce", (1.0, 3, None), GR, ORIGINAL, ""),
    Row("TOF_3D_multi-slab", (3.4, 21, None), GR, ORIGINAL, ""),
    Row("sT2W/PD_TSE", (11, 3000, None), SE, ORIGINAL, ""),  # the first echo of two
    Row("rest1", NO_TIMES, (), ORIGINAL, ""),
    Row("test2", NO_TIMES, (), ORIGINAL, ""),
    Row("T12 vertebra", NO_TIMES, (), ORIGINAL, ""),
    Row("ge_functional", (30, 2000, None), ("EP",), ORIGINAL, ""),
    Row("postprocessing", NO_TIMES, (), ORIGINAL, ""),
    Row("reports", NO_TIMES, (), ORIGINAL, ""),
    Row("gre_field_mapping", (10, 600, None), GR, ORIGINAL, ""),
    Row("PD_TSE", (15, 3000, None), SE, ORIGINAL, ""),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.name or 'unnamed'} {row.times}")
def test_series_is_what_a_neuroradiologist_calls_it(row: Row) -> None:
    header = timed(row.name, row.times, row.scanning, row.image_type)
    one = only(header)
    assert (one.sequence, one.marks) == (row.expected, row.marks)
    protocol = only(timed("", row.times, row.scanning, row.image_type, protocol=row.name))
    assert (protocol.sequence, protocol.marks) == (row.expected, row.marks)


@pytest.mark.parametrize(
    ("description", "protocol", "expected", "marks"),
    [
        ("Ax T1", "BRAIN W/WO CONTRAST", "T1w", ()),  # a GE protocol is the examination's
        ("Ax T1 +C", "BRAIN W/WO CONTRAST", "T1wCE", (POST,)),
        ("Ax T1", "MRI BRAIN WITHOUT AND WITH CONTRAST", "T1w", ()),
        ("Ax T2 FLAIR", "BRAIN DWI T1 T2", "FLAIR", ()),
        ("Ax T2 FSE", "BRAIN FLAIR T1", "T2w", ()),
        ("ADC", "t2_flair", "", ()),
        ("MPR tra", "t2_space_dark-fluid_sag", "FLAIR", ()),
        ("", "", "", ()),
    ],
)
def test_own_name_of_a_series_comes_before_its_protocol(
    description: str, protocol: str, expected: str, marks: tuple[str, ...]
) -> None:
    one = only(made(description, protocol))
    assert (one.sequence, one.marks) == (expected, marks)


def test_folder_names_a_series_only_where_the_file_does_not() -> None:
    assert only(made(folder="FLAIR")).sequence == "FLAIR"
    assert only(made(folder="T1wCE")).sequence == "T1wCE"
    assert only(made("Ax T2 FSE", folder="flair_cohort")).sequence == "T2w"
    assert only(made("Ax FLAIR", folder="sub_post")).marks == ()


def test_contrast_agent_in_the_header_marks() -> None:
    assert only(made("Ax T1", contrast_agent=True)).sequence == "T1wCE"
    assert only(timed("", MPRAGE_TIMES, MP, contrast_agent=True)).sequence == "T1wCE"
    flair = only(made("FLAIR", contrast_agent=True))
    assert (flair.sequence, flair.marks) == ("FLAIR", (POST,))


@pytest.mark.parametrize(
    ("echo", "inversions", "reason"),
    [
        (90.0, (1199.0,), "TI 1199 ms"),
        (90.0, (1200.0,), ""),
        (90.0, (3200.0,), ""),
        (90.0, (3201.0,), "TI 3201 ms"),
        (69.9, (2500.0,), "TE 69.9 ms"),
        (70.0, (2500.0,), ""),
        (None, (2500.0,), ""),
        (90.0, (), ""),
        (None, (), ""),
        (90.0, (450.0, 3000.0), ""),
        (9.0, (860.0,), "TI 860 ms"),
    ],
)
def test_times_veto_a_flair_by_its_name_and_by_its_folder(
    echo: float | None, inversions: tuple[float, ...], reason: str
) -> None:
    header = made("FLAIR", echo_time=echo, inversion_times=inversions)
    for sequence, veto in (recognise([header]), recognise([header], "FLAIR")):
        assert bool(veto) == bool(reason)
        assert reason in veto
        assert (sequence == "FLAIR") == (not reason)
    assert recognise([header], "FLAIR")[0] in ("", "FLAIR")
    nameless = made("", echo_time=echo, inversion_times=inversions)
    characteristic = bool(not reason and echo and inversions)
    assert (recognise([nameless])[0] == "FLAIR") == characteristic


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_folder_is_the_claim_whatever_the_names_say(sequence: str) -> None:
    assert recognise([made("something")], sequence) == (sequence, "")
    assert recognise([made("ep2d_diff ADC")], sequence) == (sequence, "")


@pytest.mark.parametrize(
    ("sequence", "header", "reason"),
    [
        ("T1w", timed("", (41, 500, None)), "TE 41 ms"),
        ("T1w", timed("", (40, 500, None)), ""),
        ("T1wCE", timed("", (90, 500, None)), "TE 90 ms"),
        ("T1w", timed("", (3, 5000, 1601), MP), "TI 1601 ms"),
        ("T1w", timed("", (3, 5000, 1600), MP), ""),
        ("T1w", timed("", (9, 500, None), EP), "echo-planar"),
        ("T2w", timed("", (59.9, 5000, None)), "TE 59.9 ms"),
        ("T2w", timed("", (60, 5000, None)), ""),
        ("T2w", timed("", (90, 5000, 2500)), "TI 2500 ms"),
        ("T2w", timed("", (90, 5000, 150)), "TI 150 ms"),
        ("T2w", timed("", (90, 5000, None), EP), "echo-planar"),
        ("T2w", timed("", (90, 5000, None), IR), "inversion"),
        ("T2w", timed("", (90, 5000, None), GR), "inversion"),
        ("T2w", timed("", (90, 5000, None), ("SE", "GR")), ""),  # GRASE
    ],
)
def test_physics_vetoes_the_other_sequences(sequence: str, header: Header, reason: str) -> None:
    recognised, veto = recognise([header], sequence)
    assert recognised == ("" if reason else sequence)
    assert bool(veto) == bool(reason)
    assert reason in veto


@pytest.mark.parametrize(
    ("times", "scanning", "expected"),
    [
        ((90, 9000, 2500), EP, ""),
        ((90, 9000, 2500), (), "FLAIR"),
        ((None, 9000, 2500), IR, ""),
        ((90, 9000, 860), IR, ""),
        ((95, 1999, None), SE, ""),
        ((95, 2000, None), SE, "T2w"),
        ((59, 5000, None), SE, ""),
        ((95, None, None), SE, ""),
        ((95, 5000, None), GR, ""),
        ((95, 9000, None), IR, ""),
        ((10, 2000, 1300), MP, "T1w"),
        ((10.1, 2000, 1300), MP, ""),
        ((3, 2000, 1301), MP, ""),
        ((3, 8, 300), GR, "T1w"),
        ((3, 8, 160), GR, ""),
    ],
)
def test_times_alone_tell_where_they_are_characteristic(
    times: tuple[float | None, float | None, float | None], scanning: tuple[str, ...], expected: str
) -> None:
    assert recognise([timed("", times, scanning)])[0] == expected


def test_two_inversion_times_over_the_files_of_a_series_are_marked() -> None:
    members = [
        timed("FLAIR", (90, 9000, inversion), path=Path(f"{place}.dcm"))
        for place, inversion in enumerate([2500.0, 450.0])
    ]
    for order in permutations(members):
        one = only(*order)
        assert (one.sequence, one.marks) == ("FLAIR", (TWO,))
    alike = [timed("FLAIR", (90, 9000, time), path=Path(f"{time}.dcm")) for time in (2500.0, 2500.0001)]
    assert only(*alike).marks == ()


def test_both_inversions_of_an_mp2rage_in_one_series_are_no_t1w() -> None:
    assert recognise([made(echo_time=3.0, inversion_times=(700.0, 2500.0))]) == ("", "")


def test_every_echo_of_a_series_has_to_fit() -> None:
    dual = [timed("PD+T2", (echo, 3000, None), SE, path=Path(f"{echo}.dcm")) for echo in (11.0, 100.0)]
    for order in permutations(dual):
        assert only(*order).sequence == ""
        assert only(*order).veto.startswith("TE 11 ms")


def test_fluid_attenuated_is_a_claim_that_times_may_veto() -> None:
    assert recognise([made(acquisition_contrast="FLUID_ATTENUATED")]) == ("FLAIR", "")
    assert recognise([made("T2W", acquisition_contrast="FLUID_ATTENUATED")]) == ("FLAIR", "")
    short = made("AX T1 FLAIR", acquisition_contrast="FLUID_ATTENUATED", echo_time=9.0, inversion_times=(860.0,))
    assert recognise([short])[0] == "T1w"


def header_of(folder: Path, **elements: Any) -> Header:
    [path] = phantoms.save(phantoms.slices(np.ones((1, 4, 5), np.int16), **elements), folder)
    header = read_header(path)
    assert header is not None
    return header


def enhanced_header(folder: Path, *, top: str = "", shared: bool, **groups: dict[str, Any]) -> Header:
    """The header of an enhanced file; groups: sequence -> its elements, in the shared or in the frames' own groups."""
    [dataset] = phantoms.slices(np.ones((1, 4, 5), np.int16), NumberOfFrames=1)
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    if top:
        dataset.AcquisitionContrast = top
    group_ = Dataset()
    for sequence, elements in groups.items():
        item = Dataset()
        for keyword, value in elements.items():
            setattr(item, keyword, value)
        setattr(group_, sequence, Items([item]))
    dataset.SharedFunctionalGroupsSequence = Items([group_ if shared else Dataset()])
    dataset.PerFrameFunctionalGroupsSequence = Items([Dataset() if shared else group_])
    [path] = phantoms.save([dataset], folder)
    header = read_header(path)
    assert header is not None
    return header


@pytest.mark.parametrize(
    ("elements", "expected", "marks"),
    [
        ({"SeriesDescription": "AX T2 FLAIR"}, "FLAIR", ()),
        ({"ProtocolName": "t2_tirm_tra_dark-fluid"}, "FLAIR", ()),
        ({"EchoTime": 90, "InversionTime": 2500, "ScanningSequence": ["SE", "IR"]}, "FLAIR", ()),
        ({"SeriesDescription": "FLAIR", "EchoTime": 0, "InversionTime": 0}, "FLAIR", ()),
        ({"SeriesDescription": "FLAIR", "EchoTime": None, "InversionTime": None}, "FLAIR", ()),
        ({"SeriesDescription": "FLAIR", "EchoTime": 69.9}, "", ()),
        ({"SeriesDescription": "FLAIR", "InversionTime": 1199}, "", ()),
        ({"SeriesDescription": "AX T1 FLAIR", "EchoTime": 9, "InversionTime": 860}, "T1w", ()),
        ({"SeriesDescription": "T2", "EchoTime": 90, "ScanningSequence": "EP"}, "", ()),
        ({"SeriesDescription": "FLAIR", "ContrastBolusAgent": "Gadavist"}, "FLAIR", (POST,)),
        ({"SeriesDescription": "T1", "ContrastBolusAgent": "Gadavist"}, "T1wCE", (POST,)),
        ({"SeriesDescription": "FLAIR", "ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "FLAIR", (DERIVED,)),
        ({"SeriesDescription": "FLAIR", "ImageType": ["DERIVED", "PRIMARY", "M", "SUB"]}, "FLAIR", (SUB, DERIVED)),
        ({"EchoTime": 95, "RepetitionTime": 5000, "InversionTime": 0, "ScanningSequence": "SE"}, "T2w", ()),
        ({"EchoTime": 3, "RepetitionTime": 2000, "InversionTime": 900, "ScanningSequence": ["GR", "IR"]}, "T1w", ()),
    ],
)
def test_classic_file_is_recognised(
    elements: dict[str, Any], expected: str, marks: tuple[str, ...], tmp_path: Path
) -> None:
    one = only(header_of(tmp_path / "series", **elements))
    assert (one.sequence, one.marks) == (expected, marks)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("inversions", "echo", "expected", "marks"),
    [
        ([2500.0], 90.0, "FLAIR", ()),
        ([450.0, 3000.0], 300.0, "FLAIR", (TWO,)),
        ([860.0], 90.0, "", ()),
        ([2500.0], 3.0, "", ()),
        ([900.0], 3.0, "T1w", ()),
    ],
)
def test_enhanced_file_is_recognised_by_its_functional_groups(
    inversions: list[float], echo: float, expected: str, marks: tuple[str, ...], shared: bool, tmp_path: Path
) -> None:
    groups: dict[str, Any] = {"MRModifierSequence": {"InversionTimes": inversions}}
    groups["MREchoSequence"] = {"EffectiveEchoTime": echo}
    one = only(enhanced_header(tmp_path / "series", shared=shared, **groups))
    assert (one.sequence, one.marks) == (expected, marks)


def test_enhanced_file_says_that_it_is_fluid_attenuated(tmp_path: Path) -> None:
    assert only(enhanced_header(tmp_path / "1", top="FLUID_ATTENUATED", shared=True)).sequence == "FLAIR"
    short = {"MREchoSequence": {"EffectiveEchoTime": 9.0}}
    assert only(enhanced_header(tmp_path / "2", top="FLUID_ATTENUATED", shared=True, **short)).sequence == ""


def test_enhanced_frame_says_that_it_is_fluid_attenuated(tmp_path: Path) -> None:
    groups = {"MRImageFrameTypeSequence": {"AcquisitionContrast": "FLUID_ATTENUATED"}}
    for shared in (True, False):
        assert only(enhanced_header(tmp_path / str(shared), shared=shared, **groups)).sequence == "FLAIR"


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("vendors-cutouts/tests/data/hyperfine/anatomical/001", "FLAIR"),
        ("vendors-cutouts/tests/data/philips/anatomical/001", "FLAIR"),
        ("vendors-cutouts/tests/data/siemens/anatomical/001", "FLAIR"),
        ("vendors-cutouts/tests/data/ge/anatomical/001", "T1w"),
        ("vendors-cutouts/tests/data/hitachi/anatomical/001", ""),
        ("vendors-cutouts/tests/data/philips_enhanced/anatomical/001", ""),
        ("vendors-cutouts/tests/data/siemens_multiframe/anatomical/001", ""),
        ("philips-siemens-enhanced/In/Siemens/XA10", ""),  # "rest1"
        ("philips-siemens-enhanced/In/Philips", ""),
        ("philips-t1-sagittal/1301", "T1w"),
        ("siemens-t1-sagittal/In/HFS/3_t1_fl2d_sag", "T1w"),
        ("siemens-enhanced/In/5_anat-T1w_acq-tfl", "T1w"),
        ("siemens-enhanced/In/8_gre_field_mapping", ""),
        ("philips-phantom/In/Philips/Philips/501_T1W_TSE_Sno_CSno_CSAI2", "T1w"),
    ],
)
def test_real_series_is_recognised(folder: str, expected: str, scans: Path) -> None:
    headers = [read_header(path) for path in sorted((scans / folder).iterdir())]
    one = only(*(header for header in headers if header is not None))
    assert (one.sequence, one.marks) == (expected, ())
    if expected == "FLAIR":
        assert choose_candidate([one], "FLAIR") is one
    else:
        assert refusal(choose_candidate, [one], "FLAIR").code is Code.NO_SERIES


def test_real_t1_in_a_folder_of_flairs_is_refused(scans: Path) -> None:
    folder = scans / "vendors-cutouts/tests/data/ge/anatomical/001"
    headers = [read_header(path) for path in sorted(folder.iterdir())]
    one = only(*(header for header in headers if header is not None), folder="FLAIR")
    assert one.sequence == ""
    assert one.veto.startswith("TI 900 ms")
