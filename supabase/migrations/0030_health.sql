-- How offers fare: figures of every attempt in windows of five minutes, an hour and a day, the state
-- of each offer, incidents, probes and what providers have left of our credit. Not money: a sample
-- lost or counted twice harms nobody.

create schema health;
revoke all on schema health from public, anon, authenticated;

-- As before, for this schema too.
create or replace function ledger.close_doors() returns void language plpgsql set search_path = ''
as $$
declare part record; owned text[];
begin
  owned := array(select n.nspname::text from pg_catalog.pg_namespace n
                  where n.nspname in ('ledger', 'tenancy', 'queue', 'api', 'catalog', 'health'));
  for part in
    select n.nspname, c.relname from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = any (owned) and c.relkind in ('r', 'p') and not c.relrowsecurity
  loop
    execute format('alter table %I.%I enable row level security', part.nspname, part.relname);
  end loop;
  for part in select unnest(owned) as name loop
    execute format('revoke all on all tables in schema %I from public, anon, authenticated, '
                   'service_role', part.name);
    execute format('revoke all on all sequences in schema %I from public, anon, authenticated, '
                   'service_role', part.name);
    execute format('revoke all on all functions in schema %I from public, anon, authenticated, '
                   'service_role', part.name);
  end loop;
  grant execute on all functions in schema api to service_role;
end $$;

-- span_s is 300, 3600 or 86400. Failures by class; throttled ones are no failures of the offer.
create table health.windows (
  span_s     integer not null,
  starts_at  timestamptz not null,
  model      text collate "C" not null,
  provider   text collate "C" not null,
  requests   bigint not null default 0,
  successes  bigint not null default 0,
  errors     bigint not null default 0,
  timeouts   bigint not null default 0,      -- part of errors
  cuts       bigint not null default 0,      -- part of errors: failed after the first content
  refused    bigint not null default 0,      -- part of errors: our credential
  throttled  bigint not null default 0,
  probes     bigint not null default 0,      -- part of requests
  total_ms   bigint not null default 0,      -- of successes
  prompt_tokens bigint not null default 0,
  output_tokens bigint not null default 0,
  cost_nanos bigint not null default 0,
  tool_calls bigint not null default 0,
  tool_valid bigint not null default 0,
  primary key (span_s, starts_at, model, provider)
);
create index on health.windows (model, provider, span_s, starts_at);

-- Counts in logarithmic buckets (routing/figures.py): l milliseconds to the first content, t tokens
-- per second.
create table health.figures (
  span_s    integer not null,
  starts_at timestamptz not null,
  model     text collate "C" not null,
  provider  text collate "C" not null,
  kind      "char" not null,
  bucket    smallint not null,
  n         bigint not null,
  primary key (span_s, starts_at, model, provider, kind, bucket)
);
create index on health.figures (model, provider, span_s, starts_at);

create table health.offers (
  model           text collate "C" not null,
  provider        text collate "C" not null,
  offer           text not null,
  failures        integer not null default 0,       -- in a row
  missing         integer not null default 0,       -- "no such model" in a row
  last_class      text,
  last_status     integer,
  last_ms         integer,
  last_success_at timestamptz,
  last_failure_at timestamptz,
  seen_at         timestamptz not null,
  probed_at       timestamptz,
  hidden_at       timestamptz,
  primary key (model, provider)
);
create index on health.offers (provider);

create table health.incidents (
  id        bigint generated always as identity primary key,
  model     text collate "C" not null,
  provider  text collate "C" not null,
  kind      text not null check (kind in ('outage', 'timeout', 'rate_limit', 'degradation')),
  severity  text not null check (severity in ('low', 'medium', 'high', 'critical')),
  failures  integer not null,
  class     text,
  opened_at timestamptz not null,
  closed_at timestamptz
);
create unique index on health.incidents (model, provider) where closed_at is null;
create index on health.incidents (opened_at);

create table health.probe_days (
  day    date primary key,
  nanos  bigint not null default 0,
  probes bigint not null default 0
);

