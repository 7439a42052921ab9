import enum
import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crediting.ledger import canonical_json, fingerprint, short

CONTENT = {"model": {"width": 64, "rate": 1e-4, "ema": None}, "data": ["a", "b"], "flip": True}


def test_it_is_the_sha256_of_the_canonical_json():
    text = (
        '{"content":{"data":["a","b"],"flip":true,"model":{"ema":null,"rate":0.0001,"width":64}},'
        '"parents":["p"],"schema":1,"stage":"model"}'
    )
    assert fingerprint("model", CONTENT, ["p"]) == hashlib.sha256(text.encode()).hexdigest()


def test_the_short_form_is_what_names_a_folder():
    full = fingerprint("model", CONTENT)
    assert len(full) == 64
    assert short(full) == full[:16]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_the_same_in_every_process_and_order_of_keys(seed):
    shuffled = list(CONTENT.items())
    random.Random(seed).shuffle(shuffled)
    code = (
        "from crediting.ledger import fingerprint;"
        f"print(fingerprint('model', dict({shuffled!r}), ('p',)))"
    )
    environment = {"PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.check_output(
        [sys.executable, "-c", code], env=os.environ | environment, text=True
    )
    assert printed.strip() == fingerprint("model", CONTENT, ["p"])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((1, 2), [1, 2]),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int32(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
    ],
)
def test_equal_data_of_another_type_is_the_same(left, right):
    assert fingerprint("s", {"key": left}) == fingerprint("s", {"key": right})


def test_every_change_gives_another_one():
    variants = [
        fingerprint("model", CONTENT),
        fingerprint("sparse", CONTENT),
        fingerprint("model", CONTENT, ["p"]),
        fingerprint("model", CONTENT, ["p", "q"]),
        fingerprint("model", CONTENT, ["q", "p"]),
        fingerprint("model", CONTENT | {"extra": None}),
        fingerprint("model", CONTENT | {"flip": 1}),
        fingerprint("model", CONTENT | {"flip": "true"}),
        fingerprint("model", CONTENT | {"flip": 1.0}),
        fingerprint("model", CONTENT | {"data": ["b", "a"]}),
        fingerprint("model", CONTENT | {"data": [["a"], "b"]}),
        fingerprint("model", CONTENT | {"model": {"width": 64, "rate": 1e-4 * (1 + 1e-15)}}),
    ]
    assert len(set(variants)) == len(variants)


def test_a_raised_schema_version_gives_another_one(monkeypatch):
    before = fingerprint("model", CONTENT)
    monkeypatch.setattr(sys.modules["crediting.ledger.fingerprint"], "SCHEMA_VERSION", 2)
    assert fingerprint("model", CONTENT) != before


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        Path("x"),
        np.zeros(2),
        np.zeros(()),
        b"x",
        object(),
        Colour.RED,
        np.longdouble(1),
        1j,
    ],
)
def test_what_is_not_plain_data_is_refused_by_key(value):
    with pytest.raises(TypeError, match=r"^content\.model\.layers\[1\] is a \w+, not plain data$"):
        fingerprint("s", {"model": {"layers": [0, value]}})


def test_keys_that_json_would_turn_into_text_are_refused():
    with pytest.raises(TypeError, match=r"^model has the key 1, which is not text"):
        canonical_json({"model": {1: "a"}})
