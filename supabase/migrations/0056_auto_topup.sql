-- Automatic top-ups. Settling marks an account whose credit fell below its threshold: one mark per
-- crossing, made inside the account's door, so a thousand requests at once make one. A worker pays
-- it by an order whose id and idempotency key are account and epoch.

create table ledger.auto_topups (
  account         text collate "C" primary key references tenancy.accounts,
  enabled         boolean not null,
  threshold_nanos bigint not null check (threshold_nanos >= 0),
  amount_cents    bigint not null check (amount_cents > 0),
  month_cap_cents bigint not null check (month_cap_cents >= amount_cents),
  payment_method  text collate "C",            -- the processor's id of a card, never its number
  state           text not null default 'armed' check (state in ('armed', 'due', 'paying')),
  epoch           integer not null default 0,
  failures        integer not null default 0 check (failures >= 0),
  problem         text,                        -- why it was switched off, or waits
  due_at          timestamptz,
  sent_at         timestamptz,
  not_before      timestamptz,
  updated_at      timestamptz not null
);
create index auto_topups_due on ledger.auto_topups (due_at) where state <> 'armed';

-- What a customer has to be told; sent by whoever can reach them.
create table ledger.billing_notices (
  id         bigint generated always as identity primary key,
  account    text collate "C" not null references tenancy.accounts,
  kind       text not null,
  once       text collate "C" not null unique,     -- the same fact is told once
  detail     jsonb not null default '{}',
  created_at timestamptz not null,
  sent_at    timestamptz
);
create index billing_notices_waiting on ledger.billing_notices (id) where sent_at is null;

create function ledger.notify(p_account text, p_kind text, p_once text, p_detail jsonb)
returns boolean language plpgsql as $$
begin
  insert into ledger.billing_notices (account, kind, once, detail, created_at)
    values (p_account, p_kind, p_once, p_detail, ledger.now()) on conflict do nothing;
  return found;
end $$;

-- Ordered by itself in this UTC day or month: what failed or was never tried does not count.
create function ledger.auto_topup_cents(p_account text, p_span text) returns bigint
language sql stable as $$
  select coalesce(sum(p.amount_cents), 0)::bigint from ledger.payments p
   where p.account = p_account and p.kind = 'auto_topup'
     and p.status not in ('failed', 'canceled', 'expired', 'mismatch')
     and p.created_at >= date_trunc(p_span, ledger.now() at time zone 'UTC') at time zone 'UTC'
$$;

create function ledger.auto_topup_json(a ledger.auto_topups) returns jsonb
language sql stable as $$
  select jsonb_build_object('account', a.account, 'enabled', a.enabled,
    'threshold_nanos', a.threshold_nanos, 'amount_cents', a.amount_cents,
    'month_cap_cents', a.month_cap_cents, 'payment_method', a.payment_method, 'state', a.state,
    'epoch', a.epoch, 'failures', a.failures, 'problem', a.problem,
    'month_cents', ledger.auto_topup_cents(a.account, 'month'))
$$;

-- Marks those of these accounts whose credit is below their threshold. Credit that running requests
-- hold still counts: it comes back, or becomes a charge that is looked at then.
create function ledger.mark_low(p_accounts text[]) returns integer language plpgsql as $$
declare marked integer;
begin
  update ledger.auto_topups a
     set state = 'due', epoch = a.epoch + 1, due_at = ledger.now(), sent_at = null,
         updated_at = ledger.now()
   where a.account = any (p_accounts) and a.enabled and a.state = 'armed'
     and (a.not_before is null or a.not_before <= ledger.now())
     and a.threshold_nanos > (
       select coalesce(sum(b.balance), 0) from ledger.books b
        where b.account = a.account and (b.expires_at is null or b.expires_at > ledger.now()));
  get diagnostics marked = row_count;
  return marked;
end $$;

