-- Subscriptions: what the processor says of them, and the allowance that a paid period brings.

create table ledger.subscriptions (
  subscription  text collate "C" primary key,
  account       text collate "C" not null references tenancy.accounts,
  plan          text not null,
  price         text not null,
  status        text not null,
  period_start  timestamptz not null,
  period_end    timestamptz not null,
  ends_at_period_end boolean not null default false,
  ended_at      timestamptz,
  -- when the processor began to be asked: what was asked later is newer or the same
  read_at       timestamptz not null,
  created_at    timestamptz not null
);
create index subscriptions_by_account on ledger.subscriptions (account, created_at desc);

-- What each paid plan of a period is worth. The period's allowance is the best of them, so an
-- upgrade adds the difference and no order of invoices adds anything twice.
create table ledger.allowances (
  subscription text collate "C" not null references ledger.subscriptions,
  period_start timestamptz not null,
  plan         text not null,
  nanos        bigint not null check (nanos >= 0),
  primary key (subscription, period_start, plan)
);

create function ledger.subscription_json(s ledger.subscriptions) returns jsonb
language sql stable as $$
  select jsonb_build_object('subscription', s.subscription, 'account', s.account, 'plan', s.plan,
    'price', s.price, 'status', s.status, 'period_start_ms', ledger.ms_of(s.period_start),
    'period_end_ms', ledger.ms_of(s.period_end), 'cancel_at_period_end', s.ends_at_period_end,
    'ended_at_ms', ledger.ms_of(s.ended_at), 'created_at_ms', ledger.ms_of(s.created_at))
$$;

create function api.clock(jsonb) returns jsonb
language sql volatile security definer set search_path = '' as $$
  select jsonb_build_object('now_ms', ledger.ms_of(ledger.now()))
$$;

