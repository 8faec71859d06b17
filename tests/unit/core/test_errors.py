import pytest

from gatewayz.core.errors import (
    UpstreamBroken,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
    echo,
    final_failure,
)


def test_one_kind_of_failure_keeps_its_own_status() -> None:
    assert final_failure([UpstreamBroken("x"), UpstreamBroken("y")]).status == 502
    assert final_failure([UpstreamTimeout("x", stage="connect")]).status == 504


def test_a_throttled_model_tells_when_to_come_back() -> None:
    error = final_failure([UpstreamThrottled("x", retry_after_s=7)])
    assert (error.status, error.headers["Retry-After"]) == (429, "7")


def test_mixed_failures_are_one_503_with_retry_after() -> None:
    error = final_failure([UpstreamBroken("x"), UpstreamThrottled("y", retry_after_s=7)])
    assert (error.status, error.code) == (503, "all_providers_failed")
    assert "Retry-After" in error.headers


def test_unavailable_everywhere_is_503() -> None:
    assert final_failure([UpstreamUnavailable("x")]).status == 503


@pytest.mark.parametrize("text", ["а" * 100, "\u200bgpt", "a\x00b", "x" * 10_000])
def test_callers_text_is_echoed_short_and_in_ascii(text: str) -> None:
    shown = echo(text)
    assert shown.isascii() and shown.isprintable() and len(shown) <= 64
