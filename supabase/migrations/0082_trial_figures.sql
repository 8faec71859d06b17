-- What trials brought: how many came how far, by partner and by the month in which they began; who
-- has one; and the end of one before its time.

create or replace function api.summarize_trials(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare wanted text := upper($1 ->> 'code');
begin
  return (
    with mine as materialized (
      select t.*, ledger.paid_ever(t.account) as converted,
             t.ended_at is null and t.ends_at > ledger.now() as active,
             to_char(t.started_at at time zone 'UTC', 'YYYY-MM') as month
        from ledger.trials t where wanted is null or t.code = wanted
    )
    select jsonb_build_object('trials', count(*),
      'active', count(*) filter (where m.active),
      'converted', count(*) filter (where m.converted),
      'granted_nanos', coalesce(sum(m.nanos), 0)::bigint,
      'spent_nanos', coalesce(sum(m.spent_nanos), 0)::bigint,
      'funnel', jsonb_build_object(
        'verified', (select count(distinct v.account) from ledger.verified_signals v),
        'started', count(*), 'used', count(*) filter (where m.requests > 0),
        'used_up', count(*) filter (where m.ended_by in ('tokens', 'requests')),
        'converted', count(*) filter (where m.converted)),
      'codes', (select coalesce(jsonb_agg(to_jsonb(c) order by c.code), '[]') from (
         select x.code, count(*) as trials, count(*) filter (where x.converted) as converted,
                sum(x.spent_nanos)::bigint as spent_nanos
           from mine x group by x.code) as c),
      'cohorts', (select coalesce(jsonb_agg(to_jsonb(c) order by c.month), '[]') from (
         select x.month, count(*) as trials, count(*) filter (where x.requests > 0) as used,
                count(*) filter (where x.converted) as converted
           from mine x group by x.month) as c))
      from mine m);
end $$;

create or replace function api.find_trial(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1);
begin
  return jsonb_build_object(
    'trial', (select ledger.trial_json(t) from ledger.trials t where t.account = acct),
    'signals', (select coalesce(jsonb_agg(distinct s.kind), '[]') from ledger.verified_signals s
                 where s.account = acct),
    'paid', ledger.paid_ever(acct), 'plan', ledger.plan_of(acct));
end $$;

-- The newest first: {state?: active|ended|converted, code?, limit, offset}.
create function api.list_trials(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  state text := ledger.text_arg($1, 'state', '^(all|active|ended|converted)$', 10);
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 100);
  skip bigint := ledger.int_arg($1, 'offset', 0, 1000000, 0);
begin
  return (
    with fitting as materialized (
      select t.account, t.started_at, ledger.trial_json(t) as row from ledger.trials t
       where ($1 ->> 'code' is null or t.code = upper($1 ->> 'code'))
    ), chosen as materialized (
      select f.* from fitting f
       where state = 'all' or (state = 'active' and (f.row -> 'active') = 'true')
          or (state = 'ended' and (f.row -> 'active') = 'false')
          or (state = 'converted' and (f.row -> 'converted') = 'true')
    )
    select jsonb_build_object('total', (select count(*) from chosen), 'rows', (
      select coalesce(jsonb_agg(p.row order by p.started_at desc, p.account), '[]')
        from (select c.* from chosen c order by c.started_at desc, c.account
               limit most offset skip) as p)));
end $$;

-- Ends a trial that runs; what is left of its credit lapses with it.
create function api.end_trial(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  t ledger.trials;
begin
  perform ledger.enter(acct);
  update ledger.trials x set ended_at = ledger.now(), ended_by = 'staff'
   where x.account = acct and x.ended_at is null and x.ends_at > ledger.now()
  returning x.* into t;
  if t.account is null then return null; end if;
  update ledger.books b set expires_at = least(b.expires_at, ledger.now())
   where b.id = 'wallet:' || acct || ':trial';
  delete from ledger.account_caps c where c.account = acct and c.source = 'trial';
  perform ledger.notify(acct, 'trial_ended', 'trial_ended:' || acct, '{}');
  return ledger.trial_json(t) || jsonb_build_object('epoch', tenancy.raise_epoch(acct));
end $$;

select ledger.close_doors();
