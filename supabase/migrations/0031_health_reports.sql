-- Reading how offers fare, and the schedule that watches them.

-- Sums of one offer's windows since a moment; five-minute windows up to two days back, then hours.
create function health.sums(p_model text, p_provider text, p_since_s bigint)
returns table (requests bigint, successes bigint, errors bigint, throttled bigint, total_ms bigint,
               prompt_tokens bigint, output_tokens bigint, cost_nanos bigint, tool_calls bigint,
               tool_valid bigint, timeouts bigint)
language sql stable as $$
  select coalesce(sum(w.requests), 0)::bigint, coalesce(sum(w.successes), 0)::bigint,
         coalesce(sum(w.errors), 0)::bigint, coalesce(sum(w.throttled), 0)::bigint,
         coalesce(sum(w.total_ms), 0)::bigint, coalesce(sum(w.prompt_tokens), 0)::bigint,
         coalesce(sum(w.output_tokens), 0)::bigint, coalesce(sum(w.cost_nanos), 0)::bigint,
         coalesce(sum(w.tool_calls), 0)::bigint, coalesce(sum(w.tool_valid), 0)::bigint,
         coalesce(sum(w.timeouts), 0)::bigint
    from health.windows w
   where w.model = p_model and w.provider = p_provider
     and w.span_s = case when p_since_s <= 172800 then 300 when p_since_s <= 3024000 then 3600
                         else 86400 end
     and w.starts_at > ledger.now() - p_since_s * interval '1 second'
$$;

create function health.buckets(p_model text, p_provider text, p_kind "char", p_since_s bigint)
returns jsonb language sql stable as $$
  select coalesce(jsonb_object_agg(b.bucket, b.n), '{}')
    from (select f.bucket, sum(f.n)::bigint as n from health.figures f
           where f.model = p_model and f.provider = p_provider and f.kind = p_kind
             and f.span_s = case when p_since_s <= 172800 then 300 when p_since_s <= 3024000
                                 then 3600 else 86400 end
             and f.starts_at > ledger.now() - p_since_s * interval '1 second'
           group by f.bucket) as b
$$;

create function health.offer_json(o health.offers) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'model', o.model, 'provider', o.provider, 'offer', o.offer, 'failures', o.failures,
    'missing', o.missing, 'last_class', o.last_class, 'last_status', o.last_status,
    'last_ms', o.last_ms, 'last_success_at_ms', ledger.ms_of(o.last_success_at),
    'last_failure_at_ms', ledger.ms_of(o.last_failure_at), 'seen_at_ms', ledger.ms_of(o.seen_at),
    'probed_at_ms', ledger.ms_of(o.probed_at), 'hidden', o.hidden_at is not null,
    'm5', (select to_jsonb(s) from health.sums(o.model, o.provider, 300) as s),
    'm30', (select to_jsonb(s) from health.sums(o.model, o.provider, 1800) as s),
    'd1', (select to_jsonb(s) from health.sums(o.model, o.provider, 86400) as s),
    'd7', (select to_jsonb(s) from health.sums(o.model, o.provider, 604800) as s),
    'd30', (select to_jsonb(s) from health.sums(o.model, o.provider, 2592000) as s),
    'latency_m30', health.buckets(o.model, o.provider, 'l', 1800),
    'throughput_m30', health.buckets(o.model, o.provider, 't', 1800),
    'latency_d1', health.buckets(o.model, o.provider, 'l', 86400),
    'throughput_d1', health.buckets(o.model, o.provider, 't', 86400),
    'incident', (select to_jsonb(i) - '{model,provider,opened_at,closed_at}'::text[]
                        || jsonb_build_object('opened_at_ms', ledger.ms_of(i.opened_at))
                   from health.incidents i
                  where i.model = o.model and i.provider = o.provider and i.closed_at is null))
$$;