create table health.credit (
  provider      text collate "C" primary key,
  balance_nanos bigint,                             -- null: the provider does not tell
  refusals      bigint not null default 0,          -- 402 since the last balance
  refused_at    timestamptz,
  checked_at    timestamptz
);

create function health.start_of(p_at timestamptz, p_span_s integer) returns timestamptz
language sql immutable as $$
  select to_timestamp(floor(extract(epoch from p_at) / p_span_s) * p_span_s)
$$;

create function health.severity_of(p_failures integer) returns text language sql immutable as $$
  select case when p_failures >= 10 then 'critical' when p_failures >= 5 then 'high'
              when p_failures >= 3 then 'medium' else 'low' end
$$;

create type health.sample as (
  model text, provider text, offer text, at_ms bigint, class text, status integer, probe boolean,
  ms bigint, first_bucket smallint, rate_bucket smallint, prompt_tokens bigint,
  output_tokens bigint, cost_nanos bigint, tool_calls bigint, tool_valid bigint);

-- class is ok, or the failure's: throttled, missing, timeout, cut, auth, payment, unavailable,
-- broken. Rows are touched in one order, so that two batches do not wait for each other in a ring.
create function health.count_samples(p_samples health.sample[]) returns void
language plpgsql as $$
begin
  insert into health.windows as w
    (span_s, starts_at, model, provider, requests, successes, errors, timeouts, cuts, refused,
     throttled, probes, total_ms, prompt_tokens, output_tokens, cost_nanos, tool_calls, tool_valid)
  select span.s, health.start_of(timestamptz 'epoch' + ledger.span(x.at_ms), span.s),
         x.model, x.provider, count(*), count(*) filter (where x.class = 'ok'),
         count(*) filter (where x.class not in ('ok', 'throttled')),
         count(*) filter (where x.class = 'timeout'), count(*) filter (where x.class = 'cut'),
         count(*) filter (where x.class in ('auth', 'payment')),
         count(*) filter (where x.class = 'throttled'), count(*) filter (where x.probe),
         coalesce(sum(x.ms) filter (where x.class = 'ok'), 0),
         coalesce(sum(x.prompt_tokens), 0), coalesce(sum(x.output_tokens), 0),
         coalesce(sum(x.cost_nanos), 0), coalesce(sum(x.tool_calls), 0),
         coalesce(sum(x.tool_valid), 0)
    from unnest(p_samples) as x cross join (values (300), (3600), (86400)) as span(s)
   group by 1, 2, 3, 4 order by 1, 2, 3, 4
  on conflict (span_s, starts_at, model, provider) do update set
    requests = w.requests + excluded.requests, successes = w.successes + excluded.successes,
    errors = w.errors + excluded.errors, timeouts = w.timeouts + excluded.timeouts,
    cuts = w.cuts + excluded.cuts, refused = w.refused + excluded.refused,
    throttled = w.throttled + excluded.throttled, probes = w.probes + excluded.probes,
    total_ms = w.total_ms + excluded.total_ms,
    prompt_tokens = w.prompt_tokens + excluded.prompt_tokens,
    output_tokens = w.output_tokens + excluded.output_tokens,
    cost_nanos = w.cost_nanos + excluded.cost_nanos,
    tool_calls = w.tool_calls + excluded.tool_calls,
    tool_valid = w.tool_valid + excluded.tool_valid;

  insert into health.figures as f (span_s, starts_at, model, provider, kind, bucket, n)
  select span.s, health.start_of(timestamptz 'epoch' + ledger.span(x.at_ms), span.s),
         x.model, x.provider, v.kind::"char", v.bucket, count(*)
    from unnest(p_samples) as x cross join (values (300), (3600), (86400)) as span(s)
   cross join lateral (values ('l', x.first_bucket), ('t', x.rate_bucket)) as v(kind, bucket)
   where v.bucket is not null and x.class = 'ok'
   group by 1, 2, 3, 4, 5, 6 order by 1, 2, 3, 4, 5, 6
  on conflict (span_s, starts_at, model, provider, kind, bucket) do update set n = f.n + excluded.n;
