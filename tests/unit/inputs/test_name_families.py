"""Families of names from public collections, and the wells, sites and channels that they mean."""

from pathlib import Path

import pytest

from fieldwork.inputs import layouts

G1 = "64FBEEF7-F77C-4892-86F5-72D0160D4FB2"
G2 = "89A882DE-E675-4C12-9F8E-46C9976C4ABE"

# Family: layout, and name -> well, site, channel, time point, z plane. Each family is a folder of its own.
FAMILIES = {
    # the Broad Bioimage Benchmark Collection
    "BBBC001, 015: AS_...": (
        "cellomics",
        {
            "AS_09125_050116000001_A01f00d0.png": ("A01", 0, "d0", None, None),
            "AS_09047_050428030001_O14f01d2.TIF": ("O14", 1, "d2", None, None),
        },
    ),
    "BBBC005: synthetic cells, C counts them, F is the blur": (
        "metaxpress",
        {
            "SIMCEPImages_A01_C1_F1_s01_w1.TIF": ("A01", 1, "w1", None, None),
            "SIMCEPImages_A13_C53_F1_s23_w2.TIF": ("A13", 23, "w2", None, None),
            "SIMCEPImages_B24_C100_F48_s20_w1.TIF": ("B24", 20, "w1", None, None),
        },
    ),
    "BBBC006: folders of z planes, wells in lower case": (
        "imagexpress",
        {
            f"BBBC006_v1_images_z_00/mcf-z-stacks-03212011_a01_s1_w1{G1.lower()}.tif": ("A01", 1, "w1", None, 0),
            f"BBBC006_v1_images_z_33/mcf-z-stacks-03212011_p23_s2_w2{G2.lower()}.tif": ("P23", 2, "w2", None, 33),
        },
    ),
    "BBBC013 as MetaXpress names": (
        "metaxpress",
        {
            "BBBC013_A01_s1_w1.tif": ("A01", 1, "w1", None, None),
            "BBBC013_A12_s1_w1.tif": ("A12", 1, "w1", None, None),
        },
    ),
    "BBBC021: with the week": (
        "bbbc021",
        {
            f"Week1_150607_B02_s4_w1{G1}.tif": ("B02", 4, "w1", None, None),
            f"Week1_150607_G11_s1_w4{G2}.tif": ("G11", 1, "w4", None, None),
        },
    ),
    "BBBC021: without": (
        "bbbc021",
        {
            f"G10_s1_w2{G1}.tif": ("G10", 1, "w2", None, None),
            f"B02_s2_w1{G2}.tif": ("B02", 2, "w1", None, None),
        },
    ),
    "BBBC022, 025: IXMtest": (
        "imagexpress",
        {
            f"IXMtest_A01_s1_w1{G1}.tif": ("A01", 1, "w1", None, None),
            f"IXMtest_P24_s9_w5{G2}.tif": ("P24", 9, "w5", None, None),
        },
    ),
    # the Cell Painting Gallery
    "cpg0000: Harmony": (
        "harmony",
        {
            "BR00116991__2020-11-05T19_51_35-Measurement1/Images/r01c01f01p01-ch1sk1fk1fl1.tiff": (
                ("A01", 1, "ch1", 1, 1)
            ),
            "BR00116991__2020-11-05T19_51_35-Measurement1/Images/r16c24f09p01-ch5sk1fk1fl1.tiff": (
                ("P24", 9, "ch5", 1, 1)
            ),
        },
    ),
    "cpg0012: wells in lower case": (
        "imagexpress",
        {
            f"cdp2bioactives_a01_s1_w1{G1}.tif": ("A01", 1, "w1", None, None),
            f"cdp2bioactives_p24_s6_w5{G2}.tif": ("P24", 6, "w5", None, None),
        },
    ),
    "cpg0016, source 10: CellVoyager": (
        "cellvoyager",
        {
            "Dest210531-152149_A01_T0001F001L01A01Z01C01.tif": ("A01", 1, "C01", 1, 1),
            "Dest210531-152149_P24_T0001F006L01A02Z01C05.tif": ("P24", 6, "C05", 1, 1),
        },
    ),
    "cpg0016: Opera Phenix, sites of three digits": (
        "harmony",
        {
            "r01c01f001p01-ch1sk1fk1fl1.tiff": ("A01", 1, "ch1", 1, 1),
            "r08c12f144p03-ch2sk2fk1fl1.tiff": ("H12", 144, "ch2", 2, 3),
        },
    ),
    # the Image Data Resource
    "idr0008: a prefix that ends like a well": (
        "metaxpress",
        {
            "Act1_Plate10-SP-A8_A01_s1_w1.TIF": ("A01", 1, "w1", None, None),
            "Act1_Plate10-SP-A8_H12_s4_w2.TIF": ("H12", 4, "w2", None, None),
        },
    ),
    "idr0019, idr0020: Columbus": (
        "columbus",
        {
            "001001-1-001001001.tif": ("A01", 1, "001", 1, 1),
            "016024-9-001001003.tif": ("P24", 9, "003", 1, 1),
        },
    ),
    # instruments, by their makers' software
    "MetaXpress: CellProfiler's example with brackets": (
        "imagexpress",
        {
            f"MMD-ControlSet-plateA-2008-08-06_A12_s1_w1_[{G2}].tif": ("A12", 1, "w1", None, None),
            f"MMD-ControlSet-plateA-2008-08-06_B12_s2_w2_[{G1}].tif": ("B12", 2, "w2", None, None),
        },
    ),
    "MetaXpress: a GUID behind _": (
        "imagexpress",
        {
            f"x_A01_w1_{G1}.tif": ("A01", 1, "w1", None, None),
            f"x_B02_w2_{G2}.tif": ("B02", 1, "w2", None, None),
        },
    ),
    "MetaXpress: a prefix of words": (
        "imagexpress",
        {
            f"ACT019 m o D7 HER2 PBMC RCE Na_A01_s1_w1{G1}.tif": ("A01", 1, "w1", None, None),
            f"ACT019 m o D7 HER2 PBMC RCE Na_C02_s2_w1{G2}.tif": ("C02", 2, "w1", None, None),
        },
    ),
    "MetaXpress: a prefix of a cell line": (
        "imagexpress",
        {
            f"2019-03-27/84/TimePoint_1/A549-20X-DB-HD-BpA-pilot1_B02_s1_w1{G1}.tif": ("B02", 1, "w1", 1, None),
            f"2019-03-27/84/TimePoint_2/A549-20X-DB-HD-BpA-pilot1_G11_s4_w2{G2}.tif": ("G11", 4, "w2", 2, None),
        },
    ),
    "MetaXpress: no channel": (
        "imagexpress",
        {
            "240124d3_B05_s22A31C13E-3314-476F-B62C-5CDC65915F2B.tif": ("B05", 2, "w1", None, None),
            "240124d3_D05_s2866465035-BBD2-4C57-BF9C-185859741902.tif": ("D05", 28, "w1", None, None),
        },
    ),
    "MetaXpress exported: wells of one digit": (
        "metaxpress",
        {
            "p_A1_s1_w1.tif": ("A01", 1, "w1", None, None),
            "p_H12_s2_w2.tif": ("H12", 2, "w2", None, None),
        },
    ),
    "MetaXpress exported: wells as A-1": (
        "metaxpress",
        {
            "p_A-1_s1.tif": ("A01", 1, "w1", None, None),
            "p_B-12_s2.tif": ("B12", 2, "w1", None, None),
        },
    ),
    "MetaXpress exported: time points and z steps": (
        "metaxpress",
        {
            "TimePoint_1/ZStep_1/plate_A01_s1_w1.tif": ("A01", 1, "w1", 1, 1),
            "TimePoint_2/ZStep_3/plate_A01_s2_w2.tif": ("A01", 2, "w2", 2, 3),
        },
    ),
    "one image a well, by its name alone": (
        "metaxpress",
        {
            "20191119-growth-p05-m2X_C03.TIF": ("C03", 1, "w1", None, None),
            "20191119-growth-p05-m2X_D09.TIF": ("D09", 1, "w1", None, None),
        },
    ),
    "Yokogawa: stitched images": (
        "metaxpress",
        {
            "A01_F0001_T0001_Z0004_C01.tif": ("A01", 1, "C01", 1, 4),
            "B02_F0002_T0001_Z0004_C02.tif": ("B02", 2, "C02", 1, 4),
        },
    ),
    "CellVoyager: PNG, field behind the time point": (
        "cellvoyager",
        {
            "20200812-CardiomyocyteDifferentiation14-Cycle1_B03_T0001F036L01A01Z18C01.png": ("B03", 36, "C01", 1, 18),
            "20200812-CardiomyocyteDifferentiation14-Cycle1_D05_T0001F001L01A02Z01C02.png": ("D05", 1, "C02", 1, 1),
        },
    ),
    "CellVoyager: a time series": (
        "cellvoyager",
        {
            "210305NAR005AAN_210416_164828_L06_T0277F004L277A04Z07C04.tif": ("L06", 4, "C04", 277, 7),
            "210305NAR005AAN_210416_164828_B11_T0001F006L01A04Z14C01.tif": ("B11", 6, "C01", 1, 14),
        },
    ),
    "CQ1": (
        "cq1",
        {
            "20200427T024129_1999B/Projection/W0001F0001T0001Z000C1.tif": ("A01", 1, "C1", 1, 0),
            "20200427T024129_1999B/Image/W0012F0002T0001Z001C2.tif": ("A12", 2, "C2", 1, 1),
        },
    ),
    "Harmony 5: -ch01t01": (
        "harmony",
        {
            "r03c07/r03c07f01p01-ch01t01.tiff": ("C07", 1, "ch01", 1, 1),
            "r16c13/r16c13f02p03-ch02t05.tiff": ("P13", 2, "ch02", 5, 3),
        },
    ),
    "ArrayScan": (
        "cellomics",
        {
            "MFGTMP_140206180002_A01f00d0.TIF": ("A01", 0, "d0", None, None),
            "MFGTMP-PC_141209150001_H11f12d1.TIF": ("H11", 12, "d1", None, None),
        },
    ),
    "EVOS M7000": (
        "cellomics",
        {
            "P1_Plate_M_p00_z00_0_A01f00d0.TIF": ("A01", 0, "d0", None, 0),
            "P1_Plate_M_p00_z03_0_B12f13d2.TIF": ("B12", 13, "d2", None, 3),
        },
    ),
    "ArrayScan: wells alone": (
        "cellomics",
        {"A01f00d0.TIFF": ("A01", 0, "d0", None, None), "B12f13d2.TIFF": ("B12", 13, "d2", None, None)},
    ),
    "Gen5": (
        "gen5",
        {
            "A1_01_1_1_DAPI_001.tif": ("A01", 1, "DAPI", 1, None),
            "H12_01_2_4_GFP_002.tif": ("H12", 4, "GFP", 2, None),
        },
    ),
    "Gen5: stitched": (
        "gen5",
        {
            "B2_-1_1_1_Stitched[DAPI 377,447]_001.tif": ("B02", 1, "Stitched[DAPI 377,447]", 1, None),
            "D2_-1_1_1_Stitched[DAPI 377,447]_001.tif": ("D02", 1, "Stitched[DAPI 377,447]", 1, None),
        },
    ),
    "InCell 2000": (
        "incell",
        {
            "A - 14(fld 1 wv UV - DAPI).tif": ("A14", 1, "UV - DAPI", None, None),
            "B - 02(fld 2 wv Blue - FITC).tif": ("B02", 2, "Blue - FITC", None, None),
        },
    ),
    "InCell 6000, version 7.2": (
        "incell",
        {
            "A_01_f2_c1_xUV_mDAPI_z3_t2.tif": ("A01", 2, "xUV_mDAPI", 2, 3),
            "P_24_f1_c2_xBlue_mFITC_z0_t0.tif": ("P24", 1, "xBlue_mFITC", 0, 0),
        },
    ),
    "scanR: wells with names": (
        "scanr",
        {
            "A1--W00001--P00001--Z00000--T00000--488nm.tif": ("A01", 1, "488nm", 0, 0),
            "H12--W00096--P00004--Z00000--T00000--DIC.tif": ("H12", 4, "DIC", 0, 0),
        },
    ),
    "scanR: wells with numbers alone": (
        "scanr",
        {
            "data/--W00001--P00001--Z00000--T00000--cherry.tif": ("A01", 1, "cherry", 0, 0),
            "data/--W00012--P00002--Z00000--T00001--dapi.tif": ("A12", 2, "dapi", 1, 0),
        },
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_names_says_where_its_images_are(tmp_path, family):
    layout, names = FAMILIES[family]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    scan = layouts.scan_folder(tmp_path, plate="p")
    assert scan.layout == layout
    assert {str(Path(image.path).relative_to(tmp_path)): image[1:6] for image in scan.images} == names
    assert not any(image.fault for image in scan.images)
    assert scan.unmatched == scan.thumbnails == scan.duplicates == scan.copies == []


def test_there_are_thirty_families_and_one_of_every_layout():
    assert len(FAMILIES) >= 30
    assert {layout for layout, _ in FAMILIES.values()} == set(layouts.LAYOUTS)