-- every offer that was ever tried; model and provider narrow
create function api.list_health(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  only_model text := $1 ->> 'model';
  only_provider text := $1 ->> 'provider';
  most bigint := ledger.int_arg($1, 'limit', 1, 5000, 1000);
  skip bigint := ledger.int_arg($1, 'offset', 0, 1000000, 0);
begin
  return jsonb_build_object(
    'total', (select count(*) from health.offers o
               where (only_model is null or o.model = only_model)
                 and (only_provider is null or o.provider = only_provider)),
    'offers', (
      select coalesce(jsonb_agg(health.offer_json(o) order by o.model, o.provider), '[]')
        from (select * from health.offers x
               where (only_model is null or x.model = only_model)
                 and (only_provider is null or x.provider = only_provider)
               order by x.model, x.provider limit most offset skip) as o));
end $$;

-- windows of one span, oldest first: a curve of an offer, a provider or all
create function api.health_series(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  span integer := ledger.int_arg($1, 'span_s', 300, 86400, 3600)::integer;
  since bigint := ledger.int_arg($1, 'since_s', 300, 400 * 86400, 86400);
  only_model text := $1 ->> 'model';
  only_provider text := $1 ->> 'provider';
  by_model boolean := coalesce(($1 ->> 'by_model')::boolean, false);
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(s) order by s.starts_at_ms, s.provider, s.model), '[]')
      from (
        select ledger.ms_of(w.starts_at) as starts_at_ms, w.provider,
               case when by_model then w.model end as model,
               sum(w.requests)::bigint as requests, sum(w.successes)::bigint as successes,
               sum(w.errors)::bigint as errors, sum(w.timeouts)::bigint as timeouts,
               sum(w.cuts)::bigint as cuts, sum(w.refused)::bigint as refused,
               sum(w.throttled)::bigint as throttled, sum(w.total_ms)::bigint as total_ms,
               sum(w.prompt_tokens)::bigint as prompt_tokens,
               sum(w.output_tokens)::bigint as output_tokens,
               sum(w.cost_nanos)::bigint as cost_nanos
          from health.windows w
         where w.span_s = span and w.starts_at > ledger.now() - since * interval '1 second'
           and (only_model is null or w.model = only_model)
           and (only_provider is null or w.provider = only_provider)
         group by 1, 2, 3) as s);
end $$;

create function api.list_incidents(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 100);
  active boolean := ($1 ->> 'active')::boolean;
  only_model text := $1 ->> 'model';
  only_provider text := $1 ->> 'provider';
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(i) - '{opened_at,closed_at}'::text[] || jsonb_build_object(
             'opened_at_ms', ledger.ms_of(i.opened_at), 'closed_at_ms', ledger.ms_of(i.closed_at))
             order by i.opened_at desc, i.id desc), '[]')
      from (select * from health.incidents x
             where (active is null or active = (x.closed_at is null))
               and (only_model is null or x.model = only_model)
               and (only_provider is null or x.provider = only_provider)
             order by x.opened_at desc, x.id desc limit most) as i);
end $$;

create function api.list_provider_credit(jsonb) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object(
           'provider', c.provider, 'balance_nanos', c.balance_nanos, 'refusals', c.refusals,
           'refused_at_ms', ledger.ms_of(c.refused_at),
           'checked_at_ms', ledger.ms_of(c.checked_at),
           'age_ms', ledger.ms_between(c.checked_at, ledger.now())) order by c.provider), '[]')
    from health.credit c
$$;

create function api.set_provider_credit(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare name text := ledger.op_arg($1, 'provider');
begin
  insert into health.credit as c (provider, balance_nanos, checked_at)
    values (name, ledger.int_arg($1, 'balance_nanos', -1000000000000000, 1000000000000000),
            ledger.now())
  on conflict (provider) do update set
    balance_nanos = excluded.balance_nanos, checked_at = excluded.checked_at, refusals = 0;
  return jsonb_build_object('provider', name);
end $$;

-- ------------------------------------------------------------------ the schedule

-- What decides which offers are due: use of the last day, and when each was last heard of.
create function api.probe_plan(jsonb) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_array(
           o.model, o.provider, u.requests, o.failures,
           ledger.ms_between(greatest(o.probed_at, o.seen_at), ledger.now()),
           o.hidden_at is not null)), '[]')
    from health.offers o
   cross join lateral (
     select coalesce(sum(w.requests - w.probes), 0)::bigint as requests from health.windows w
      where w.model = o.model and w.provider = o.provider and w.span_s = 300
        and w.starts_at > ledger.now() - interval '1 day') as u