end $$;

-- The state of the offer after one more sample; opens and closes its incident.
create function health.note_sample(p health.sample, p_at timestamptz) returns void
language plpgsql as $$
declare
  state health.offers;
  kind text;
begin
  insert into health.offers as o
    (model, provider, offer, failures, missing, last_class, last_status, last_ms,
     last_success_at, last_failure_at, seen_at)
  values (p.model, p.provider, p.offer, (p.class <> 'ok')::integer, (p.class = 'missing')::integer,
          p.class, p.status, p.ms, case when p.class = 'ok' then p_at end,
          case when p.class <> 'ok' then p_at end, p_at)
  on conflict (model, provider) do update set
    offer = excluded.offer,
    failures = case when p.class = 'ok' then 0 else o.failures + 1 end,
    missing = case when p.class = 'ok' then 0 when p.class = 'missing' then o.missing + 1
                   else o.missing end,
    hidden_at = case when p.class = 'ok' then null
                     when p.class = 'missing' and o.missing >= 2 then coalesce(o.hidden_at, p_at)
                     else o.hidden_at end,
    last_class = excluded.last_class, last_status = excluded.last_status,
    last_ms = excluded.last_ms,
    last_success_at = coalesce(excluded.last_success_at, o.last_success_at),
    last_failure_at = coalesce(excluded.last_failure_at, o.last_failure_at),
    seen_at = excluded.seen_at
  returning * into state;

  if p.class = 'ok' then
    update health.incidents i set closed_at = p_at
     where i.model = p.model and i.provider = p.provider and i.closed_at is null
       and i.kind <> 'degradation';
  elsif state.failures >= 3 then
    kind := case p.class when 'timeout' then 'timeout' when 'throttled' then 'rate_limit'
                         else 'outage' end;
    insert into health.incidents as i (model, provider, kind, severity, failures, class, opened_at)
      values (p.model, p.provider, kind, health.severity_of(state.failures), state.failures,
              p.class, p_at)
    on conflict (model, provider) where closed_at is null do update set
      kind = excluded.kind, severity = excluded.severity, failures = excluded.failures,
      class = excluded.class;
  end if;
  if p.class = 'payment' then
    insert into health.credit as c (provider, refusals, refused_at) values (p.provider, 1, p_at)
    on conflict (provider) do update set refusals = c.refusals + 1, refused_at = p_at;
  end if;
end $$;

-- samples: what the attempts of settled requests and of probes showed (health/samples.py)
create function api.record_health(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  at timestamptz := ledger.now();
  newest bigint := ledger.ms_of(at);
  samples health.sample[];
  x health.sample;
begin
  -- A label of another machine's clock decides at most in which window of the last day it counts.
  select array_agg((y.model, y.provider, y.offer,
           least(greatest(coalesce(y.at_ms, newest), newest - 86400000), newest),
           y.class, y.status, coalesce(y.probe, false), y.ms, y.first_bucket, y.rate_bucket,
           y.prompt_tokens, y.output_tokens, y.cost_nanos, y.tool_calls, y.tool_valid)::health.sample
           order by y.model, y.provider, y.ordinality)
    into samples
    from jsonb_populate_recordset(null::health.sample, ledger.array_arg($1, 'samples', 3000))
         with ordinality as y
   where y.model is not null and y.provider is not null and y.offer is not null
     and y.class is not null;
  if samples is null then return jsonb_build_object('recorded', 0); end if;
  perform health.count_samples(samples);
  foreach x in array samples loop perform health.note_sample(x, at); end loop;
  return jsonb_build_object('recorded', array_length(samples, 1), 'missing', (
    select coalesce(jsonb_agg(jsonb_build_array(o.offer, o.hidden_at is not null)), '[]')
      from health.offers o
     where (o.model, o.provider) in (select s.model, s.provider from unnest(samples) as s)
       and (o.missing > 0 or o.hidden_at is not null)));
end $$;

select ledger.close_doors();
