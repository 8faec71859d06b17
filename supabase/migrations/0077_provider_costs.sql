-- What providers say we cost them, held against what we recorded: by provider, model and UTC day.
-- Where a provider bills less than the price that customers were charged by, they get the
-- difference back, by a rule that stands in a table.

create index usage_days_by_time on ledger.usage_days (starts_at, account);

create table ledger.provider_costs (
  provider   text collate "C" not null,
  day        date not null,
  model      text collate "C" not null default '',   -- the provider's own id; '' for all together
  source     text not null check (source in ('api', 'invoice')),
  nanos      numeric not null check (nanos >= 0),
  requests   bigint,
  changed_at timestamptz not null,                    -- since when the provider says this
  seen_at    timestamptz not null,
  primary key (provider, day, model, source)
);

-- Whether what is too much is given back, and from which share on.
create table ledger.overcharge_rules (
  provider text collate "C" primary key, least_ppm integer not null default 5000,
  least_nanos bigint not null default 10000000, enabled boolean not null default true);

-- {provider, source, rows: [[day, model, nanos as text, requests]]}
create function api.record_provider_costs(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  name text := ledger.op_arg($1, 'provider');
  which text := ledger.text_arg($1, 'source', '^(api|invoice)$', 10);
  at timestamptz := ledger.now();
  kept integer;
begin
  insert into ledger.provider_costs as c (provider, day, model, source, nanos, requests, changed_at,
                                          seen_at)
    select name, (r ->> 0)::date, coalesce(left(r ->> 1, 200), ''), which,
           sum((r ->> 2)::numeric), sum((r ->> 3)::bigint), at, at
      from jsonb_array_elements(ledger.array_arg($1, 'rows', 100000)) as r group by 2, 3
    on conflict (provider, day, model, source) do update set
      changed_at = case when c.nanos = excluded.nanos then c.changed_at else at end,
      nanos = excluded.nanos, requests = excluded.requests, seen_at = at;
  get diagnostics kept = row_count;
  return jsonb_build_object('recorded', kept);
exception when invalid_text_representation or invalid_datetime_format or datetime_field_overflow
            or check_violation or numeric_value_out_of_range then
  perform ledger.refuse('invalid_argument', 'rows are [day, model, nanos, requests]');
end $$;

-- Names of models as they are compared: a provider's bill may drop the maker, or add a date.
create function ledger.cost_key(p_name text) returns text language sql immutable as $$
  select regexp_replace(lower(regexp_replace(regexp_replace(coalesce(p_name, ''), '^.*/', ''),
           '[-@:]?(20\d\d-?\d\d-?\d\d|v\d+(:\d+)?|latest)$', '')), '[^!-~]+', '_', 'g')
$$;

-- {provider?, from_day, to_day (exclusive)} -> rows by provider, day and model where the provider
-- names models, else by provider and day. drift_ppm: how much more (or less) the provider says.
create function ledger.cost_drift(p_provider text, p_from date, p_to date)
returns table (provider text, day date, model text, recorded numeric, stated numeric,
               charged numeric, requests bigint, final boolean, drift_ppm bigint)
language sql stable as $$
  with stated as materialized (
    -- an invoice is the last word, where there is one for the day
    select c.provider, c.day, ledger.cost_key(c.model) as model, sum(c.nanos) as nanos,
           bool_and(c.source = 'invoice' or c.seen_at - c.changed_at >= interval '20 hours') as final
      from ledger.provider_costs c
     where (p_provider is null or c.provider = p_provider) and c.day >= p_from and c.day < p_to
       and (c.source = 'invoice' or not exists (
             select 1 from ledger.provider_costs i where i.provider = c.provider and i.day = c.day
                and i.source = 'invoice'))
     group by 1, 2, 3
  ), grain as materialized (
    select s.provider, s.day, bool_and(s.model <> '') as by_model from stated s group by 1, 2
  ), recorded as materialized (
    select g.provider, g.day,
           case when g.by_model then ledger.cost_key(
             substr(s.offer, length(s.provider) + 2)) else '' end as model,
           sum(u.cost_nanos) as cost, sum(u.nanos) as charged, sum(u.requests)::bigint as requests
      from grain g
      join ledger.usage_days u on u.starts_at = g.day::timestamp at time zone 'UTC'
      join ledger.usage_series s on s.series = u.series and s.provider = g.provider
       and not s.byok
     group by 1, 2, 3
  )
  select coalesce(r.provider, s.provider), coalesce(r.day, s.day), coalesce(r.model, s.model),
         coalesce(r.cost, 0), coalesce(s.nanos, 0), coalesce(r.charged, 0),
         coalesce(r.requests, 0), coalesce(s.final, false),
         case when coalesce(r.cost, 0) = coalesce(s.nanos, 0) then 0
              else trunc((coalesce(s.nanos, 0) - coalesce(r.cost, 0)) * 1000000
                         / greatest(coalesce(r.cost, 0), 1))::bigint end
    from recorded r full join stated s
      on s.provider = r.provider and s.day = r.day and s.model = r.model
$$;

create function api.compare_provider_costs(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  first_day date := (ledger.text_arg($1, 'from_day', '^20\d\d-\d\d-\d\d$', 10))::date;
  end_day date := (ledger.text_arg($1, 'to_day', '^20\d\d-\d\d-\d\d$', 10))::date;
begin
  perform api.fold_usage('{"most": 1000000}');
  return (
    select coalesce(jsonb_agg(jsonb_build_object('provider', d.provider, 'day', d.day,
             'model', nullif(d.model, ''), 'recorded_nanos', d.recorded::bigint,
             'stated_nanos', round(d.stated)::bigint, 'charged_nanos', d.charged::bigint,
             'requests', d.requests, 'final', d.final, 'drift_ppm', d.drift_ppm)
             order by d.day, d.provider, d.model), '[]')
      from ledger.cost_drift($1 ->> 'provider', first_day, end_day) as d);
exception when datetime_field_overflow then
  perform ledger.refuse('invalid_argument', 'no such day');
end $$;

-- {from_day, to_day}: what customers were charged beyond what the provider says it bills, back to
-- each in proportion: {given, nanos}. Only days whose figures do not change any more.
create function api.credit_overcharges(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  first_day date := (ledger.text_arg($1, 'from_day', '^20\d\d-\d\d-\d\d$', 10))::date;
  end_day date := (ledger.text_arg($1, 'to_day', '^20\d\d-\d\d-\d\d$', 10))::date;
  d record; due record; given integer := 0; nanos bigint := 0;
begin
  perform api.fold_usage('{"most": 1000000}');
  for d in
    select x.*, r.least_ppm from ledger.cost_drift(null, first_day, end_day) as x
      join ledger.overcharge_rules r on r.provider = x.provider and r.enabled
     where x.final and x.recorded > x.stated and x.stated > 0
       and -x.drift_ppm > r.least_ppm and x.recorded - x.stated > r.least_nanos
     order by x.provider, x.day, x.model
  loop
    for due in
      select u.account, sum(u.nanos)::bigint as charged,
             trunc(sum(u.nanos) * (d.recorded - d.stated) / d.recorded)::bigint as amount
        from ledger.usage_days u join ledger.usage_series s on s.series = u.series
       where u.starts_at = d.day::timestamp at time zone 'UTC' and s.provider = d.provider
         and not s.byok
         and (d.model = '' or ledger.cost_key(substr(s.offer, length(s.provider) + 2)) = d.model)
       group by u.account order by u.account
    loop
      if ledger.give_service_credit(
           format('overcharge:%s:%s:%s:%s', d.provider, nullif(d.model, ''), d.day, due.account),
           due.account, 'overcharge', d.day::text, due.amount,
           format('%s billed less than was charged on %s', d.provider, d.day),
           jsonb_build_object('provider', d.provider, 'model', nullif(d.model, ''), 'day', d.day,
             'recorded_nanos', d.recorded::bigint, 'stated_nanos', round(d.stated)::bigint,
             'charged_nanos', due.charged)) then
        given := given + 1;
        nanos := nanos + due.amount;
      end if;
    end loop;
  end loop;
  return jsonb_build_object('given', given, 'nanos', nanos);
end $$;

-- {provider, enabled, least_ppm?, least_nanos?}
create function api.set_overcharge_rule(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare made ledger.overcharge_rules;
begin
  insert into ledger.overcharge_rules as r values (
      ledger.op_arg($1, 'provider'), ledger.int_arg($1, 'least_ppm', 0, 1000000, 5000)::integer,
      ledger.int_arg($1, 'least_nanos', 0, ledger.wallet_cap(), 10000000),
      coalesce(($1 -> 'enabled') = 'true', false))
    on conflict (provider) do update set least_ppm = excluded.least_ppm,
      least_nanos = excluded.least_nanos, enabled = excluded.enabled
  returning * into made;
  return to_jsonb(made);
end $$;

-- ------------------------------------------------------------------ availability

-- {by: provider|model|tier, from_ms, to_ms} -> rows {name, requests, failed, availability_ppm}: of
-- offers by every attempt and probe, of plans by what their accounts' requests came to.
create function api.uptime(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  how text := ledger.text_arg($1, 'by', '^(provider|model|tier)$', 10);
  first_at timestamptz := timestamptz 'epoch'
    + ledger.span(ledger.int_arg($1, 'from_ms', 0, 253402300799999));
  end_at timestamptz := timestamptz 'epoch'
    + ledger.span(ledger.int_arg($1, 'to_ms', 0, 253402300799999));
  span integer;
begin
  if how = 'tier' then
    return (
      select coalesce(jsonb_agg(jsonb_build_object('name', t.plan, 'requests', t.requests,
               'failed', t.failed, 'availability_ppm',
               1000000 - ceil(t.failed * 1000000.0 / nullif(t.requests, 0))) order by t.plan), '[]')
        from (select a.plan, sum(a.requests)::bigint as requests, sum(a.failed)::bigint as failed
                from (select ledger.plan_of(x.account) as plan, x.requests, x.failed
                        from (select u.account,
                                     sum(u.requests) filter (where s.blame is distinct from 'client')
                                       as requests,
                                     coalesce(sum(u.requests) filter (
                                       where s.blame in ('gateway', 'provider')), 0) as failed
                                from ledger.usage_days u
                                join ledger.usage_series s on s.series = u.series
                               where u.starts_at >= date_trunc('day', first_at, 'UTC')
                                 and u.starts_at < end_at
                               group by u.account) as x) as a
               group by a.plan) as t);
  end if;
  span := case when end_at - first_at <= interval '2 days' then 300
               when end_at - first_at <= interval '35 days' then 3600 else 86400 end;
  return (
    select coalesce(jsonb_agg(jsonb_build_object('name', w.name, 'requests', w.requests,
             'failed', w.failed, 'availability_ppm',
             1000000 - ceil(w.failed * 1000000.0 / nullif(w.requests, 0))) order by w.name), '[]')
      from (select case how when 'model' then x.model else x.provider end as name,
                   sum(x.requests - x.throttled)::bigint as requests, sum(x.errors)::bigint as failed
              from health.windows x
             where x.span_s = span and x.starts_at >= first_at and x.starts_at < end_at
             group by 1) as w);
end $$;

-- What happened in a span of time, newest first: {from_ms, to_ms, model?, provider?, limit}.
create function api.incident_timeline(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  first_at timestamptz := timestamptz 'epoch'
    + ledger.span(ledger.int_arg($1, 'from_ms', 0, 253402300799999));
  end_at timestamptz := timestamptz 'epoch'
    + ledger.span(ledger.int_arg($1, 'to_ms', 0, 253402300799999));
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 100);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('id', i.id, 'model', i.model,
             'provider', i.provider, 'kind', i.kind, 'severity', i.severity, 'class', i.class,
             'failures', i.failures, 'opened_at_ms', ledger.ms_of(i.opened_at),
             'closed_at_ms', ledger.ms_of(i.closed_at)) order by i.opened_at desc, i.id desc), '[]')
      from (select * from health.incidents x
             where x.opened_at < end_at and coalesce(x.closed_at, 'infinity') >= first_at
               and ($1 ->> 'model' is null or x.model = $1 ->> 'model')
               and ($1 ->> 'provider' is null or x.provider = $1 ->> 'provider')
             order by x.opened_at desc, x.id desc limit most) as i);
end $$;

-- ------------------------------------------------------------------ whether the sums hold

-- The sums beside the ledger (hours are kept for a shorter time than days): every arm of one account
-- adds up to its head, and the head to the charges that it says are inside. From zero all accounts,
-- else those charged since the checkpoint.
create function ledger.find_usage_violations(p_checkpoint bigint)
returns table (rule text, detail text) language sql stable set jit = off set search_path = '' as $$
  with accounts as materialized (
    select h.* from ledger.usage_heads h
     where h.seq > coalesce((select c.seq from ledger.checkpoints c where c.id = p_checkpoint), -1)
  )
  select 'U1', a.account || ' has ' || a.nanos || ' folded, its hours say '
         || coalesce(s.nanos, 0) || ', its days ' || coalesce(d.nanos, 0) || ', its lines '
         || coalesce(l.nanos, 0)
    from accounts a
   cross join lateral (select sum(x.nanos) as nanos, sum(x.requests) as requests
                         from ledger.usage_days x where x.account = a.account) as d
   cross join lateral (select date_trunc('day', min(z.starts_at), 'UTC') as first_day
                         from ledger.usage_hours z where z.account = a.account) as b
   cross join lateral (
     select coalesce((select sum(x.nanos) from ledger.usage_hours x
                       where x.account = a.account), 0)
          + coalesce((select sum(y.nanos) from ledger.usage_days y
                       where y.account = a.account
                         and y.starts_at < coalesce(b.first_day, 'infinity')), 0) as nanos) as s
   cross join lateral (select sum(x.nanos) as nanos
                         from ledger.usage_lines x where x.account = a.account) as l
   where a.nanos <> coalesce(d.nanos, 0) or a.requests <> coalesce(d.requests, 0)
      or a.nanos <> coalesce(s.nanos, 0) or a.nanos <> coalesce(l.nanos, 0)
  union all
  select 'U2', a.account || ' has ' || a.nanos || ' of ' || a.requests
         || ' requests folded, its charges are ' || coalesce(c.nanos, 0) || ' of ' || c.requests
    from accounts a
   cross join lateral (select sum(x.amount) as nanos, count(*) as requests
                         from ledger.charges x where x.account = a.account and x.seq <= a.seq) as c
   where p_checkpoint is null
     and (a.nanos <> coalesce(c.nanos, 0) or a.requests <> c.requests)
$$;

create function api.check_usage(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
begin
  return (select coalesce(jsonb_agg(to_jsonb(v)), '[]')
            from (select * from ledger.find_usage_violations(
                    case when coalesce(($1 -> 'from_zero') = 'true', false) then null
                         else (select max(c.id) from ledger.checkpoints c) end) limit 1000) as v);
end $$;

select ledger.close_doors();
