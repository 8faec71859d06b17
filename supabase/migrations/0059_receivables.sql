-- The other side of the books: what providers will bill us, by our own record; and what was found
-- when the ledger was held against the payment processor.

create table ledger.drift_reports (
  id         bigint generated always as identity primary key,
  made_at    timestamptz not null,
  drifts     integer not null,
  report     jsonb not null
);

-- {since_ms, until_ms}: per UTC day and provider, from the requests that were settled then. The cost
-- is what our prices say a provider takes; `stated` is what it said itself, where it did.
create function api.sum_provider_costs(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  since timestamptz := timestamptz 'epoch' + ledger.span(
    ledger.int_arg($1, 'since_ms', 0, 253402300799000));
  upto timestamptz := timestamptz 'epoch' + ledger.span(
    ledger.int_arg($1, 'until_ms', 0, 253402300799000, 253402300799000));
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(d) order by d.day, d.provider), '[]')
      from (select to_char(r.posted_at at time zone 'UTC', 'YYYY-MM-DD') as day,
                   r.provider, count(*) as requests,
                   sum(coalesce(r.cost_nanos, 0))::bigint as cost_nanos,
                   sum(coalesce(r.cost_stated_nanos, 0))::bigint as stated_nanos,
                   count(r.cost_stated_nanos) as stated_requests,
                   sum(r.charge_nanos)::bigint as charged_nanos
              from ledger.requests r
             where r.posted_at >= since and r.posted_at < upto and r.provider is not null
             group by 1, 2) as d);
end $$;

create function api.record_drift(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare made bigint;
begin
  insert into ledger.drift_reports (made_at, drifts, report)
    values (ledger.now(), ledger.int_arg($1, 'drifts', 0, 2147483647)::integer, $1 -> 'report')
    returning id into made;
  -- a year of them is enough; those with a finding stay
  delete from ledger.drift_reports d
   where d.drifts = 0 and d.made_at < ledger.now() - interval '366 days';
  return jsonb_build_object('id', made);
end $$;

create function api.list_drift(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare most bigint := ledger.int_arg($1, 'limit', 1, 1000, 30);
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(r) order by r.made_at_ms desc), '[]')
      from (select d.id, ledger.ms_of(d.made_at) as made_at_ms, d.drifts, d.report
              from ledger.drift_reports d order by d.id desc limit most) as r);
end $$;

create index payments_by_paid on ledger.payments (paid_at) where paid_at is not null;

-- Whether the last look at the processor is older than this: one process of many then looks.
create table ledger.looks (name text primary key, looked_at timestamptz not null);
create function api.claim_look(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  which text := ledger.text_arg($1, 'name', '^[a-z_]+$', 40);
  every bigint := ledger.int_arg($1, 'every_ms', 0, 366 * 86400000::bigint);
begin
  insert into ledger.looks as l values (which, ledger.now())
    on conflict (name) do update set looked_at = excluded.looked_at
    where l.looked_at <= ledger.now() - ledger.span(every);
  return jsonb_build_object('due', found);
end $$;

-- Which of these events never came: {ids} → ids.
create function api.find_missing_events(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare ids jsonb := ledger.array_arg($1, 'ids', 1000);
begin
  return (
    select coalesce(jsonb_agg(i.id order by i.place), '[]')
      from jsonb_array_elements_text(ids) with ordinality as i(id, place)
     where not exists (select 1 from ledger.stripe_events e where e.event_id = i.id));
end $$;

-- Stored events from a time on, in the order in which they came: {since_ms, waiting, after, limit}.
create function api.list_events_since(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  since timestamptz := timestamptz 'epoch' + ledger.span(
    ledger.int_arg($1, 'since_ms', 0, 253402300799000));
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 100);
  after text := coalesce($1 ->> 'after', '');
  waiting boolean := coalesce(($1 -> 'waiting') = 'true', false);
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(r) order by r.position), '[]')
      from (select e.event_id, e.type, e.status,
                   to_char(ledger.ms_of(e.received_at), 'FM000000000000000') || e.event_id
                     as position
              from ledger.stripe_events e
             where e.received_at >= since and (not waiting or e.status = 'received')
               and to_char(ledger.ms_of(e.received_at), 'FM000000000000000') || e.event_id > after
             order by 4 limit most) as r);
end $$;

-- What we captured of these intents, and of others since: {intents, since_ms} → {intent: cents} and
-- the payments that were paid since and are none of them.
create function api.compare_captures(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  intents jsonb := ledger.array_arg($1, 'intents', 10000);
  since timestamptz := timestamptz 'epoch' + ledger.span(
    ledger.int_arg($1, 'since_ms', 0, 253402300799000));
begin
  return jsonb_build_object(
    'known', (select coalesce(jsonb_object_agg(p.intent, jsonb_build_object(
                       'captured_cents', p.captured_cents, 'refunded_cents', p.refunded_cents)),
                       '{}')
                from ledger.payments p
               where p.intent in (select jsonb_array_elements_text(intents))),
    'others', (select coalesce(jsonb_agg(p.intent order by p.intent), '[]')
                 from ledger.payments p
                where p.captured_cents > 0 and p.paid_at >= since
                  and p.intent not in (select jsonb_array_elements_text(intents))));
end $$;

-- Running subscriptions as we know them, for comparing.
create function api.list_subscriptions(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare most bigint := ledger.int_arg($1, 'limit', 1, 10000, 1000);
begin
  return (
    select coalesce(jsonb_agg(ledger.subscription_json(s) order by s.subscription), '[]')
      from (select * from ledger.subscriptions x
             where x.status not in ('canceled', 'incomplete_expired')
               and x.subscription > coalesce($1 ->> 'after', '')
             order by x.subscription limit most) as s);
end $$;

-- Those who should be told that their plan ends: once for each period.
create function api.notify_plan_ends(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare s ledger.subscriptions; told integer := 0;
begin
  for s in select * from ledger.subscriptions x
            where x.status in ('active', 'trialing') and x.ends_at_period_end
              and x.period_end between ledger.now() and ledger.now() + interval '3 days'
  loop
    if ledger.notify(s.account, 'plan_ends', 'plan_ends:' || s.subscription || ':'
         || ledger.ms_of(s.period_end),
         jsonb_build_object('plan', s.plan, 'ends_at_ms', ledger.ms_of(s.period_end))) then
      told := told + 1;
    end if;
  end loop;
  return jsonb_build_object('told', told);
end $$;

select ledger.close_doors();
