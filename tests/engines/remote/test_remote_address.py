"""Addresses, keys and options: what is taken and what is refused."""

import pytest

from engines.errors import EngineConfigError
from engines.remote.address import ApiKey, find_api_key, parse_address
from engines.remote.options import API_KEY_NAMES, RemoteOptions


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        ("https://example.org/openai/v1/", "https://example.org/openai/v1"),
        ("http://[::1]:80/v1/chat/completions", "http://[::1]/v1"),
    ],
)
def test_base_addresses(given, url):
    assert parse_address(given).url == url


@pytest.mark.parametrize(
    "given",
    ["localhost:8000", "ftp://h/v1", "http://", "http://h:99999", "http://h/v1?a=b", "http://h/ü"],
)
def test_addresses_that_are_none(given):
    with pytest.raises(EngineConfigError):
        parse_address(given)


def test_a_password_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(EngineConfigError, match="WORKBENCH_API_KEY") as error:
        parse_address("http://me:hunter2@h/v1")
    assert "hunter2" not in str(error.value)


def test_redirects_stay_on_their_origin():
    address = parse_address("http://127.0.0.1:8000/v1")
    assert address.redirected("/v1/x", "/v1/x/?a=1") == "/v1/x/?a=1"
    assert address.redirected("/v1/x", "http://127.0.0.1:8000/y") == "/y"
    for elsewhere in (
        "http://127.0.0.1:8001/y",
        "https://127.0.0.1:8000/y",
        "//h/y",
        "http://h:x/",
    ):
        assert address.redirected("/v1/x", elsewhere) is None


def test_loopback():
    assert all(
        parse_address(f"http://{host}/v1").loopback
        for host in ("127.0.0.1", "[::1]", "localhost", "127.8.8.8", "a.localhost")
    )
    assert not parse_address("http://10.0.0.1/v1").loopback
    assert not parse_address("http://localhost.example.org/v1").loopback


def test_the_key_comes_from_the_first_variable_and_shows_nowhere():
    environ = {"WORKBENCH_API_KEY": "sk-one", "OPENAI_API_KEY": "sk-two"}
    key = find_api_key(None, API_KEY_NAMES, environ)
    assert key.headers() == {"authorization": "Bearer sk-one"}
    assert "sk-one" not in repr(key) + str(key) + f"{[key]}"
    assert key.brief("bad key sk-one!\n\x1b[31m" + "x" * 500).startswith("bad key ***! [31m")
    assert len(key.brief("x" * 500)) == 200
    assert find_api_key("OPENAI_API_KEY", (), environ).headers()["authorization"] == "Bearer sk-two"
    assert not find_api_key(None, API_KEY_NAMES, {}) and ApiKey("").headers() == {}


def test_keys_that_no_header_can_carry():
    for bad in ("sk one", "sk\r\nx: y", "schlüssel"):
        with pytest.raises(EngineConfigError) as error:
            find_api_key(None, ("K",), {"K": bad})
        assert bad not in str(error.value)
    with pytest.raises(EngineConfigError, match="MISSING"):
        find_api_key("MISSING", (), {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"api": "grpc"},
        {"http_client": "curl"},
        {"prompt_form": "tokens"},
        {"connect_s": 0},
        {"stall_s": float("nan")},
        {"scrape_s": -1},
        {"retries": -1},
        {"max_connections": 0},
        {"http_client": "direct", "http2": True},
        {"extra_body": {"stream": False}},
    ],
)
def test_impossible_options(wrong):
    with pytest.raises(EngineConfigError):
        RemoteOptions("http://h/v1", **wrong)
