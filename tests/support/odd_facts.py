"""Facts that a careless reader or writer would change: odd numbers, odd texts, absent fields."""

import random
from typing import Any

ODD_TEXTS = (
    "plain",
    'quotes " and \\ backslashes \\" \\u0041',
    "lines\nand\r\nreturns\rand\ttabs",
    "controls \x01\x1f\x7f\u0085\u2028\u2029",
    "日本語, naïve, \U0001f9ea\U0001f468\u200d\U0001f469\u200d\U0001f467, \ufeff, \uffff, \U0010ffff",
    'a,b;c\'d""e',
    "=1+2",
    " blanks at both ends ",
    "null",
)
ODD_NUMBERS = (
    0,
    -0.0,
    -1,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    0.1,
    0.1 + 0.2,
    1e16,
    1e300,
    -1.5e-300,
    5e-324,
    1.7976931348623157e308,
    123456789.123456789,
    1.0,
)
CONFIDENCES = (None, 0.0, 1.0, 0.1, 0.1 + 0.2, 1 / 3, 5e-324, 0.30000000000000004)


def odd_fact(number: int) -> dict[str, Any]:
    """A fact as JSON, different for each number and always the same. A source is in one group."""
    choose = random.Random(number)  # noqa: S311 - so that a failure can be reproduced
    source = number // 3
    text = ODD_TEXTS[number % len(ODD_TEXTS)]
    fact: dict[str, Any] = {
        "source_uri": f"doc:{ODD_TEXTS[source % len(ODD_TEXTS)]}/{source}",
        "extraction_type": ("fact", "claim", 'the "type", odd\n')[number % 3],
        "data": {
            "fact_text": f"{text} {number}",
            "n": number,
            "odd": choose.choice(ODD_NUMBERS),
            "nested": {text: [None, True, False, [], {}, choose.choice(ODD_NUMBERS), {"": text}]},
        },
    }
    if source % 4:
        fact["source_group"] = ODD_TEXTS[source % len(ODD_TEXTS)]
    confidence = choose.choice(CONFIDENCES)
    if confidence is not None:
        fact["confidence"] = confidence
    if number % 2:
        fact["metadata"] = {"page": choose.choice(ODD_NUMBERS), text: {"none": None}}
    return fact
