"""Rows that compiled code reads: the table and the sentences of the reader that goes row by row."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaopt_fast import _kernels
from metaopt_fast.files import csv_lines, csv_plain
from metaopt_fast.files.read import read_table
from metaopt_fast.files.wanted import Wanted

PLAIN = Wanted("t")
TEXTS = Wanted("t", categories="onehot", missing="mean")
DROPPED = Wanted("t", categories="onehot", missing="drop", drop=("c",))
MANY = Wanted("t", categories="onehot", most_classes=5)


def both(path, wanted, monkeypatch):
    """What is read, or the sentence of the error, with compiled code and without."""
    found = []
    for row_by_row in (False, True):
        with monkeypatch.context() as patch:
            if row_by_row:
                patch.setattr(csv_plain.PlainReader, "read_on", lambda self: None)
            try:
                table = read_table(path, wanted=wanted)
            except ValueError as error:
                found.append(str(error))
            else:
                lists = {
                    name: None if (of := getattr(table, name)) is None else of.tolist()
                    for name in ("y", "weights", "groups")
                }
                rest = table._replace(X=None, **lists)
                found.append((table.X.tobytes(), table.X.shape, rest))
    return found


ROWS = "a,b,c,t\n1,2.5,x,yes\n3,-4e-3,y,no\n0.1,7,x,yes\n5,6,z,no\n8,9,x,no\n"
FILES = {
    "numbers": ("a,b,t\n1,2.5,yes\n3,-4e-3,no\n0.1,7,yes\n9007199254740993,6,no\n", PLAIN),
    "texts": (ROWS, TEXTS),
    "a column that is left out": (ROWS, DROPPED),
    "letters in one that is left out": (ROWS.replace("z", "zürich"), DROPPED),
    "five classes": (ROWS.replace("x,yes", "x,maybe"), MANY),
    "truths": ("a,t\nTrue,1\nFALSE,0\ntrue,1\nfalse,1.0\nTrue,0\n", PLAIN),
    "semicolons": (ROWS.replace(",", ";"), TEXTS),
    "tabs": (ROWS.replace(",", "\t"), TEXTS),
    "spaces between": (ROWS.replace(",", "  ").replace("x", "1").replace("y ", "2 "), PLAIN),
    "decimal commas": ("a;t\n1,5;1\n2,5;0\n3;1\n4.5;1\n", PLAIN),
    "a decimal comma after a while": ("a;t\n1;1\n2;0\n3,5;1\n4,5;0\n", PLAIN),
    "lines of a spreadsheet": (ROWS.replace("\n", "\r\n"), TEXTS),
    "a carriage return within a row": (ROWS.replace("z", "z\rw"), TEXTS),
    "blank lines": (ROWS.replace("\n3", "\n\n\r\n3") + "\n\n7,x\n", TEXTS),
    "blank lines among rows": (ROWS.replace("\n3", "\n\n\r\n3") + "\n\n", TEXTS),
    "no last line end": (ROWS[:-1], TEXTS),
    "quotes": (ROWS.replace("z", '"z, z"').replace(",x", ',"x"').replace("7", '"7"'), TEXTS),
    "a quote in quotes": (ROWS.replace(",x", ',"x""y"'), TEXTS),
    "a line end in quotes": (ROWS.replace(",x", ',"x\ny"') + "1,2\n", TEXTS),
    "a text after quotes": (ROWS.replace("z", '"z"z'), TEXTS),
    "a quote in a text": (ROWS.replace("z", 'z"z'), TEXTS),
    "spaces": ("a, t\n1, yes\n 2, no\n3 ,yes\n 4 ,yes\n", PLAIN),
    "missing": (ROWS + ",NA,null,yes\nnan, ?,w,no\n,NA,x,no\n", TEXTS),
    "missing labels": (ROWS + "1,2,x,\n3,4,x,\n5,6,x,no\n", DROPPED),
    "a missing number": (ROWS.replace("7", ""), MANY),
    "a missing text": (ROWS.replace("z", ""), MANY),
    "a missing end": (ROWS + "1,2,x\n", MANY),
    "a text among numbers": (ROWS.replace("7", "seven"), TEXTS),
    "an underscore": (ROWS.replace("7", "1_000"), TEXTS),
    "infinity": (ROWS.replace("7", "inf"), TEXTS),
    "beyond floats": (ROWS.replace("7", "1e999"), PLAIN._replace(drop=("c",))),
    "no byte": (ROWS.replace("z", "\0"), TEXTS),
    "a row of more fields": (ROWS + "1,2,x,yes,4\n", TEXTS),
    "a third class": (ROWS + "1,2,x,perhaps\n", TEXTS),
    "one class": (ROWS.replace("no", "yes"), TEXTS),
    "a lone return": (ROWS.replace("\n5", "\r5"), TEXTS),
    "a column without values": ("a,b,t\n,1,yes\n,2,no\n,3,yes\n", TEXTS),
    "a column that begins late": ("a,b,t\n,1,yes\n,2,no\n7,3,yes\nx,4,no\n", TEXTS),
    "weights": ("a,w,t\n1,2,yes\n3,4,no\n5,0,yes\n", Wanted("t", weight="w")),
    "groups": (ROWS, Wanted("t", group="c")),
    "rows to predict": (ROWS, Wanted(None, is_labelled=False, drop=("t", "c"))),
    "an index": ("," + ROWS.replace("\n", "\n7,", 5), TEXTS),
    "a long field": (ROWS.replace("z", "z" * 140_000), DROPPED),
    "a declared separator": ("sep=;\n" + ROWS.replace(",", ";"), TEXTS),
}


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("block", [1, 16, 2**20])
@pytest.mark.parametrize("name", FILES)
def test_the_table_or_the_sentence_is_that_of_the_row_by_row_reader(
    tmp_path, name, block, monkeypatch
):
    monkeypatch.setattr(csv_lines, "BLOCK_BYTES", block)
    text, wanted = FILES[name]
    path = tmp_path / "a.csv"
    path.write_text(text, newline="")
    fast, own = both(path, wanted, monkeypatch)
    assert fast == own


def test_bytes_that_are_no_text_are_named(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_bytes(ROWS.encode() + b"1,2,\xff,no\n")
    for wanted in (TEXTS, DROPPED):
        fast, own = both(path, wanted, monkeypatch)
        assert fast == own and "line 7 is not UTF-8 text" in own


BITS = st.sampled_from(["0", "1"])
FIELDS = st.sampled_from(["1", "-2.5", "1e-3", "0.1", "nan", "", "x", "True", "1e400", " 3", "+4"])


@pytest.mark.long(everywhere=True)
@given(rows=st.lists(st.tuples(FIELDS, FIELDS, BITS), min_size=3, max_size=6))
def test_any_fields_have_one_table_or_one_sentence(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("fields") / "a.csv"
    path.write_text("a,b,t\n" + "".join(",".join(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        for wanted in (PLAIN, TEXTS):
            fast, own = both(path, wanted, patch)
            assert fast == own


def test_texts_beyond_the_room_for_them_are_read_row_by_row(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_plain, "BYTES_OF_TEXTS", 8)
    texts = [f"text{k % 5}" for k in range(50)]
    path = tmp_path / "a.csv"
    path.write_text("a,t\n" + "".join(f"{text},{k % 2}\n" for k, text in enumerate(texts)))
    table = read_table(path, wanted=TEXTS)
    assert [table.categories[0][int(code)] for code in table.X[:, 0]] == texts


# -------------------------------------------------------------------------------- numbers by digits


def read(texts, decimal="."):
    """What compiled code makes of numbers, NaN where it leaves them."""
    found = np.full((len(texts), 1), np.nan)
    known = np.zeros(_kernels.TABLE_OF_TEXTS, np.uint8)
    options = ord(";"), ord(decimal), np.ones(1, np.intc), csv_plain.powers_of_ten(), known
    for row, text in enumerate(texts):
        line = text.encode() + b"\n"
        place = found[row : row + 1]
        count, end, lines = _kernels.read_plain_rows(line, 0, len(line), *options, place)
        assert (end, lines) == ((len(line), 1) if count else (0, 0))
        if count == 0:
            found[row] = np.nan
    return found[:, 0]


# Halfway between doubles and beside it, at the ends of the range, and in exponents of all kinds.
EDGES = [
    *("0", "-0", "0.0", "-0e5", "0e-999", "00012", ".5", "5.", "-.5e1", "1E5", "+1e+05"),
    *("9007199254740993", "9007199254740992.5", "9007199254740991.5", "18014398509481990"),
    *("9007199254740993.001", "1e22", "1e23", "8.5e22", "9.5e-5", "123456789012345678"),
    *("9999999999999999999", "1.7976931348623157e308", "2.2250738585072014e-308", "5e-1", "1e308"),
    *("179769313486231570e291", "4503599627370496.5", "4503599627370497.5", "0.1e-5", "1e-27"),
    *("6250000000000000625e-4", "7450580596923828125e-27", "1e-22", "1e-23", "0.000001e-300"),
    *("000000000000000000000001.5", "0.00000000000000000000000015", "1.0000000000000000"),
]


def test_numbers_are_those_of_float():
    found = read(EDGES)
    assert found.tobytes() == np.array([float(text) for text in EDGES]).tobytes()
    commas = [text.replace(".", ",") for text in EDGES]
    assert read(commas, ",").tobytes() == found.tobytes()


@given(
    digits=st.integers(0, 10**19 - 1),
    point=st.integers(0, 20),
    exponent=st.one_of(st.integers(-345, 310), st.integers(-30, 30)),
    sign=st.sampled_from(["", "-", "+"]),
)
def test_any_number_is_that_of_float_or_left_to_it(digits, point, exponent, sign):
    text = f"{digits:0{point + 1}d}"
    text = f"{sign}{text[: len(text) - point]}.{text[len(text) - point :]}e{exponent}"
    (found,), wanted = read([text]), float(text)
    if digits == 0 or 2.3e-308 <= abs(wanted) < math.inf:
        assert found.hex() == wanted.hex()
    else:  # subnormal, too small or too large
        assert math.isnan(found)


@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_what_python_and_numpy_write_is_read_back(number):
    texts = [repr(number), f"{number:.18e}", f"{number:.16g}"]
    wanted = [float(text) for text in texts]
    found = read(texts)
    for one, other in zip(found, wanted, strict=True):
        is_left = math.isnan(one) and not 2.3e-308 < abs(other) < math.inf
        assert is_left or one.hex() == other.hex()


@given(number=st.floats(1e-290, 1e290), ulps=st.sampled_from([0, 1, -1]))
def test_halves_of_a_unit_go_to_the_even_double_or_to_float(number, ulps):
    half = (Fraction(number) + Fraction(math.nextafter(number, math.inf))) / 2
    exponent = math.floor(math.log10(number)) - 17
    digits = round(half / Fraction(10) ** exponent) + ulps
    text = f"{digits}e{exponent}"
    (found,) = read([text])
    assert math.isnan(found) or found.hex() == float(text).hex()


@pytest.mark.parametrize(
    "text",
    [
        *(" ", "-", ".", "e5", "1e", "1e+", "1.5.5", "1,5", "1_000", "0x10", "inf", "nan", "1 2"),
        *("5e-324", "2e-308", "1e309", "1e400", "1e-400", "1" * 20, "1e0000001", "--1", "1-"),
        *(
            "9007199254740993.0000000001",
            "9007199254740993" + "0" * 9,
            "\N{ARABIC-INDIC DIGIT ONE}",
            "1\0",
            "1d5",
        ),
    ],
)
def test_what_128_bits_do_not_tell_or_what_is_no_number_is_left(text):
    assert math.isnan(read([text])[0])


def test_leading_bits_of_powers_are_rounded_as_the_proof_wants():
    powers = csv_plain.powers_of_ten().reshape(-1, 2).tolist()
    for power, (high, low) in zip(csv_plain.POWERS, powers, strict=True):
        whole = 10 ** abs(power)
        size = whole.bit_length()
        scaled = Fraction(whole) * Fraction(2) ** (128 - size)
        if power < 0:
            scaled = Fraction(2 ** (127 + size), whole)
        error = (high << 64) + low - scaled
        assert 2**127 <= scaled < 2**128
        assert (0 < error <= 1) if -27 <= power < 0 else (-1 < error <= 0), power
