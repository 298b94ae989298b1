"""The names that data sets give their NIfTI files, and what they tell."""

from pathlib import Path

import pytest

from flairprep.nifti_input.names import patient_of, scan_name
from flairprep.nifti_input.reading import parts_of


@pytest.mark.parametrize(
    ("path", "sequence"),
    [
        ("00002/FLAIR.nii.gz", "FLAIR"),
        ("00002/00002_flair.nii", "FLAIR"),
        ("00002/T1w.nii.gz", "T1w"),
        ("BraTS20_Training_001/BraTS20_Training_001_flair.nii", "FLAIR"),
        ("BraTS20_Training_001/BraTS20_Training_001_t1.nii", "T1w"),
        ("BraTS20_Training_001/BraTS20_Training_001_t1ce.nii", "T1wCE"),
        ("BraTS20_Training_001/BraTS20_Training_001_t2.nii", "T2w"),
        ("BraTS20_Training_001/BraTS20_Training_001_seg.nii", "mask"),
        ("BraTS20_Training_355/W39_1998.09.19_Segm.nii", "mask"),
        ("BraTS2021_00000/BraTS2021_00000_flair.nii.gz", "FLAIR"),
        ("BraTS-GLI-00000-000/BraTS-GLI-00000-000-t2f.nii.gz", "FLAIR"),
        ("BraTS-GLI-00000-000/BraTS-GLI-00000-000-t2w.nii.gz", "T2w"),
        ("BraTS-GLI-00000-000/BraTS-GLI-00000-000-t1n.nii.gz", "T1w"),
        ("BraTS-GLI-00000-000/BraTS-GLI-00000-000-t1c.nii.gz", "T1wCE"),
        ("BraTS-GLI-00000-000/BraTS-GLI-00000-000-seg.nii.gz", "mask"),
        ("BraTS-MEN-RT-0001-1/BraTS-MEN-RT-0001-1_gtv.nii.gz", "mask"),
        ("UPENN-GBM-00001_11/UPENN-GBM-00001_11_FLAIR.nii.gz", "FLAIR"),
        ("UPENN-GBM-00001_11/UPENN-GBM-00001_11_T1GD.nii.gz", "T1wCE"),
        ("UPENN-GBM-00001_11/UPENN-GBM-00001_11_automated_approx_segm.nii.gz", "mask"),
        ("UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_FLAIR.nii.gz", "FLAIR"),
        ("UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_FLAIR_bias.nii.gz", "FLAIR, processed"),
        ("UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_T1c_bias.nii.gz", "T1wCE, processed"),
        ("UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_ADC.nii.gz", ""),
        ("UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_brain_parenchyma_segmentation.nii.gz", "mask"),
        ("UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_tumor_segmentation.nii.gz", "mask"),
        ("sub-01/anat/sub-01_FLAIR.nii.gz", "FLAIR"),
        ("sub-01/ses-2/anat/sub-01_ses-2_acq-3D_run-1_FLAIR.nii.gz", "FLAIR"),
        ("sub-T1x/anat/sub-T1x_T2w.nii.gz", "T2w"),
        ("sub-01/anat/sub-01_ce-gadolinium_T1w.nii.gz", "T1wCE"),
        ("sub-01/anat/sub-01_space-T1w_FLAIR.nii.gz", "FLAIR, processed"),
        ("sub-01/anat/sub-01_FLAIR_mask.nii.gz", "mask"),
        ("sub-01/anat/sub-01_space-FLAIR_dseg.nii.gz", "processed, mask"),
        ("sub-01/anat/sub-01_part-phase_FLAIR.nii.gz", "FLAIR, phase"),
        ("07/FLAIR_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz", "FLAIR, processed"),
        ("07/GOLD_STANDARD_N4_noneck_reduced_winsor_regtoFLAIR_regtoMNI.nii.gz", "mask"),
        ("a/T2_FLAIR.nii.gz", "FLAIR"),
        ("a/ax_T2FLAIR_3.nii.gz", "FLAIR"),
        ("a/t1_flair.nii.gz", "T1w, processed"),
        ("a/T1_to_FLAIR.nii.gz", "T1w, processed"),
        ("a/t1_post.nii.gz", "T1wCE"),
        ("a/flair_lesion_mask.nii.gz", "mask"),
        ("a/brainmask.nii.gz", "mask"),
        ("a/regtoFLAIR.nii.gz", ""),
        ("a/flairy.nii.gz", ""),
        ("FLAIR_07/FLAIR_07_T1.nii.gz", "T1w"),  # the case's own name tells nothing
        ("lesion_07/lesion_07_FLAIR.nii.gz", "FLAIR"),
        ("a/Axial_T2_FLAIR/scan.nii.gz", "FLAIR"),  # a folder for each series
        ("a/x.hdr", ""),
    ],
)
def test_name_tells_the_sequence(path: str, sequence: str) -> None:
    name = scan_name(Path("raw") / path, path.split("/")[0])
    kinds = [name.sequence, *["processed"] * name.processed, *["mask"] * name.mask, name.part]
    assert ", ".join(filter(None, kinds)) == sequence


def test_session_and_contrast_agent_of_bids() -> None:
    name = scan_name(Path("sub-1/ses-b/anat/sub-1_ses-b_ce-gd_FLAIR.nii"), "sub-1")
    assert (name.session, name.contrast, name.sequence) == ("b", True, "FLAIR")


@pytest.mark.parametrize(
    ("case_id", "patient"),
    [
        ("BraTS-GLI-00005-101", "BraTS-GLI-00005"),
        ("BraTS-GLI-00005-100", "BraTS-GLI-00005"),
        ("UPENN-GBM-00001_21", "UPENN-GBM-00001"),
        ("UCSF-PDGM-0431_FU001d_nifti", "UCSF-PDGM-0431"),
        ("UCSF-PDGM-0431_nifti", "UCSF-PDGM-0431"),
        ("BraTS2021_00000", ""),
        ("sub-01", ""),
        ("00002", ""),
    ],
)
def test_case_id_of_a_data_set_with_several_scans_tells_the_patient(case_id: str, patient: str) -> None:
    assert patient_of(case_id) == patient


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.b.nii.gz", ("a.b", ".nii")),
        ("A.NII.GZ", ("A", ".nii")),
        ("a.img", ("a", ".img")),
        ("a.hdr.gz", ("a", ".hdr")),
        ("a.dcm", ("", "")),
        ("a.gz", ("", "")),
        ("nii", ("", "")),
    ],
)
def test_suffix_makes_a_nifti_file(name: str, parts: tuple[str, str]) -> None:
    assert parts_of(name) == parts
