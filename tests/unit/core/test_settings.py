import pytest

from gatewayz.core.checks import check_serving
from gatewayz.core.settings import SettingsError, describe_settings, load_settings

GOOD = {
    "DATABASE_URL": "postgres://owner:s3cret@db:6543/postgres",
    "REDIS_URL": "redis://cache",
    "GATEWAYZ_KEY_PEPPER": "p" * 32,
}


def test_values_are_read_with_their_types_and_defaults() -> None:
    settings = load_settings({"PORT": "9000", "GATEWAYZ_KEEPALIVE_S": "1.5"})
    assert (settings.http.port, settings.http.keepalive_s) == (9000, 1.5)
    assert settings.stage == "production"


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "many"), ("DATABASE_POOLED", "perhaps"), ("GATEWAYZ_STAGE", "x")]
)
def test_a_bad_value_is_one_clear_line_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings({name: value})


@pytest.mark.parametrize("missing", list(GOOD))
def test_nothing_is_served_without_stores_or_with_an_empty_secret(missing: str) -> None:
    check_serving(load_settings(GOOD))
    with pytest.raises(SettingsError, match=missing):
        check_serving(load_settings(GOOD | {missing: ""}))


def test_a_weak_pepper_is_refused() -> None:
    with pytest.raises(SettingsError, match="GATEWAYZ_KEY_PEPPER"):
        check_serving(load_settings(GOOD | {"GATEWAYZ_KEY_PEPPER": "short"}))


def test_a_transaction_pooler_is_recognised_by_its_port() -> None:
    assert load_settings(GOOD).pooled
    assert not load_settings({"DATABASE_URL": "postgres://db:5432/x"}).pooled


def test_every_setting_is_documented_and_no_secret_has_a_default() -> None:
    rows = list(describe_settings())
    assert len({row.env for row in rows}) == len(rows)
    for row in rows:
        assert row.doc
        assert not (row.secret and row.default)


@pytest.mark.parametrize(
    "origins",
    [
        "https://app.example/", "https://App.example", "app.example", "https://", "* none",
        "https://a.example *",
    ],
)  # fmt: skip
def test_an_origin_that_no_browser_would_send_is_refused(origins: str) -> None:
    good = GOOD | {"GATEWAYZ_CORS_ORIGINS": "https://app.example, http://localhost:3000"}
    check_serving(load_settings(good))
    with pytest.raises(SettingsError, match="GATEWAYZ_CORS_ORIGINS"):
        check_serving(load_settings(GOOD | {"GATEWAYZ_CORS_ORIGINS": origins}))


def test_cookies_are_allowed_only_to_named_origins() -> None:
    cookies = GOOD | {"GATEWAYZ_CORS_CREDENTIALS": "true"}
    check_serving(load_settings(cookies | {"GATEWAYZ_CORS_ORIGINS": "https://app.example"}))
    with pytest.raises(SettingsError, match="GATEWAYZ_CORS_CREDENTIALS"):
        check_serving(load_settings(cookies))
