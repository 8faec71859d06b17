-- What else a customer is told of: a renewal that failed, one that comes, a plan that staff gave and
-- that ends. And automatic top-ups that somebody has to look at first.

insert into tenancy.notice_kinds (kind, preference, audience, life_ms, secret) values
  ('payment_failed', null, 'billing', 7 * 86400000::bigint, false),
  ('renewal_soon', 'email_notifications', 'billing', 3 * 86400000::bigint, false)
  on conflict do nothing;

-- {account, subscription, plan, amount_nanos, at_ms}: once for each period that will be paid for.
create function api.note_renewal(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  acct text := ledger.account_arg($1);
  at_ms bigint := ledger.int_arg($1, 'at_ms', 0, 253402300799000);
  name text := ledger.text_arg($1, 'subscription', '^sub_[A-Za-z0-9_]+$', 100);
begin
  perform ledger.enter(acct);
  return jsonb_build_object('told', ledger.notify(
    acct, 'renewal_soon', 'renewal:' || name || ':' || at_ms,
    jsonb_build_object('plan', ledger.text_arg($1, 'plan', '^[a-z0-9_-]+$', 40), 'at_ms', at_ms,
                       'amount_nanos', ledger.int_arg($1, 'amount_nanos', 0, 9007199254740991))));
end $$;

-- {account, problem}: nothing more is charged by itself until the customer switches it on again.
create function api.halt_auto_topup(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  why text := ledger.text_arg($1, 'problem', '^[a-z_]+$', 100);
  was ledger.auto_topups;
begin
  perform ledger.enter(acct);
  update ledger.auto_topups a
     set enabled = false, state = 'armed', problem = why, updated_at = ledger.now()
   where a.account = acct and a.enabled
  returning a.* into was;
  if was.account is not null then
    perform ledger.notify(acct, 'auto_topup_off', 'halted:' || acct || ':' || was.epoch,
                          jsonb_build_object('failures', was.failures, 'problem', why));
  end if;
  return jsonb_build_object('account', acct, 'halted', was.account is not null);
end $$;

-- Those who should be told that their plan ends: once for each end. The reminder of a subscription
-- is also sent as each member wants it; a plan that staff gave has no other.
create or replace function api.notify_plan_ends(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare e record; told integer := 0;
begin
  for e in
    select s.account, s.plan, s.subscription as name, s.period_end as at, false as given
      from ledger.subscriptions s
     where s.status in ('active', 'trialing') and s.ends_at_period_end
    union all
    select a.account, a.plan, 'assigned:' || a.account, a.expires_at, true
      from ledger.assigned_plans a
  loop
    continue when e.at <= ledger.now() or e.at > ledger.now() + interval '3 days';
    if ledger.notify(e.account, 'plan_ends', 'plan_ends:' || e.name || ':' || ledger.ms_of(e.at),
         jsonb_build_object('plan', e.plan, 'ends_at_ms', ledger.ms_of(e.at))) then
      told := told + 1;
      if e.given then
        perform tenancy.notify('plan_ends', e.account,
          'plan_ends:' || e.name || ':' || ledger.ms_of(e.at),
          jsonb_build_object('plan', e.plan, 'ends_at_ms', ledger.ms_of(e.at)));
      end if;
    end if;
  end loop;
  return jsonb_build_object('told', told);
end $$;

select ledger.close_doors();
