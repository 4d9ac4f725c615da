"""Name the generated plates that tests and the report use: arguments of `generated.planted_field`."""

PLATES = {
    "16 bits": {},
    "12 bits, offset of half the range": {"offset": 2048, "contrast": 900, "ground": 60, "noise": 8},
    "8 bits": {"contrast": 60, "ground": 8, "noise": 1.5, "dtype": "uint8"},
    "float, 0 to 1": {"contrast": 0.3, "ground": 0.02, "noise": 0.004, "dtype": "float32"},
    "dim, of 27 times the noise": {"contrast": 400, "diameter": 30},
}

VARIATIONS = {
    "as it is": {},
    "offset of half the range": {"offset": 32768},
    "8 bits": PLATES["8 bits"],
    "float, 0 to 1": PLATES["float, 0 to 1"],
    "diameter of 7 px": {"diameter": 7, "count": 200},
    "diameter of 10 px": {"diameter": 10, "count": 200},
    "diameter of 40 px": {"diameter": 40, "count": 50},
    "diameter of 80 px": {"diameter": 80, "count": 16},
    "60 % against another": {"count": 300, "crowding": 0.6},
    "90 % against another": {"count": 300, "crowding": 0.9},
    "one nucleus": {"count": 1},
    "ten nuclei": {"count": 10},
    "contrast of 20 times the noise": {"contrast": 300, "ground": 10},
    "light that falls by 70 %": {"uneven": 0.7, "ground": 400},
    "brightness that varies twofold": {"brightness_spread": 0.6},
    "sizes that vary by a third": {"size_spread": 0.3},
    "coarse texture": {"texture": 0.4},
    "60 bright specks": {"debris": 60},
    "some nuclei saturated": {"contrast": 40000, "ground": 3000},
}
