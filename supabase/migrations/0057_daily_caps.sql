-- A most that an account spends in a UTC day, if it wants one or its trial has one. It is part of the
-- reservation: what was charged today and what is set aside stay within it together, so nothing is
-- ever served that could not be charged.

create table ledger.account_caps (
  account   text collate "C" not null references tenancy.accounts,
  source    text not null check (source in ('own', 'trial')),
  day_nanos bigint not null check (day_nanos >= 0),
  primary key (account, source)
);
create index key_spending_by_account on ledger.key_spending (account, day);

-- The day's cap less what it has used; null without a cap.
create function ledger.room_today(p_account text) returns bigint
language plpgsql stable set enable_seqscan = off as $$
declare cap bigint; used bigint; held bigint;
begin
  select min(c.day_nanos) into cap from ledger.account_caps c where c.account = p_account;
  if cap is null then return null; end if;
  select coalesce(sum(s.nanos), 0) into used from ledger.key_spending s
   where s.account = p_account and s.day = (ledger.now() at time zone 'UTC')::date;
  select b.balance into held from ledger.books b where b.id = 'held:' || p_account;
  return cap - used - held;
end $$;

-- {account, day_nanos}: null takes the cap away. A lower one holds from the next reservation on.
create function api.set_daily_cap(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  most bigint := ledger.int_arg($1, 'day_nanos', 0, ledger.wallet_cap(), null);
begin
  perform ledger.enter(acct);
  if most is null then
    delete from ledger.account_caps c where c.account = acct and c.source = 'own';
  else
    insert into ledger.account_caps as c values (acct, 'own', most)
      on conflict (account, source) do update set day_nanos = excluded.day_nanos;
  end if;
  return api.find_daily_cap($1);
end $$;

create function api.find_daily_cap(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1);
begin
  return jsonb_build_object('account', acct,
    'day_nanos', (select min(c.day_nanos) from ledger.account_caps c where c.account = acct),
    'own_nanos', (select c.day_nanos from ledger.account_caps c
                   where c.account = acct and c.source = 'own'),
    'spent_nanos', (select coalesce(sum(s.nanos), 0)::bigint from ledger.key_spending s
                     where s.account = acct and s.day = (ledger.now() at time zone 'UTC')::date),
    'room_nanos', (select greatest(0, r.room) from ledger.room_today(acct) as r(room)
                    where r.room is not null));
end $$;

-- What costs nothing holds one nano-dollar, so that it is counted like everything else. An account
-- that has not even that, and owes nothing, is given a millionth of a dollar a day to hold.
create function ledger.free_hold() returns bigint language sql immutable as $$ select 1::bigint $$;
create function ledger.lend_for_free(p_account text) returns bigint language plpgsql as $$
declare
  key text := 'free:' || p_account || ':'
              || to_char(ledger.now() at time zone 'UTC', 'YYYY-MM-DD');
begin
  perform ledger.open_wallet(p_account, 'free', 1000, null);
  if ledger.operate(key, 'grant', p_account, 'free', 'promo', 1000, 'Free models', null) then
    return 1000;
  end if;
  return 0;
end $$;

-- As before, within the room of the day, and with something to hold for what costs nothing.
create or replace function api.reserve_credit(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  key text := 'reserve:' || ledger.op_arg($1, 'op_id');
  need bigint := ledger.int_arg($1, 'need', 1, ledger.wallet_cap());
  want bigint := ledger.int_arg($1, 'want', need, ledger.wallet_cap(), need);
  live_ms bigint := ledger.int_arg($1, 'live_ms', 0, 7 * 86400000, 0);
  ttl_ms bigint := ledger.int_arg($1, 'ttl_ms', 1, 7 * 86400000, 2400000);
  alone boolean := coalesce(($1 -> 'private') = 'true', false);
  scopes jsonb := ledger.scopes_arg($1);
  scope_nanos bigint := ledger.int_arg($1, 'need_scope', 0, ledger.wallet_cap(), need);
  at timestamptz;
  l ledger.leases;
  known ledger.lease_ops;
  source record;
  free bigint; room bigint; step bigint; part bigint; rest bigint;
begin
  perform ledger.enter(acct);
  at := ledger.now();
  select * into known from ledger.lease_ops o where o.op_key = key;
  if found then
    select * into l from ledger.leases x where x.id = known.lease;
    if l.account <> acct then
      raise exception 'operation_conflict' using errcode = 'PT409', detail = key;
    end if;
    return ledger.lease_json(l, known.amount, at);
  end if;

  select coalesce(sum(b.balance), 0) into free from ledger.books b
   where b.account = acct and b.kind = 'wallet' and (b.expires_at is null or b.expires_at > at);
  if free between 0 and need - 1 and need <= ledger.free_hold() then
    free := free + ledger.lend_for_free(acct);
  end if;
  if free < need then
    raise exception 'insufficient_credits'
      using errcode = 'PT402', detail = greatest(free, 0)::text;
  end if;
  room := ledger.room_today(acct);
  if room < need then
    raise exception 'budget_exceeded'
      using errcode = 'PT402', detail = greatest(room, 0)::text, hint = 'account|daily';
  end if;
  -- what is set aside is not there for others: not all of the day's room at once
  step := greatest(need, least(want, free / 4, room / 4, ledger.step_cap()));

  if alone then
    scopes := ledger.reserve_budgets(acct, scopes, scope_nanos);
    perform ledger.note_overage(array[acct]) where scopes <> '[]';
  else
    scopes := '[]';
    select * into l from ledger.leases x
     where x.account = acct and x.state = 'open' and not x.private
       and x.expires_at >= at + ledger.span(live_ms)
     order by x.expires_at desc limit 1;
  end if;
  if l.id is null then
    -- never shorter than what is asked for now, or every following call would open another one
    insert into ledger.leases (id, account, private, record, scopes, scope_nanos,
                               opened_at, touched_at, expires_at)
      values (gen_random_uuid(), acct, alone,
              case when alone then ledger.record_arg($1) end, scopes,
              case when scopes = '[]' then 0 else scope_nanos end,
              at, at, at + ledger.span(greatest(ttl_ms, live_ms)))
      returning * into l;
  end if;

  rest := step;
  for source in
    select b.id, b.balance from ledger.books b
     where b.account = acct and b.kind = 'wallet' and b.balance > 0
       and (b.expires_at is null or b.expires_at > at)
     order by b.priority, b.expires_at nulls last, b.id
  loop
    exit when rest = 0;
    part := least(rest, source.balance);
    perform ledger.post(source.id, 'held:' || acct, part, 'reserve', key);
    insert into ledger.lease_sources (lease, wallet, amount) values (l.id, source.id, part);
    rest := rest - part;
  end loop;
  update ledger.leases x set granted = x.granted + step, touched_at = at where x.id = l.id;
  insert into ledger.lease_ops values (key, l.id, step);
  return ledger.lease_json(l, step, at);
end $$;

select ledger.close_doors();
