-- The events of keys and of billing that people are told of, put in by triggers in the transaction
-- of the event itself, so that no path forgets one.

create function tenancy.tell_of_key() returns trigger language plpgsql set search_path = '' as $$
begin
  perform tenancy.notify('key_created', new.account, 'key_created:' || new.key_id,
    jsonb_build_object('name', new.name, 'prefix', new.prefix, 'environment', new.environment));
  return null;
end $$;
-- The first key of a new account is shown at its sign-in: whoever reads the letter made it.
create trigger tell_of_key after insert on tenancy.api_keys
  for each row when (not new.is_primary) execute function tenancy.tell_of_key();

-- Reminders of an end come from remind_of_ends below, when each member wants them.
create function ledger.tell_billing() returns trigger language plpgsql set search_path = '' as $$
begin
  if new.kind not in ('trial_ends', 'plan_ends')
     and exists (select 1 from tenancy.notice_kinds k where k.kind = new.kind) then
    perform tenancy.notify(new.kind, new.account, 'billing:' || new.once, new.detail);
  end if;
  return null;
end $$;
create trigger tell_billing after insert on ledger.billing_notices
  for each row execute function ledger.tell_billing();

-- ------------------------------------------------------------------ low balance

-- A threshold that an account's credit is below: told when it falls there, at most once a day.
create table tenancy.low_balances (
  account         text collate "C" not null references tenancy.accounts,
  threshold_nanos bigint not null,
  since           timestamptz not null,
  primary key (account, threshold_nanos)
);

-- What the members of an account want to hear of; the usual one for those who said nothing.
create function tenancy.thresholds_of(p_account text) returns setof bigint
language sql stable as $$
  select p.low_balance_nanos from tenancy.notice_preferences p
   where p.account = p_account and p.low_balance_nanos > 0
  union
  select 10 * 1000000000::bigint
   where not exists (select 1 from tenancy.notice_preferences p
                      where p.account = p_account and p.member = '')
$$;

-- Credit that running requests hold still counts, as it does for automatic top-ups. Settling pays
-- one look at each account of its batch; only a crossing writes.
create function ledger.tell_low_balances() returns trigger
language plpgsql set search_path = '' set enable_seqscan = off as $$
declare c record; at timestamptz := ledger.now();
begin
  for c in
    select s.account, s.nanos, t.nanos as threshold_nanos
      from (select f.account, (select coalesce(sum(b.balance), 0)::bigint from ledger.books b
                                where b.account = f.account
                                  and (b.expires_at is null or b.expires_at > at)) as nanos
              from (select distinct n.account from fresh n where n.charge_nanos > 0) as f) as s
     cross join lateral tenancy.thresholds_of(s.account) as t(nanos)
     where t.nanos > s.nanos
       and not exists (select 1 from tenancy.low_balances l
                        where l.account = s.account and l.threshold_nanos = t.nanos)
     order by s.account, t.nanos
  loop
    insert into tenancy.low_balances values (c.account, c.threshold_nanos, at)
      on conflict do nothing;
    perform tenancy.notify('low_balance', c.account, format('low_balance:%s:%s:%s', c.account,
        c.threshold_nanos, to_char(at at time zone 'UTC', 'YYYY-MM-DD')),
      jsonb_build_object('balance_nanos', c.nanos, 'threshold_nanos', c.threshold_nanos));
  end loop;
  return null;
end $$;
create trigger tell_low_balances after insert on ledger.requests
  referencing new table as fresh for each statement execute function ledger.tell_low_balances();

-- Credit came in: the next fall below a threshold is a new one.
create function tenancy.forget_low_balance() returns trigger
language plpgsql set search_path = '' set enable_seqscan = off as $$
begin
  delete from tenancy.low_balances l where l.account = new.account;
  return null;
end $$;
create trigger forget_low_balance after insert on ledger.operations
  for each row when (new.amount > 0) execute function tenancy.forget_low_balance();

-- ------------------------------------------------------------------ ends of trials and plans

-- Tells each member so many days before the end as the member wants: once for an end.
create function api.remind_of_ends(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  at timestamptz := ledger.now();
  told integer := 0;
  e record;
begin
  for e in
    select u.kind, u.account, u.end_id, u.ends_at, u.data, r.member
      from (
        select 'trial_ends' as kind, t.account, t.account as end_id, t.ends_at,
               jsonb_build_object('code', t.code) as data
          from ledger.trials t
         where t.ended_at is null and t.ends_at > at and t.ends_at <= at + interval '30 days'
           and not ledger.paid_ever(t.account)
        union all
        select 'plan_ends', s.account, s.subscription, s.period_end,
               jsonb_build_object('plan', s.plan)
          from ledger.subscriptions s
         where s.status in ('active', 'trialing') and s.ends_at_period_end
           and s.period_end > at and s.period_end <= at + interval '30 days') as u
     cross join lateral tenancy.recipients(u.account) as r
     cross join lateral tenancy.preferences_of(u.account, r.member) as p
     where u.ends_at <= at + interval '1 day'
             * case u.kind when 'trial_ends' then p.trial_days else p.plan_days end
  loop
    if tenancy.notify(e.kind, e.account,
         format('%s:%s:%s:%s', e.kind, e.end_id, ledger.ms_of(e.ends_at), e.member),
         e.data || jsonb_build_object('ends_at_ms', ledger.ms_of(e.ends_at)),
         null, e.member) then
      told := told + 1;
    end if;
  end loop;
  return jsonb_build_object('told', told);
end $$;

select ledger.close_doors();