-- {subscription, customer, plan, price, status, period_start_ms, period_end_ms,
--  cancel_at_period_end, ended_at_ms, read_ms}: read_ms is `api.clock` before asking.
create function api.sync_subscription(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  name text := ledger.text_arg($1, 'subscription', '^sub_[A-Za-z0-9_]+$', 100);
  owner text;
  epoch timestamptz := timestamptz 'epoch';
  s ledger.subscriptions;
begin
  select c.account into owner from ledger.customers c where c.customer = $1 ->> 'customer';
  if owner is null then
    select x.account into owner from ledger.subscriptions x where x.subscription = name;
  end if;
  if owner is null then return jsonb_build_object('problem', 'unknown_customer'); end if;
  perform ledger.enter(owner);
  insert into ledger.subscriptions (subscription, account, plan, price, status, period_start,
      period_end, ends_at_period_end, ended_at, read_at, created_at)
    values (name, owner, ledger.text_arg($1, 'plan', '^[a-z0-9_-]+$', 40),
            ledger.text_arg($1, 'price', '^[!-~]+$', 100),
            ledger.text_arg($1, 'status', '^[a-z_]+$', 40),
            epoch + ledger.span(ledger.int_arg($1, 'period_start_ms', 0, 253402300799000)),
            epoch + ledger.span(ledger.int_arg($1, 'period_end_ms', 0, 253402300799000)),
            coalesce(($1 -> 'cancel_at_period_end') = 'true', false),
            epoch + ledger.span(ledger.int_arg($1, 'ended_at_ms', 0, 253402300799000, null)),
            epoch + ledger.span(ledger.int_arg($1, 'read_ms', 0, 253402300799000)),
            ledger.now())
    on conflict (subscription) do update
       set plan = excluded.plan, price = excluded.price, status = excluded.status,
           period_start = excluded.period_start, period_end = excluded.period_end,
           ends_at_period_end = excluded.ends_at_period_end, ended_at = excluded.ended_at,
           read_at = excluded.read_at
     where excluded.read_at >= subscriptions.read_at and subscriptions.status <> 'canceled';
  select * into s from ledger.subscriptions x where x.subscription = name;
  if s.status = 'canceled' then
    -- what is left of the allowance goes with it
    update ledger.books b set expires_at = least(b.expires_at, coalesce(s.ended_at, ledger.now()))
     where b.account = owner and b.wallet in (
       select ledger.allowance_wallet(name, a.period_start) from ledger.allowances a
        where a.subscription = name);
  end if;
  return ledger.subscription_json(s);
end $$;

create function ledger.allowance_wallet(p_subscription text, p_start timestamptz) returns text
language sql immutable as $$
  select 'allowance-' || substr(md5(p_subscription || ':' || ledger.ms_of(p_start)), 1, 16)
$$;

-- Once per period and plan: {subscription, plan, period_start_ms, period_end_ms, nanos}. Spent
-- before everything else; what is left at the period's end lapses.
create function api.grant_allowance(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  name text := ledger.text_arg($1, 'subscription', '^sub_[A-Za-z0-9_]+$', 100);
  epoch timestamptz := timestamptz 'epoch';
  starts timestamptz := epoch + ledger.span(
    ledger.int_arg($1, 'period_start_ms', 0, 253402300799000));
  ends timestamptz := epoch + ledger.span(ledger.int_arg($1, 'period_end_ms', 0, 253402300799000));
  s ledger.subscriptions;
  purse text;
  target bigint; there bigint; times bigint;
begin
  select * into s from ledger.subscriptions x where x.subscription = name;
  if not found then
    raise exception 'subscription_not_found' using errcode = 'PT404', detail = name;
  end if;
  perform ledger.enter(s.account);
  insert into ledger.allowances values (name, starts,
      ledger.text_arg($1, 'plan', '^[a-z0-9_-]+$', 40),
      ledger.int_arg($1, 'nanos', 0, ledger.wallet_cap()))
    on conflict do nothing;
  purse := ledger.allowance_wallet(name, starts);
  select max(a.nanos) into target from ledger.allowances a
   where a.subscription = name and a.period_start = starts;
  select coalesce(sum(o.amount), 0), count(*) into there, times from ledger.operations o
   where o.account = s.account and o.wallet = purse and o.kind = 'allowance';
  if target > there then
    perform ledger.open_wallet(s.account, purse, 10, ends);
    perform ledger.operate(
      'allowance:' || name || ':' || ledger.ms_of(starts) || ':' || (times + 1), 'allowance',
      s.account, purse, 'promo', target - there, s.plan, null);
  end if;
  return jsonb_build_object('granted_nanos', greatest(0, target - there), 'wallet', purse);
end $$;

-- The subscription that counts: one that runs, else the newest.
create function api.find_subscription(jsonb) returns jsonb
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
     order by s.status in ('active', 'trialing', 'past_due') desc, s.created_at desc limit 1);
end $$;

-- A plan that staff gave for a while; a subscription that runs goes before it.
create table ledger.assigned_plans (
  account    text collate "C" primary key references tenancy.accounts,
  plan       text not null,
  actor      text not null,
  starts_at  timestamptz not null,
  expires_at timestamptz not null check (expires_at > starts_at)
);

create function api.assign_plan(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  made ledger.assigned_plans;
begin
  perform ledger.enter(acct);
  insert into ledger.assigned_plans as a values (
      acct, ledger.text_arg($1, 'plan', '^[a-z0-9_-]+$', 40),
      ledger.text_arg($1, 'actor', '^.+$', 100), ledger.now(),
      ledger.now() + ledger.int_arg($1, 'months', 1, 120) * interval '1 month')
    on conflict (account) do update
       set plan = excluded.plan, actor = excluded.actor, starts_at = excluded.starts_at,
           expires_at = excluded.expires_at
    returning a.* into made;
  update tenancy.accounts a set epoch = a.epoch + 1 where a.account = acct;
  return jsonb_build_object('account', acct, 'plan', made.plan,
    'starts_at_ms', ledger.ms_of(made.starts_at), 'expires_at_ms', ledger.ms_of(made.expires_at));
end $$;

create function api.find_assigned_plan(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare acct text := ledger.account_arg($1);
begin
  return (
    select jsonb_build_object('plan', a.plan, 'starts_at_ms', ledger.ms_of(a.starts_at),
             'expires_at_ms', ledger.ms_of(a.expires_at))
      from ledger.assigned_plans a where a.account = acct and a.expires_at > ledger.now());
end $$;

-- What an account has used in this UTC day and month: requests and tokens that were settled.
create function api.count_use(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  month timestamptz := date_trunc('month', ledger.now() at time zone 'UTC') at time zone 'UTC';
  today timestamptz := date_trunc('day', ledger.now() at time zone 'UTC') at time zone 'UTC';
begin
  return (
    select jsonb_build_object(
             'requests_today', count(*) filter (where u.posted_at >= today),
             'requests_month', count(*),
             'tokens_today', coalesce(sum(u.tokens) filter (where u.posted_at >= today), 0)::bigint,
             'tokens_month', coalesce(sum(u.tokens), 0)::bigint,
             'nanos_month', coalesce(sum(u.charge_nanos), 0)::bigint)
      from (select r.posted_at, r.charge_nanos,
                   (select coalesce(sum((l ->> 1)::bigint), 0)
                      from jsonb_array_elements(r.lines) as l
                     where l ->> 0 not in ('second', 'request', 'search')) as tokens
              from ledger.requests r
             where r.account = acct and r.posted_at >= month
               and r.request_id >= 'req_' || ledger.ulid_time(ledger.ms_of(month) - 86400000)
           ) as u);
end $$;

-- Customers deleted at the processor: how many an account had, so that the next has a key of its own.
create table ledger.gone_customers (
  customer text collate "C" primary key,
  account  text collate "C" not null references tenancy.accounts
);
create index gone_customers_by_account on ledger.gone_customers (account);

create or replace function api.forget_customer(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare was ledger.customers;
begin
  delete from ledger.customers c where c.customer = $1 ->> 'customer' returning * into was;
  if was.account is null then return jsonb_build_object('forgotten', false); end if;
  insert into ledger.gone_customers values (was.customer, was.account) on conflict do nothing;
  return jsonb_build_object('forgotten', true);
end $$;

create function api.count_gone_customers(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare acct text := ledger.account_arg($1);
begin
  return jsonb_build_object('number', (
    select count(*) from ledger.gone_customers g where g.account = acct));
end $$;

select ledger.close_doors();
