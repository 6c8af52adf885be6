"""Addresses that the dashboard refuses to listen on."""

from __future__ import annotations

import pytest
from flask import Flask

from helo.analysis.dashboard.server import _listening
from helo.errors import InputError


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("", "--host must be an address or a name, such as 127.0.0.1, got ''"),
        ("münchen.invalid", "münchen.invalid:0: cannot be used for listening"),
        ("a" * 70 + ".invalid", "cannot be used for listening"),
        ("192.0.2.1", "192.0.2.1:0: cannot be used for listening"),
        ("::zz", "::zz:0: cannot be used for listening"),
    ],
)
def test_an_unusable_address_is_refused_in_one_line(host: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        _listening(host, 0, Flask("any"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
