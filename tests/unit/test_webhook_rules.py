"""Where webhooks may go, how they are signed, and when they are sent again."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from tq.courier import DELAYS, next_delay
from tq.signing import as_text, new_secret, parse_secrets, signature
from tq.targets import check_url, is_refused, shown, target, why_refused

PRIVATE = [
    "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "198.18.0.1", "::1", "fc00::1", "fd12::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::", "192.0.2.1", "203.0.113.9", "2001:db8::1",
    "::10.0.0.1", "::127.0.0.1", "::8.8.8.8", "64:ff9b:1::10.0.0.1", "64:ff9b:1::8.8.8.8", "::ffff:0:10.0.0.1",
]  # fmt: skip
NEVER = [
    "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255", "::", "fe80::1", "fe80::1%eth0", "ff02::1", "fd00:ec2::254", "100.100.100.200",
    "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "nonsense", "",
    # IPv4-compatible, translated, and a network's own NAT64: at its end, and behind prefixes of 48, 56 and 64 bits.
    "::169.254.169.254", "::100.100.100.200", "::a83f:8110", "::ffff:0:169.254.169.254", "64:ff9b:1::a9fe:a9fe",
    "64:ff9b:1:ffff::169.254.0.1", "64:ff9b:1::168.63.129.16", "64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1:a9fe:a9:fe00::1",
    "64:ff9b:1:a9:fe:a9fe::1", "64:ff9b:1:0:a9:fea9:fe00:1", "64:ff9b:1:6464:64:c800::1", "64:ff9b:1::e000:1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "172.32.0.1", "100.128.0.1",
    "64:ff9b::808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    """Refused unless they are allowed."""
    assert is_refused(address, private=False)
    assert not is_refused(address, private=True)


@pytest.mark.parametrize("address", NEVER)
def test_nobodys_addresses(address: str) -> None:
    """Refused even where private ones are allowed: where clouds keep their secrets, multicast, what is none."""
    assert is_refused(address, private=False)
    assert is_refused(address, private=True)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    """Taken."""
    assert not is_refused(address, private=False)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/", "https://", "https://user:pass@a.example/", "https://a.example/#x", "https://2130706433/",
        "https://0x7f.1/", "https://127.1/", "https://0177.0.0.1/", "https://a b.example/", "https://a.example:0/",
        "https://a.example:65536/", "https://ä.example/", "https://a.example/\n", "https://[::1/", "https://[fe80::1%25eth0]/",
        "javascript:alert(1)", "https://a.example/" + "x" * 2048, "//a.example/", "https://a.example\\@b.example/",
    ],
)  # fmt: skip
def test_urls_that_are_none(url: str) -> None:
    """Odd forms of addresses, users, fragments, and what is no URL at all; it is not repeated."""
    with pytest.raises(ValueError, match="must") as caught:
        check_url(url)
    assert url == "https://" or url not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/", "https://localhost/", "https://a.localhost/", "http://a.example/"]
)
def test_urls_that_are_refused_early(url: str) -> None:
    """What is private by itself, and what is not encrypted; both may be allowed."""
    assert why_refused(check_url(url), private=False)
    assert not why_refused(check_url(url), private=True)


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://a.example:8443/hook?token=s3cret&x=1&plain", "https://a.example:8443/hook?token=***&x=***&***"),
        ("https://hooks.slack.example/services/T000/B000/s3cret", "https://hooks.slack.example/services/…"),
        ("https://discord.example/api/webhooks/1234/s3cret?wait=true", "https://discord.example/api/…?wait=***"),
        ("https://a.example/0b5bf2c4-s3cret-4b1e-9d4c", "https://a.example/…"),
        ("https://a.example/hook;k=s3cret/x", "https://a.example/…"),
        ("https://a.example/%73ecret", "https://a.example/…"),
        ("https://a.example//s3cret", "https://a.example//…"),
        ("https://a.example/hook/", "https://a.example/hook/"),
        ("https://a.example/", "https://a.example/"),
        ("https://a.example", "https://a.example"),
        ("https://a.example?s3cret", "https://a.example?***"),
        ("https://[2606:4700::1]:8443/in/s3cret", "https://[2606:4700::1]:8443/in/…"),
    ],
)
def test_secrets_of_a_url_are_not_shown(url: str, seen: str) -> None:
    """Not the values of its query, and of its path no more than where it begins."""
    assert shown(check_url(url)) == seen
    assert "s3cret" not in seen


def test_a_target_has_all_of_its_url() -> None:
    """Where it goes is not what is shown."""
    found = target(check_url("https://a.example:8443/hook/x?token=s3cret&x=1&plain"))
    assert (found.authority, found.path) == ("a.example:8443", "/hook/x?token=s3cret&x=1&plain")


def test_signatures_are_those_of_the_reference() -> None:
    """Standardwebhooks' own library verifies each of several secrets' signatures, and not with another."""
    old, new = new_secret(), new_secret()
    keys = parse_secrets(f"{old}, {new}")
    assert [as_text(key) for key in keys] == [old, new]
    body, now = '{"type":"message.completed","ü":1}'.encode(), int(time.time())
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(now),
        "webhook-signature": signature(keys, "evt_1", now, body),
    }
    for secret in (old, new):
        assert Webhook(secret).verify(body, headers)
        ours = Webhook(secret).sign("evt_1", datetime.fromtimestamp(now, UTC), body.decode())
        assert ours in headers["webhook-signature"].split()
    with pytest.raises(Exception, match=r"(?i)signature"):
        Webhook(new_secret()).verify(body, headers)


@pytest.mark.parametrize("text", ["x", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"])
def test_secrets_that_are_none(text: str) -> None:
    """Too short, no Base64, without the prefix; it is not repeated."""
    with pytest.raises(ValueError, match="whsec_ and the Base64") as caught:
        parse_secrets(text)
    assert text == "whsec_" or text not in str(caught.value).replace("x", "") or text == "x"


def test_pauses_grow_and_end() -> None:
    """With jitter, longer each time, ten hours at most, then it is given up; Retry-After never shortens one."""
    for attempt, pause in enumerate(DELAYS, 1):
        assert 0.8 * pause <= (next_delay(attempt, None) or 0) <= 1.2 * pause
    assert next_delay(len(DELAYS) + 1, None) is None
    assert 60 <= (next_delay(1, 60.0) or 0) <= 66
    assert (next_delay(3, 1.0) or 0) >= 240
    assert (next_delay(1, 1e9) or 0) <= 39_600
