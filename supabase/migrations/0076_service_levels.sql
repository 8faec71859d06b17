-- Being told of spending, and what is promised: alerts on thresholds and forecasts, availability by
-- published terms, and credits that follow from them without anybody asking. A credit is an operation
-- of the ledger under a natural key, so it is given once; it can be taken back, once.

insert into tenancy.notice_kinds (kind, preference, audience, life_ms, secret) values
  ('spend_forecast', 'usage_alerts', 'billing', 3 * 86400000::bigint, false),
  ('spend_report', 'usage_alerts', 'billing', 86400000, false)
  on conflict do nothing;

create table ledger.spend_alerts (
  alert_id     text collate "C" primary key,
  account      text collate "C" not null references tenancy.accounts,
  name         text not null check (length(name) between 1 and 100),
  dimension    text check (dimension in ('api_key_id', 'team', 'member', 'model', 'provider',
                                         'app', 'end_user', 'tag')),
  value        text,
  period       text not null check (period in ('day', 'week', 'month')),
  limit_nanos  bigint not null check (limit_nanos between 1 and ledger.wallet_cap()),
  thresholds   integer[] not null check (cardinality(thresholds) <= 10),
  forecast     boolean not null,
  daily_report boolean not null,
  enabled      boolean not null default true,
  created_at   timestamptz not null,
  check ((dimension is null) = (value is null))
);
create index spend_alerts_by_account on ledger.spend_alerts (account, alert_id);

-- What falls under an alert since a moment, from the days.
create function ledger.spent_under(a ledger.spend_alerts, p_from timestamptz, p_to timestamptz)
returns table (nanos bigint, requests bigint) language sql stable as $$
  select coalesce(sum(u.nanos), 0)::bigint, coalesce(sum(u.requests), 0)::bigint
    from ledger.usage_days u join ledger.usage_series s on s.series = u.series
   where u.account = a.account and u.starts_at >= p_from and u.starts_at < p_to
     and case a.dimension when 'api_key_id' then s.key_id = a.value
              when 'team' then s.team = a.value when 'member' then s.member = a.value
              when 'model' then s.model = a.value when 'provider' then s.provider = a.value
              when 'app' then s.app = a.value when 'end_user' then s.end_user = a.value
              when 'tag' then s.tags @> array[a.value] else true end
$$;

-- {spent, forecast}: what the period comes to when it goes on as it did. Nothing is foretold from
-- less than a tenth of a period.
create function ledger.alert_json(a ledger.spend_alerts) returns jsonb
language plpgsql stable as $$
declare
  at timestamptz := ledger.now();
  starts timestamptz := date_trunc(a.period, at, 'UTC');
  ends timestamptz := (starts at time zone 'UTC' + ('1 ' || a.period)::interval) at time zone 'UTC';
  spent bigint; share numeric;
begin
  select s.nanos into spent from ledger.spent_under(a, starts, ends) as s;
  share := extract(epoch from at - starts) / extract(epoch from ends - starts);
  return jsonb_build_object('alert_id', a.alert_id, 'account', a.account, 'name', a.name,
    'dimension', a.dimension, 'value', a.value, 'period', a.period,
    'limit_nanos', a.limit_nanos, 'thresholds', to_jsonb(a.thresholds), 'forecast', a.forecast,
    'daily_report', a.daily_report, 'enabled', a.enabled,
    'created_at_ms', ledger.ms_of(a.created_at), 'period_start_ms', ledger.ms_of(starts),
    'period_end_ms', ledger.ms_of(ends), 'spent_nanos', spent,
    'forecast_nanos', case when share >= 0.1 then trunc(spent / share)::bigint end);
end $$;