$$;

-- One probe, if the day's budget has room and nobody else made it: true. Its worst case is booked.
create function api.claim_probe(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  at timestamptz := ledger.now();
  cost bigint := ledger.int_arg($1, 'cost_nanos', 0, ledger.charge_cap());
  budget bigint := ledger.int_arg($1, 'budget_nanos', 0, ledger.wallet_cap());
  every bigint := ledger.int_arg($1, 'every_ms', 0, 86400000);
begin
  insert into health.offers as o (model, provider, offer, seen_at, probed_at)
    values (ledger.op_arg($1, 'model'), ledger.op_arg($1, 'provider'), ledger.op_arg($1, 'offer'),
            at, at)
  on conflict (model, provider) do update set probed_at = at
    where o.probed_at is null or o.probed_at <= at - ledger.span(every);
  if not found then return jsonb_build_object('granted', false, 'reason', 'not_due'); end if;
  insert into health.probe_days as d (day, nanos, probes) values ((at at time zone 'UTC')::date, 0, 0)
    on conflict (day) do nothing;
  update health.probe_days d set nanos = d.nanos + cost, probes = d.probes + 1
   where d.day = (at at time zone 'UTC')::date and d.nanos + cost <= budget;
  if not found then return jsonb_build_object('granted', false, 'reason', 'budget'); end if;
  return jsonb_build_object('granted', true);
end $$;

-- What a probe really cost, in place of its worst case.
create function api.close_probe(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare back bigint := ledger.int_arg($1, 'back_nanos', 0, ledger.charge_cap());
begin
  update health.probe_days d set nanos = greatest(d.nanos - back, 0)
   where d.day = (ledger.now() at time zone 'UTC')::date;
  return jsonb_build_object('ok', true);
end $$;

create function api.probe_spending(jsonb) returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object('nanos', coalesce(sum(d.nanos), 0), 'probes', coalesce(sum(d.probes), 0))
    from health.probe_days d where d.day = (ledger.now() at time zone 'UTC')::date
$$;

-- Ten percent errors of at least twenty requests in ten minutes are a degradation. What is older
-- than anybody looks at goes.
create function api.review_health(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  at timestamptz := ledger.now();
  opened integer; closed integer;
begin
  with recent as (
    select w.model, w.provider, sum(w.requests - w.throttled) as requests, sum(w.errors) as errors
      from health.windows w
     where w.span_s = 300 and w.starts_at > at - interval '10 minutes'
     group by w.model, w.provider
  ), made as (
    insert into health.incidents (model, provider, kind, severity, failures, class, opened_at)
    select r.model, r.provider, 'degradation',
           case when r.errors * 2 >= r.requests then 'high' else 'medium' end,
           r.errors::integer, 'error_rate', at
      from recent r where r.requests >= 20 and r.errors * 10 >= r.requests
    on conflict (model, provider) where closed_at is null do nothing returning 1
  ), healed as (
    update health.incidents i set closed_at = at
     where i.closed_at is null and i.kind = 'degradation'
       and not exists (select 1 from recent r where r.model = i.model and r.provider = i.provider
                          and r.requests >= 20 and r.errors * 10 >= r.requests) returning 1
  )
  select (select count(*) from made), (select count(*) from healed) into opened, closed;
  delete from health.windows w
   where (w.span_s = 300 and w.starts_at < at - interval '3 days')
      or (w.span_s = 3600 and w.starts_at < at - interval '36 days')
      or (w.span_s = 86400 and w.starts_at < at - interval '400 days');
  delete from health.figures f
   where (f.span_s = 300 and f.starts_at < at - interval '3 days')
      or (f.span_s = 3600 and f.starts_at < at - interval '36 days')
      or (f.span_s = 86400 and f.starts_at < at - interval '400 days');
  delete from health.incidents i where i.closed_at < at - interval '400 days';
  return jsonb_build_object('opened', opened, 'closed', closed);
end $$;

select ledger.close_doors();
