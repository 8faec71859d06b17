-- Budgets at admission: what Redis loads, and the same checks for a private lease. Redis's clock, or
-- this one, says which period a request falls in; no process's clock does.

-- Checks the limits of a private reserve, as before; what a period spent before its budget began
-- counts too.
create or replace function ledger.reserve_budgets(p_account text, p_scopes jsonb, p_amount bigint)
returns jsonb language plpgsql as $$
declare wanted record; known ledger.budgets; counted jsonb := '[]'; used bigint;
begin
  for wanted in
    select distinct s ->> 0 as scope, s ->> 1 as period, (s ->> 2)::bigint as most
      from jsonb_array_elements(p_scopes) as s order by 1, 2
  loop
    if wanted.most is not null then
      insert into ledger.budgets (account, scope, period, limit_nanos, since_seq)
        values (p_account, wanted.scope, wanted.period, wanted.most,
                (select last_value from ledger.posting))
        on conflict (account, scope, period) do update set limit_nanos = excluded.limit_nanos
        where budgets.limit_nanos is distinct from excluded.limit_nanos;
    end if;
    select * into known from ledger.budgets b
     where (b.account, b.scope, b.period) = (p_account, wanted.scope, wanted.period);
    continue when not found;
    used := known.base_nanos + known.spent_nanos + known.reserved_nanos;
    if used + p_amount > known.limit_nanos then
      raise exception 'budget_exceeded' using errcode = 'PT402',
        detail = greatest(0, known.limit_nanos - used)::text,
        hint = wanted.scope || '|' || wanted.period;
    end if;
    update ledger.budgets b set reserved_nanos = b.reserved_nanos + p_amount
     where (b.account, b.scope, b.period) = (p_account, wanted.scope, wanted.period);
    counted := counted || jsonb_build_array(jsonb_build_array(wanted.scope, wanted.period));
  end loop;
  return counted;
end $$;

-- [[scope|period, used], ...] of the periods under way, for a Redis that has none of them: budgets,
-- and what the trial used. With scopes [[scope, period], ...] those alone.
create or replace function api.load_budgets(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  scopes jsonb := ledger.scopes_arg($1);
  at timestamptz := ledger.now();
begin
  if $1 ? 'scopes' then
    return (
      select coalesce(jsonb_agg(jsonb_build_array(b.scope || '|' || b.period,
                                  b.base_nanos + b.spent_nanos + b.reserved_nanos)
                                order by b.scope, b.period), '[]')
        from ledger.budgets b
       where b.account = acct and (b.scope, b.period) in
             (select s ->> 0, s ->> 1 from jsonb_array_elements(scopes) as s));
  end if;
  return (
    select coalesce(jsonb_agg(jsonb_build_array(f.field, f.used) order by f.field), '[]')
      from (select b.scope || '|' || b.period as field,
                   b.base_nanos + b.spent_nanos + b.reserved_nanos as used
              from ledger.budgets b
             where b.account = acct and b.period in ('total',
                   ledger.period_label('daily', at), ledger.period_label('weekly', at),
                   ledger.period_label('monthly', at))
            union all
            select u.field || '|total', u.used from ledger.trials t cross join lateral (values
                ('trial:nanos', t.spent_nanos), ('trial:requests', t.requests),
                ('trial:tokens', t.tokens)) as u(field, used)
             where t.account = acct) as f);
end $$;

-- As before. budgets: [[scope, kind, limit], ...] of the request; their periods are told back and
-- stand in the record that the lease is settled from.
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
    return ledger.lease_json(l, known.amount, at) || jsonb_build_object('scopes', l.scopes);
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
    scopes := scopes || ledger.periods_of($1, at);
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
              case when alone and scopes = '[]' then ledger.record_arg($1)
                   when alone then ledger.record_arg($1) || jsonb_build_object('scopes', scopes)
              end, scopes,
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
  return ledger.lease_json(l, step, at) || jsonb_build_object('scopes', l.scopes);
end $$;

create function ledger.periods_of(p jsonb, p_at timestamptz) returns jsonb
language plpgsql stable as $$
declare budgets jsonb;
begin
  if coalesce(jsonb_typeof(p -> 'budgets'), 'null') = 'null' then return '[]'; end if;
  budgets := ledger.array_arg(p, 'budgets', 16);
  return ledger.scopes_arg(jsonb_build_object('scopes', (
    select coalesce(jsonb_agg(jsonb_build_array(
             b -> 0, ledger.period_label(b ->> 1, p_at), b -> 2)), '[]')
      from jsonb_array_elements(budgets) as b)));
end $$;

select ledger.close_doors();