create function ledger.mark_low_after_requests() returns trigger
language plpgsql set search_path = '' set enable_seqscan = off as $$
declare wanted text[];
begin
  select array_agg(distinct n.account) into wanted
    from fresh n join ledger.auto_topups a on a.account = n.account
   where a.enabled and a.state = 'armed' and n.charge_nanos > 0;
  if wanted is not null then perform ledger.mark_low(wanted); end if;
  return null;
end $$;

-- After the whole statement: the balances that it changes are written by then.
create trigger mark_low after insert on ledger.requests
  referencing new table as fresh for each statement
  execute function ledger.mark_low_after_requests();

-- {account, enabled, threshold_nanos, amount_cents, month_cap_cents, payment_method?}
create function api.set_auto_topup(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  made ledger.auto_topups;
begin
  perform ledger.enter(acct);
  insert into ledger.auto_topups as a (account, enabled, threshold_nanos, amount_cents,
                                  month_cap_cents, payment_method, updated_at)
    values (acct, coalesce(($1 -> 'enabled') = 'true', false),
            ledger.int_arg($1, 'threshold_nanos', 0, ledger.wallet_cap()),
            ledger.int_arg($1, 'amount_cents', 1, 99999999),
            ledger.int_arg($1, 'month_cap_cents', 1, 999999999),
            $1 ->> 'payment_method', ledger.now())
    on conflict (account) do update
       set enabled = excluded.enabled, threshold_nanos = excluded.threshold_nanos,
           amount_cents = excluded.amount_cents, month_cap_cents = excluded.month_cap_cents,
           payment_method = excluded.payment_method, updated_at = excluded.updated_at,
           -- a person looked at it: what failed before is forgotten, what is being paid is not
           failures = 0, problem = null, not_before = null,
           state = case when a.state = 'paying' then 'paying' else 'armed' end;
  perform ledger.mark_low(array[acct]);
  select * into made from ledger.auto_topups x where x.account = acct;
  return ledger.auto_topup_json(made);
exception when check_violation then
  perform ledger.refuse('invalid_argument', 'month_cap_cents is less than amount_cents');
  return null;
end $$;

create function api.find_auto_topup(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1);
begin
  return (select ledger.auto_topup_json(a) from ledger.auto_topups a where a.account = acct);
end $$;

-- Those that nobody was told of yet, or long ago: [{account, epoch}]. Whoever calls it queues them.
create function api.take_due_topups(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 100);
  taken jsonb;
begin
  with due as (
    select a.account from ledger.auto_topups a
     where a.state <> 'armed'
       and (a.sent_at is null or a.sent_at < ledger.now() - interval '15 minutes')
     order by a.due_at limit most for update skip locked
  ), told as (
    update ledger.auto_topups a set sent_at = ledger.now() from due
     where a.account = due.account returning a.account, a.epoch)
  select coalesce(jsonb_agg(jsonb_build_object('account', t.account, 'epoch', t.epoch)), '[]')
    into taken from told t;
  return taken;
end $$;

-- For the daily look: credit also falls without a charge, by refunds and by lapsing.
create function api.mark_low_balances(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare acct text; marked integer := 0;
begin
  for acct in select a.account from ledger.auto_topups a
               where a.enabled and a.state = 'armed' order by a.account
  loop
    perform ledger.enter(acct);
    marked := marked + ledger.mark_low(array[acct]);
  end loop;
  return jsonb_build_object('marked', marked);
end $$;

-- {account, epoch, payment_id, customer, amount_cents?, credit_nanos, day_most}: the order of one
-- crossing, or why there is none. Twice gives the same order.
create function api.begin_auto_topup(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  a ledger.auto_topups;
  p ledger.payments;
  why text;
begin
  perform ledger.enter(acct);
  select * into a from ledger.auto_topups x where x.account = acct;
  if not found or a.epoch <> ledger.int_arg($1, 'epoch', 1, 2147483647)
     or a.state = 'armed' then
    return jsonb_build_object('skip', 'past');
  end if;
  select * into p from ledger.payments x where x.payment_id = $1 ->> 'payment_id';
  if a.state = 'due' and p.payment_id is null then
    why := case
      when not a.enabled then 'off'
      when ledger.auto_topup_cents(acct, 'day') + a.amount_cents
           > ledger.int_arg($1, 'day_most', 0, 999999999) then 'daily_cap'
      when ledger.auto_topup_cents(acct, 'month') + a.amount_cents > a.month_cap_cents
           then 'monthly_cap' end;
    if why is not null then
      update ledger.auto_topups x
         set state = 'armed', problem = why, updated_at = ledger.now(),
             not_before = date_trunc(case why when 'monthly_cap' then 'month' else 'day' end,
                                     ledger.now() at time zone 'UTC') at time zone 'UTC'
               + case why when 'monthly_cap' then interval '1 month' else interval '1 day' end
       where x.account = acct;
      perform ledger.notify(acct, 'auto_topup_capped', 'capped:' || acct || ':' || why || ':'
        || to_char(ledger.now() at time zone 'UTC', 'YYYY-MM-DD'), jsonb_build_object('cap', why));
      return jsonb_build_object('skip', why);
    end if;
    update ledger.auto_topups x set state = 'paying', updated_at = ledger.now()
     where x.account = acct;
  end if;
  return ledger.auto_topup_json(a);
end $$;

-- What became of it: {account, epoch, paid, problem?}. Three failures one after another switch it
-- off; a failure waits an hour, two hours.
create function api.end_auto_topup(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  paid boolean := coalesce(($1 -> 'paid') = 'true', false);
  a ledger.auto_topups;
begin
  perform ledger.enter(acct);
  update ledger.auto_topups x
     set state = 'armed', updated_at = ledger.now(),
         failures = case when paid then 0 else x.failures + 1 end,
         enabled = x.enabled and (paid or x.failures < 2),
         problem = case when paid then null else left($1 ->> 'problem', 100) end,
         not_before = case when paid then null
                           else ledger.now() + (x.failures + 1) * interval '1 hour' end
   where x.account = acct and x.state in ('paying', 'due')
     and x.epoch = ledger.int_arg($1, 'epoch', 1, 2147483647)
   returning * into a;
  if a.account is null then return jsonb_build_object('changed', false); end if;
  if paid then
    perform ledger.mark_low(array[acct]);
  elsif not a.enabled then
    perform ledger.notify(acct, 'auto_topup_off', 'off:' || acct || ':' || a.epoch,
                          jsonb_build_object('failures', a.failures, 'problem', a.problem));
  else
    perform ledger.notify(acct, 'auto_topup_failed', 'failed:' || acct || ':' || a.epoch,
                          jsonb_build_object('failures', a.failures, 'problem', a.problem));
  end if;
  return jsonb_build_object('changed', true, 'enabled', a.enabled, 'failures', a.failures,
                            'problem', a.problem);
end $$;

create function api.list_billing_notices(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare most bigint := ledger.int_arg($1, 'limit', 1, 1000, 100);
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(r) order by r.id), '[]')
      from (select n.id, n.account, n.kind, n.detail, ledger.ms_of(n.created_at) as created_at_ms
              from ledger.billing_notices n
             where n.sent_at is null
               and ($1 ->> 'account' is null or n.account = $1 ->> 'account')
             order by n.id limit most) as r);
end $$;

create function api.mark_notices_sent(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare ids jsonb := ledger.array_arg($1, 'ids', 1000); number integer;
begin
  update ledger.billing_notices n set sent_at = ledger.now()
   where n.sent_at is null
     and n.id in (select i::bigint from jsonb_array_elements_text(ids) as i);
  get diagnostics number = row_count;
  return jsonb_build_object('marked', number);
end $$;

select ledger.close_doors();