-- {alert_id, account, name, dimension?, value?, period, limit_nanos, thresholds, forecast,
--  daily_report, enabled}: made, or changed where it is there and the account's own.
create function api.save_spend_alert(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  id text := ledger.text_arg($1, 'alert_id', '^alert_[0-9A-Za-z]+$', 40);
  a ledger.spend_alerts;
begin
  if (select count(*) from ledger.spend_alerts x where x.account = acct and x.alert_id <> id) >= 100
  then raise exception 'too_many_alerts' using errcode = 'PT409', detail = '100'; end if;
  insert into ledger.spend_alerts as x (alert_id, account, name, dimension, value, period,
      limit_nanos, thresholds, forecast, daily_report, enabled, created_at)
    values (id, acct, ledger.text_arg($1, 'name', '^.+$', 100), $1 ->> 'dimension',
      left($1 ->> 'value', 200), $1 ->> 'period',
      ledger.int_arg($1, 'limit_nanos', 1, ledger.wallet_cap()),
      array(select distinct t::integer from jsonb_array_elements_text(
              ledger.array_arg($1, 'thresholds', 10)) as t order by 1),
      coalesce(($1 -> 'forecast') = 'true', false),
      coalesce(($1 -> 'daily_report') = 'true', false),
      coalesce(($1 -> 'enabled') = 'true', true), ledger.now())
    on conflict (alert_id) do update set name = excluded.name, dimension = excluded.dimension,
      value = excluded.value, period = excluded.period, limit_nanos = excluded.limit_nanos,
      thresholds = excluded.thresholds, forecast = excluded.forecast,
      daily_report = excluded.daily_report, enabled = excluded.enabled
      where x.account = acct
  returning * into a;
  if not found then
    raise exception 'alert_not_found' using errcode = 'PT404', detail = id;
  end if;
  return ledger.alert_json(a);
end $$;

create function api.list_spend_alerts(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1);
begin
  perform ledger.catch_up(acct);
  return (select coalesce(jsonb_agg(ledger.alert_json(a) order by a.alert_id), '[]')
            from ledger.spend_alerts a
           where a.account = acct and a.alert_id = coalesce($1 ->> 'alert_id', a.alert_id));
end $$;

create function api.delete_spend_alert(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1); id text := ledger.op_arg($1, 'alert_id');
begin
  delete from ledger.spend_alerts a where a.alert_id = id and a.account = acct;
  if not found then
    raise exception 'alert_not_found' using errcode = 'PT404', detail = id;
  end if;
  return jsonb_build_object('deleted', true);
end $$;

create function ledger.usd_text(p_nanos bigint) returns text language sql immutable as $$
  select trim_scale(round(p_nanos::numeric / 1000000000, 9))::text
$$;

-- Looks at every alert: a threshold is told once in a period, a forecast once, a day's report the
-- day after. {told}.
create function api.review_spend_alerts(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  at timestamptz := ledger.now();
  today timestamptz := date_trunc('day', at, 'UTC');
  a ledger.spend_alerts; row jsonb; mark integer; told integer := 0; period text; yesterday record;
  last text := '';
begin
  for a in select * from ledger.spend_alerts x where x.enabled order by x.account, x.alert_id loop
    if a.account <> last then perform ledger.catch_up(a.account); end if;
    last := a.account;
    row := ledger.alert_json(a);
    period := a.period || ' from ' || to_char(date_trunc(a.period, at, 'UTC') at time zone 'UTC',
                                              'YYYY-MM-DD');
    foreach mark in array a.thresholds loop
      if (row ->> 'spent_nanos')::numeric * 100 >= a.limit_nanos::numeric * mark then
        told := told + tenancy.notify('spend_alert', a.account,
          format('spend_alert:%s:%s:%s', a.alert_id, row ->> 'period_start_ms', mark),
          jsonb_build_object('name', a.name, 'period', period,
            'spent_usd', ledger.usd_text((row ->> 'spent_nanos')::bigint),
            'threshold_usd', ledger.usd_text(trunc(a.limit_nanos::numeric * mark / 100)::bigint)
          ))::integer;
      end if;
    end loop;
    if a.forecast and (row ->> 'forecast_nanos')::bigint > a.limit_nanos then
      told := told + tenancy.notify('spend_forecast', a.account,
        format('spend_forecast:%s:%s', a.alert_id, row ->> 'period_start_ms'),
        jsonb_build_object('name', a.name, 'period', period,
          'spent_usd', ledger.usd_text((row ->> 'spent_nanos')::bigint),
          'forecast_usd', ledger.usd_text((row ->> 'forecast_nanos')::bigint),
          'limit_usd', ledger.usd_text(a.limit_nanos)))::integer;
    end if;
    if a.daily_report and a.created_at < today then
      select * into yesterday from ledger.spent_under(a, today - interval '1 day', today);
      told := told + tenancy.notify('spend_report', a.account,
        format('spend_report:%s:%s', a.alert_id, ledger.ms_of(today)),
        jsonb_build_object('name', a.name, 'requests', yesterday.requests,
          'day', to_char((today - interval '1 day') at time zone 'UTC', 'YYYY-MM-DD'),
          'spent_usd', ledger.usd_text(yesterday.nanos),
          'period_usd', ledger.usd_text((row ->> 'spent_nanos')::bigint), 'period', period
        ))::integer;
    end if;
  end loop;
  return jsonb_build_object('told', told);
end $$;

-- ------------------------------------------------------------------ service levels

-- The published terms. A month's availability is the share of an account's requests that did not
-- fail by the gateway's or a provider's fault; those that failed by the client's count for nothing.
create table ledger.sla_terms (
  plan           text primary key,
  promised_ppm   integer not null check (promised_ppm between 0 and 1000000),
  least_requests integer not null
);
create table ledger.sla_steps (
  plan      text not null references ledger.sla_terms,
  below_ppm integer not null,
  percent   integer not null check (percent between 1 and 100),   -- of the month's charges
  primary key (plan, below_ppm)
);
insert into ledger.sla_terms values
  ('free', 990000, 100), ('dev', 995000, 100), ('team', 999000, 100), ('enterprise', 999500, 100);
insert into ledger.sla_steps values
  ('dev', 995000, 10), ('dev', 990000, 25), ('team', 999000, 10), ('team', 990000, 25),
  ('enterprise', 999500, 10), ('enterprise', 990000, 25), ('enterprise', 950000, 100);
-- Of what a request was charged that ended so by the gateway's or a provider's fault.
create table ledger.credit_rules (
  outcome text primary key, percent integer not null check (percent between 1 and 100));
insert into ledger.credit_rules values ('cut', 100);

create table ledger.service_credits (
  credit_id   text collate "C" primary key,        -- sla:…, outcome:…, overcharge:…
  account     text collate "C" not null references tenancy.accounts,
  kind        text not null check (kind in ('sla', 'outcome', 'overcharge')),
  period      text not null,
  amount      bigint not null check (amount > 0),
  reason      text not null,
  detail      jsonb not null,
  posted_at   timestamptz not null,
  reversed_at timestamptz,
  reversed_by text,
  reversed_for text,
  check ((reversed_at is null) = (reversed_by is null))
);
create index service_credits_by_account on ledger.service_credits (account, posted_at desc);

create function ledger.service_credit_json(c ledger.service_credits) returns jsonb
language sql stable as $$
  select jsonb_build_object('credit_id', c.credit_id, 'account', c.account, 'kind', c.kind,
    'period', c.period, 'amount_nanos', c.amount, 'reason', c.reason, 'detail', c.detail,
    'posted_at_ms', ledger.ms_of(c.posted_at), 'reversed_at_ms', ledger.ms_of(c.reversed_at),
    'reversed_for', c.reversed_for)
$$;

-- Once per natural key; true when it was given now.
create function ledger.give_service_credit(
  p_id text, p_account text, p_kind text, p_period text, p_amount bigint, p_reason text,
  p_detail jsonb)
returns boolean language plpgsql as $$
begin
  if p_amount <= 0 then return false; end if;
  perform ledger.enter(p_account);
  if exists (select 1 from ledger.service_credits c where c.credit_id = p_id) then
    return false;
  end if;
  perform ledger.operate('service_credit:' || p_id, 'credit_note', p_account, 'purchased',
                         'credit_notes', p_amount, p_reason, 'system');
  insert into ledger.service_credits (credit_id, account, kind, period, amount, reason, detail,
                                      posted_at)
    values (p_id, p_account, p_kind, p_period, p_amount, p_reason, p_detail, ledger.now());
  perform tenancy.notify('incident_credit', p_account, 'service_credit:' || p_id,
    jsonb_build_object('amount_usd', ledger.usd_text(p_amount), 'reason', p_reason,
                       'incident', p_period));
  return true;
end $$;

-- {credit_id, actor, reason}: takes it back, once.
create function api.reverse_service_credit(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  id text := ledger.op_arg($1, 'credit_id');
  c ledger.service_credits;
begin
  select * into c from ledger.service_credits x where x.credit_id = id;
  if not found then
    raise exception 'service_credit_not_found' using errcode = 'PT404', detail = id;
  end if;
  perform ledger.enter(c.account);
  select * into c from ledger.service_credits x where x.credit_id = id;
  if c.reversed_at is null then
    perform ledger.operate('service_credit_reversed:' || id, 'adjustment', c.account, 'purchased',
      'credit_notes', -c.amount, ledger.text_arg($1, 'reason', '^.+$', 200),
      ledger.text_arg($1, 'actor', '^.+$', 100));
    update ledger.service_credits x set reversed_at = ledger.now(), reversed_by = $1 ->> 'actor',
           reversed_for = $1 ->> 'reason'
     where x.credit_id = id returning * into c;
  end if;
  return ledger.service_credit_json(c);
end $$;

create function api.list_service_credits(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := case when coalesce(jsonb_typeof($1 -> 'account'), 'null') = 'null' then null
                    else ledger.account_arg($1) end;
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 100);
begin
  return (
    select coalesce(jsonb_agg(ledger.service_credit_json(c) order by c.posted_at desc, c.credit_id),
                    '[]')
      from (select * from ledger.service_credits x where acct is null or x.account = acct
             order by x.posted_at desc, x.credit_id limit most) as c);
end $$;

-- {account, month: 'YYYY-MM'} -> the month's report: requests, failures by blame and class, by
-- provider, availability, what was promised, and the credit that follows.
create function ledger.sla_report(p_account text, p_month timestamptz) returns jsonb
language plpgsql stable as $$
declare
  ends timestamptz := (p_month at time zone 'UTC' + interval '1 month') at time zone 'UTC';
  plan_ text := ledger.plan_of(p_account);
  terms ledger.sla_terms;
  total bigint; client bigint; failed bigint; charged bigint; ppm bigint; percent_ integer;
  blames jsonb; classes jsonb; providers jsonb;
begin
  select * into terms from ledger.sla_terms t where t.plan = plan_;
  if not found then select * into terms from ledger.sla_terms t where t.plan = 'enterprise'; end if;
  select coalesce(sum(u.requests), 0), coalesce(sum(u.requests) filter (where s.blame = 'client'), 0),
         coalesce(sum(u.requests) filter (where s.blame in ('gateway', 'provider')), 0),
         coalesce(sum(u.nanos), 0)
    into total, client, failed, charged
    from ledger.usage_days u join ledger.usage_series s on s.series = u.series
   where u.account = p_account and u.starts_at >= p_month and u.starts_at < ends;
  select coalesce(jsonb_object_agg(b.blame, b.n), '{}') into blames from (
    select s.blame, sum(u.requests)::bigint as n
      from ledger.usage_days u join ledger.usage_series s on s.series = u.series
     where u.account = p_account and u.starts_at >= p_month and u.starts_at < ends
       and s.blame is not null group by 1) as b;
  select coalesce(jsonb_object_agg(b.error_class, b.n), '{}') into classes from (
    select s.error_class, sum(u.requests)::bigint as n
      from ledger.usage_days u join ledger.usage_series s on s.series = u.series
     where u.account = p_account and u.starts_at >= p_month and u.starts_at < ends
       and s.error_class is not null group by 1) as b;
  select coalesce(jsonb_agg(to_jsonb(b) order by b.requests desc, b.provider), '[]') into providers
    from (select s.provider, sum(u.requests)::bigint as requests,
                 coalesce(sum(u.requests) filter (where s.blame = 'provider'), 0)::bigint as failed
            from ledger.usage_days u join ledger.usage_series s on s.series = u.series
           where u.account = p_account and u.starts_at >= p_month and u.starts_at < ends
             and s.provider is not null group by 1) as b;
  ppm := case when total > client then 1000000 - ceil(failed * 1000000.0 / (total - client)) end;
  select max(x.percent) into percent_ from ledger.sla_steps x
   where x.plan = terms.plan and ppm < x.below_ppm and total - client >= terms.least_requests;
  return jsonb_build_object('account', p_account,
    'month', to_char(p_month at time zone 'UTC', 'YYYY-MM'), 'plan', plan_,
    'requests', total, 'failed', failed, 'failed_by', blames, 'failed_as', classes,
    'providers', providers, 'availability_ppm', ppm, 'promised_ppm', terms.promised_ppm,
    'least_requests', terms.least_requests, 'charged_nanos', charged,
    'breached', percent_ is not null, 'credit_percent', coalesce(percent_, 0),
    'credit_nanos', coalesce(trunc(charged::numeric * percent_ / 100), 0)::bigint,
    'final', ends <= ledger.now());
end $$;

create function ledger.month_arg(p jsonb) returns timestamptz language plpgsql stable as $$
declare text_ text := ledger.text_arg(p, 'month', '^20\d\d-(0[1-9]|1[0-2])$', 7);
begin
  return (text_ || '-01')::timestamp at time zone 'UTC';
end $$;

create function api.sla_report(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1); month timestamptz := ledger.month_arg($1);
begin
  perform ledger.catch_up(acct);
  return ledger.sla_report(acct, month) || jsonb_build_object('credits', (
    select coalesce(jsonb_agg(ledger.service_credit_json(c) order by c.posted_at, c.credit_id), '[]')
      from ledger.service_credits c
     where c.account = acct and starts_with(c.period, $1 ->> 'month')));
end $$;

create function api.sla_terms(jsonb) returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object(
    'plans', (select jsonb_agg(jsonb_build_object('plan', t.plan, 'promised_ppm', t.promised_ppm,
                'least_requests', t.least_requests, 'steps', (
                  select coalesce(jsonb_agg(jsonb_build_object('below_ppm', s.below_ppm,
                           'percent', s.percent) order by s.below_ppm desc), '[]')
                    from ledger.sla_steps s where s.plan = t.plan)) order by t.promised_ppm, t.plan)
                from ledger.sla_terms t),
    'outcomes', (select coalesce(jsonb_agg(jsonb_build_object('outcome', r.outcome,
                   'percent', r.percent) order by r.outcome), '[]') from ledger.credit_rules r))
$$;

-- Accounts that used anything in a span: {from_ms, to_ms}.
create function api.list_used_accounts(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
begin
  return (
    select coalesce(jsonb_agg(a.account order by a.account), '[]')
      from (select distinct u.account from ledger.usage_days u
             where u.starts_at >= timestamptz 'epoch'
                     + ledger.span(ledger.int_arg($1, 'from_ms', 0, 253402300799999))
               and u.starts_at < timestamptz 'epoch'
                     + ledger.span(ledger.int_arg($1, 'to_ms', 0, 253402300799999))) as a);
end $$;

-- The credits of one account for a month and a day that are over: {account, month?, day_ms?}: without
-- them the last month, and the day before yesterday. {given, nanos}.
create function api.give_service_credits(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  at timestamptz := ledger.now();
  month timestamptz := (date_trunc('month', at, 'UTC') at time zone 'UTC' - interval '1 month')
                       at time zone 'UTC';
  day timestamptz := date_trunc('day', at, 'UTC') - interval '2 days';
  name text := ledger.account_arg($1);
  report jsonb; due record; given integer := 0; nanos bigint := 0; id text;
begin
  if $1 ->> 'month' is not null then month := ledger.month_arg($1); end if;
  if coalesce(jsonb_typeof($1 -> 'day_ms'), 'null') <> 'null' then
    day := date_trunc('day', timestamptz 'epoch'
      + ledger.span(ledger.int_arg($1, 'day_ms', 0, 253402300799999)), 'UTC');
  end if;
  perform ledger.catch_up(name);
  if (month at time zone 'UTC' + interval '1 month') at time zone 'UTC' <= at then
    report := ledger.sla_report(name, month);
    id := format('sla:%s:%s', name, report ->> 'month');
    if (report ->> 'breached')::boolean and ledger.give_service_credit(id, name, 'sla',
         report ->> 'month', (report ->> 'credit_nanos')::bigint,
         format('availability %s%% of promised %s%% in %s',
                trim_scale((report ->> 'availability_ppm')::numeric / 10000),
                trim_scale((report ->> 'promised_ppm')::numeric / 10000), report ->> 'month'),
         report) then
      given := given + 1;
      nanos := nanos + (report ->> 'credit_nanos')::bigint;
    end if;
  end if;
  for due in
    select u.account, s.outcome, sum(u.requests)::bigint as requests, sum(u.nanos)::bigint as charged,
           trunc(sum(u.nanos)::numeric * r.percent / 100)::bigint as amount,
           jsonb_object_agg(s.blame, true) as blames
      from ledger.usage_days u join ledger.usage_series s on s.series = u.series
      join ledger.credit_rules r on r.outcome = s.outcome
     where u.account = name and u.starts_at = day and day + interval '1 day' <= at
       and s.blame in ('gateway', 'provider') and u.nanos > 0
     group by u.account, s.outcome, r.percent order by u.account, s.outcome
  loop
    id := format('outcome:%s:%s:%s', due.account, due.outcome,
                 to_char(day at time zone 'UTC', 'YYYY-MM-DD'));
    if ledger.give_service_credit(id, due.account, 'outcome',
         to_char(day at time zone 'UTC', 'YYYY-MM-DD'), due.amount,
         format('%s requests ended %s on %s', due.requests, due.outcome,
                to_char(day at time zone 'UTC', 'YYYY-MM-DD')),
         jsonb_build_object('outcome', due.outcome, 'requests', due.requests,
           'charged_nanos', due.charged, 'blames', due.blames)) then
      given := given + 1;
      nanos := nanos + due.amount;
    end if;
  end loop;
  return jsonb_build_object('given', given, 'nanos', nanos);
end $$;

select ledger.close_doors();
