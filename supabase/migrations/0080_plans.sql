-- Which plan an account has now, for how long, and whether an unpaid subscription stands in its way.
-- A process keeps what it read of an account: so whatever changes the plan raises the epoch (D13).

-- A failed renewal leaves the plan for so long; the processor tries the card again meanwhile.
create function ledger.grace() returns interval language sql immutable as $$
  select interval '7 days'
$$;

alter table ledger.subscriptions add column past_due_at timestamptz;

create or replace function ledger.subscription_json(s ledger.subscriptions) returns jsonb
language sql stable as $$
  select jsonb_build_object('subscription', s.subscription, 'account', s.account, 'plan', s.plan,
    'price', s.price, 'status', s.status, 'period_start_ms', ledger.ms_of(s.period_start),
    'period_end_ms', ledger.ms_of(s.period_end), 'cancel_at_period_end', s.ends_at_period_end,
    'ended_at_ms', ledger.ms_of(s.ended_at), 'created_at_ms', ledger.ms_of(s.created_at),
    'grace_ends_at_ms', ledger.ms_of(s.past_due_at + ledger.grace()))
$$;

-- Since when it is unpaid, and who has to read the account anew.
create function ledger.follow_subscription() returns trigger
language plpgsql set search_path = '' as $$
begin
  if new.status <> 'past_due' then
    new.past_due_at := null;
  elsif tg_op = 'INSERT' or old.status <> 'past_due' then
    new.past_due_at := new.read_at;
  end if;
  if tg_op = 'INSERT' or (new.status, new.plan) is distinct from (old.status, old.plan) then
    perform tenancy.raise_epoch(new.account);
    if new.status = 'past_due' then
      perform ledger.notify(new.account, 'payment_failed',
        'past_due:' || new.subscription || ':' || ledger.ms_of(new.period_start),
        jsonb_build_object('plan', new.plan, 'grace_ends_at_ms',
                           ledger.ms_of(new.past_due_at + ledger.grace())));
    end if;
  end if;
  return new;
end $$;
create trigger follow_subscription before insert or update on ledger.subscriptions
  for each row execute function ledger.follow_subscription();

create function ledger.follow_trial() returns trigger language plpgsql set search_path = '' as $$
begin
  perform tenancy.raise_epoch(new.account);
  return null;
end $$;
create trigger follow_trial after insert on ledger.trials
  for each row execute function ledger.follow_trial();

-- A payment, a refund or a dispute may make a debt or end one.
create function ledger.follow_payment() returns trigger language plpgsql set search_path = '' as $$
begin
  perform tenancy.raise_epoch(new.account);
  return null;
end $$;
create trigger follow_payment after update on ledger.payments for each row
  when ((old.captured_cents, old.refunded_cents, old.disputed_cents)
        is distinct from (new.captured_cents, new.refunded_cents, new.disputed_cents))
  execute function ledger.follow_payment();

create function api.find_epoch(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare acct text := ledger.account_arg($1);
begin
  return (select jsonb_build_object('account', acct, 'epoch', a.epoch)
            from tenancy.accounts a where a.account = acct);
end $$;

-- The plan that counts: a subscription that runs or is in its grace, else what staff assigned, else
-- that of a running trial, else the free one. `ends_at` null: it ends with no date of ours.
create function ledger.own_plan(p_account text)
returns table (plan text, source text, starts_at timestamptz, ends_at timestamptz)
language plpgsql stable as $$
declare at timestamptz := ledger.now();
begin
  return query
    select s.plan, 'subscription', s.period_start, s.past_due_at + ledger.grace()
      from ledger.subscriptions s
     where s.account = p_account
       and (s.status in ('active', 'trialing') or s.past_due_at + ledger.grace() > at)
     order by s.past_due_at nulls first, s.created_at desc, s.subscription limit 1;
  if found then return; end if;
  return query
    select a.plan, 'assigned', a.starts_at, a.expires_at from ledger.assigned_plans a
     where a.account = p_account and a.expires_at > at;
  if found then return; end if;
  return query
    select x.plan, 'trial', t.started_at, t.ends_at
      from ledger.trials t join ledger.trial_terms x using (code)
     where t.account = p_account and t.ended_at is null and t.ends_at > at and x.plan <> 'free';
  if found then return; end if;
  return query select 'free', 'free', null::timestamptz, null::timestamptz;
end $$;

create function ledger.plan_of(p_account text) returns text language sql stable as $$
  select o.plan from ledger.own_plan(p_account) o
$$;

-- The state of a subscription that bars an account without credit of its own: the newest one is
-- unpaid beyond its grace or has ended, and no other plan counts. Who has a debt is told of that.
create function ledger.blocked_by(p_account text) returns text language sql stable as $$
  select s.status from ledger.subscriptions s, ledger.own_plan(p_account) o
   where s.account = p_account and o.source = 'free'
     and not exists (select from ledger.books b where b.account = p_account and b.balance < 0)
     and s.status in ('past_due', 'unpaid', 'canceled', 'incomplete_expired')
   order by s.created_at desc, s.subscription limit 1
$$;

create function api.find_plan(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare acct text := ledger.account_arg($1);
begin
  return (
    select jsonb_build_object('plan', o.plan, 'source', o.source,
             'starts_at_ms', ledger.ms_of(o.starts_at), 'ends_at_ms', ledger.ms_of(o.ends_at),
             'blocked', ledger.blocked_by(acct))
      from ledger.own_plan(acct) o);
end $$;

-- What is known of a key's account, with its plan; kept no longer than the plan lasts. A plan that
-- ends later than tomorrow leaves that to `end_plans`.
alter function api.find_principal(jsonb) set schema ledger;
alter function ledger.find_principal(jsonb) security invoker;
create function api.find_principal(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  p jsonb := ledger.find_principal($1);
  o record;
  left_ms bigint;
begin
  if p is null then return null; end if;
  select * into o from ledger.own_plan(p ->> 'account');
  left_ms := case when o.ends_at < ledger.now() + interval '2 days'
                  then ledger.ms_between(ledger.now(), o.ends_at) end;
  return p || jsonb_build_object('plan', o.plan, 'blocked', ledger.blocked_by(p ->> 'account'),
    'left_ms', least((p ->> 'left_ms')::bigint, left_ms));
end $$;

-- Once a day: plans that end before the next day's look, [{account, epoch}]. Processes read their
-- accounts anew, and keep what they read until the end and no longer.
create function api.end_plans(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  acct text;
  ending jsonb := '[]';
begin
  for acct in
    select s.account from ledger.subscriptions s
     where s.past_due_at + ledger.grace() between ledger.now() and ledger.now() + interval '26 hours'
    union select a.account from ledger.assigned_plans a
     where a.expires_at between ledger.now() and ledger.now() + interval '26 hours'
    order by 1
  loop
    ending := ending || jsonb_build_object('account', acct, 'epoch', tenancy.raise_epoch(acct));
  end loop;
  return ending;
end $$;

-- The subscription that counts: one that runs, else the newest.
create or replace function api.find_subscription(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare acct text := ledger.account_arg($1);
begin
  return (
    select ledger.subscription_json(s) || jsonb_build_object(
             'allowance_left_nanos', (
               select coalesce(sum(b.balance), 0)::bigint from ledger.books b
                where b.account = acct and b.wallet like 'allowance-%'
                  and b.expires_at > ledger.now()))
      from ledger.subscriptions s where s.account = acct
     order by s.status in ('active', 'trialing', 'past_due', 'paused') desc, s.created_at desc,
              s.subscription limit 1);
end $$;

select ledger.close_doors();
