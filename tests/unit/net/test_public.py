"""Which URLs anybody may be made to call, by their text and by their addresses (F59)."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.net.public import NotPublic, is_public, read_place

OPEN = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "223.255.255.1", "2606:4700::1111", "2a00:1450::8a"]
CLOSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1",
    "127.255.255.254", "168.63.129.16", "169.254.169.254", "169.254.170.2", "172.16.0.1",
    "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "100::1", "2001::1", "2001:0:a9fe:a9fe::1",
    "2001:db8::1", "2001:20::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "3fff::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "2606:4700::5efe:a9fe:a9fe",
    "2606:4700::200:5efe:a9fe:a9fe",
]  # fmt: skip


@pytest.mark.parametrize("address", OPEN)
def test_a_public_address_may_be_called(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", CLOSED)
def test_F59_no_other_address_may_be_called(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    shown = f"[{address}]" if ":" in address else address
    with pytest.raises(NotPublic, match="not public"):
        read_place(f"http://{shown}/x.png")


@given(st.ip_addresses(v=4))
def test_what_the_library_calls_private_is_never_open(address: ipaddress.IPv4Address) -> None:
    if not address.is_global or address.is_multicast:
        assert not is_public(address)
    # Nor is any way to write it as a newer one.
    for prefix in ("::ffff:", "64:ff9b::"):
        assert not is_public(ipaddress.ip_address(prefix + str(address)))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("gopher://example.com/x", "only http and https"),
        ("ftp://example.com/x", "only http and https"),
        ("//example.com/x", "only http and https"),
        ("example.com", "only http and https"),
        ("", "only http and https"),
        ("http://me@example.com/", "user name"),
        ("http://me:pw@example.com/", "user name"),
        ("http://:@example.com/", "user name"),
        ("http://1.1.1.1@169.254.169.254/", "user name"),
        ("http://example.com\\@169.254.169.254/", "no URL"),
        ("http://example.com\t/", "no URL"),
        ("http://exa mple.com/", "no URL"),
        ("http://example.com/\r\nx: y", "no URL"),
        ("http://example.com:99999/", "no URL"),
        ("http://[::1/", "no URL"),
        ("http://example.com:22/", "port"),
        ("http://example.com:6379/", "port"),
        ("https://8.8.8.8:25/", "port"),
        ("http://2130706433/", "oddly"),
        ("http://0x7f000001/", "oddly"),
        ("http://0x7f.0.0.1/", "oddly"),
        ("http://0177.0.0.1/", "oddly"),
        ("http://127.1/", "oddly"),
        ("http://127.0.0.1./", "oddly"),
        ("http://0/", "oddly"),
        ("http://08.8.8.8/", "oddly"),
        ("http://\uff11\uff12\uff17.0.0.1/", "oddly"),
        ("http://127%2e0%2e0%2e1/", "no name"),
        ("http://local%68ost.example/", "no name"),
        ("http://localhost/", "not public"),
        ("http://LOCALHOST./", "not public"),
        ("http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/", "not public"),
        ("http://a.localhost/", "not public"),
        ("http://metadata.google.internal/", "not public"),
        ("http://printer.local/", "not public"),
        ("http://redis/", "not public"),
        ("http:///x", "no name"),
        ("http://-a.example/", "no name"),
        (f"http://{'a' * 64}.example/", "no name"),
        (f"http://example.com/{'a' * 5000}", "no URL"),
    ],
)
def test_F59_a_url_that_leads_inward_or_nowhere_is_refused(url: str, why: str) -> None:
    with pytest.raises(NotPublic, match=why):
        read_place(url)


def test_a_url_is_called_as_it_was_judged() -> None:
    """Written anew, so that no two parsers read two hosts."""
    place = read_place("HTTPS://PICTURES.Example.:8443/a%20b?c=%2F#frag")
    assert place.url == "https://pictures.example:8443/a%20b?c=%2F"
    assert (place.host, place.port, place.address) == ("pictures.example", 8443, None)
    assert read_place("http://b\u00fccher.example").url == "http://xn--bcher-kva.example/"
    assert read_place("http://[2606:4700::1111]/").url == "http://[2606:4700::1111]/"


def test_a_private_network_is_called_only_where_the_operator_allows_it() -> None:
    allowed = [ipaddress.ip_network("10.1.0.0/16")]
    assert read_place("http://10.1.2.3:9000/x", allowed).port == 9000
    with pytest.raises(NotPublic):
        read_place("http://10.2.0.1/x", allowed)
    with pytest.raises(NotPublic, match="port"):
        read_place("http://8.8.8.8:9000/x", allowed)


@given(st.text(max_size=60))
def test_every_text_is_a_place_or_is_refused(text: str) -> None:
    for url in (text, "http://" + text, "https://" + text + "/x"):
        try:
            place = read_place(url)
        except NotPublic:
            continue
        assert place.address is None or is_public(place.address)
        assert read_place(place.url) == place
