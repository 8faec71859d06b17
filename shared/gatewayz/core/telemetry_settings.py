"""Settings of traces, metrics, error reports, product analytics, feature flags and release."""

from dataclasses import dataclass

from gatewayz.core.setting import setting as _set


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    endpoint: str = _set(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "address of an OpenTelemetry collector (OTLP over HTTP); nothing is traced without it",
    )
    headers: str = _set(
        "OTEL_EXPORTER_OTLP_HEADERS", "", "headers of that collector, `key=value`s", secret=True
    )
    service: str = _set("OTEL_SERVICE_NAME", "gatewayz", "our name in traces and metrics")
    traces: str = _set("OTEL_TRACES_EXPORTER", "otlp", "otlp, or none: no traces")
    meters: str = _set("OTEL_METRICS_EXPORTER", "otlp", "otlp, or none: no metrics there")
    sample: str = _set(
        "GATEWAYZ_TRACE_SAMPLE",
        "",
        "share of requests that is traced: of all (`0.5`), of routes (`/v1/embeddings=0.01`), of"
        " those whose client traces them (`client=1`); errors always. Without it a tenth, and all"
        " on a local stack",
    )
    content: bool = _set(
        "GATEWAYZ_TRACE_CONTENT", False, "traces hold prompts and answers; think before"
    )
    upstream: str = _set(
        "GATEWAYZ_TRACE_UPSTREAM",
        "own",
        "providers that are told the trace: none, own (model servers of ours) or all",
    )
    metrics_token: str = _set(
        "GATEWAYZ_METRICS_TOKEN",
        "",
        "bearer secret of GET /metrics; without it there are no shared totals and no page",
        secret=True,
    )
    sentry_dsn: str = _set(
        "SENTRY_DSN", "", "where ERROR lines are reported, scrubbed; nowhere without it",
        secret=True,
    )  # fmt: skip
    sentry_environment: str = _set(
        "SENTRY_ENVIRONMENT", "", "environment of those reports; GATEWAYZ_STAGE without it"
    )
    sentry_release: str = _set(
        "SENTRY_RELEASE", "", "release of those reports; our version and commit without it"
    )
    tunnel_dsn: str = _set(
        "GATEWAYZ_SENTRY_TUNNEL_DSN",
        "",
        "DSN of the web application: POST /monitoring passes its reports on, and no others",
    )
    posthog_key: str = _set(
        "POSTHOG_API_KEY", "", "project key of the product analytics; none without it", secret=True
    )
    posthog_host: str = _set("POSTHOG_HOST", "https://us.i.posthog.com", "where they are kept")
    flags: str = _set(
        "GATEWAYZ_FLAGS", "", "feature flags, above those of the file: `new-page=on beta=25%`"
    )
    flags_file: str = _set("GATEWAYZ_FLAGS_FILE", "", "TOML file with feature flags")
    flags_from: str = _set(
        "GATEWAYZ_FLAGS_FROM", "", "statsig or posthog: flags are read there, once a minute"
    )
    statsig_key: str = _set(
        "STATSIG_SERVER_SECRET_KEY", "", "server key of that service", secret=True
    )
    commit: str = _set("GATEWAYZ_COMMIT", "", "commit that is deployed; /health shows it")
    vercel_commit: str = _set("VERCEL_GIT_COMMIT_SHA", "", "the same, as one platform tells it")

    @property
    def watched(self) -> bool:
        """Does anybody want to hear of this process?"""
        return bool(self.metrics_token or self.endpoint or self.sentry_dsn)

    @property
    def revision(self) -> str:
        """The commit that runs, shortened; empty when nobody told."""
        return (self.commit or self.vercel_commit)[:12]
