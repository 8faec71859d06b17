-- Leases: credit set aside before work is done. Postgres moves a block from wallets to held; Redis
-- can only divide what was moved here. Budgets of private leases are checked in the same step.

-- Gives parts of leases back to the wallets they came from, the last drained first, in one pass
-- over all of them. The caller holds the doors and has checked that each part is undrawn.
create function ledger.return_credit(
  p_leases uuid[], p_amounts bigint[], p_kind text, p_refs text[])
returns void language plpgsql as $$
declare at timestamptz := ledger.now();
begin
  with part as (
    select l.id, l.account, p.amount, p.ref
      from unnest(p_leases, p_amounts, p_refs) as p(lease, amount, ref)
      join ledger.leases l on l.id = p.lease
     where p.amount > 0
  ), back as materialized (
    select p.account, p.ref, s.lease, s.position, s.wallet,
           least(s.amount, greatest(0, p.amount
             - (sum(s.amount) over (partition by s.lease order by s.position desc) - s.amount))
           )::bigint as amount
      from part p join ledger.lease_sources s on s.lease = p.id
  ), sources as (
    update ledger.lease_sources s set amount = s.amount - b.amount
      from back b where s.lease = b.lease and s.position = b.position and b.amount > 0
  ), per_wallet as materialized (
    select account, ref, lease, wallet, sum(amount)::bigint as amount
      from back where amount > 0 group by account, ref, lease, wallet
  ), moved as (
    insert into ledger.transfers (id, debit, credit, amount, kind, ref, posted_at)
    select ledger.new_ulid(at), 'held:' || account, wallet, amount, p_kind, ref, at from per_wallet
  ), fewer as (
    update ledger.leases l set granted = l.granted - p.amount from part p where l.id = p.id
  )
  update ledger.books b set balance = b.balance + d.amount
    from (select id, sum(amount)::bigint as amount from (
            select wallet as id, amount from per_wallet
            union all select 'held:' || account, -amount from per_wallet) as both_sides
           group by id) as d
   where b.id = d.id;
end $$;

create function ledger.close_leases(p_leases uuid[]) returns bigint language plpgsql as $$
declare ids uuid[]; rests bigint[]; refs text[]; total bigint;
begin
  select array_agg(l.id), array_agg(l.granted - l.drawn), array_agg(l.id::text),
         coalesce(sum(l.granted - l.drawn), 0)::bigint
    into ids, rests, refs, total
    from ledger.leases l where l.id = any (p_leases) and l.state = 'open';
  if ids is null then return 0; end if;
  perform ledger.return_credit(ids, rests, 'close', refs);
  update ledger.budgets b set reserved_nanos = b.reserved_nanos - r.amount
    from (select l.account, s ->> 0 as scope, s ->> 1 as period,
                 sum(l.scope_nanos)::bigint as amount
            from ledger.leases l cross join jsonb_array_elements(l.scopes) as s
           where l.id = any (ids) group by 1, 2, 3) as r
   where (b.account, b.scope, b.period) = (r.account, r.scope, r.period);
  update ledger.leases l
     set state = 'closed', closed_at = ledger.now(), closed_seq = nextval('ledger.posting')
   where l.id = any (ids);
  return total;
end $$;

-- Checks the limits of a private reserve and counts it in every scope that has a budget; gives the
-- scopes it was counted in. Either all scopes have room or nothing is reserved.
create function ledger.reserve_budgets(p_account text, p_scopes jsonb, p_amount bigint)
returns jsonb language plpgsql as $$
declare wanted record; known ledger.budgets; counted jsonb := '[]';
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
    if known.spent_nanos + known.reserved_nanos + p_amount > known.limit_nanos then
      raise exception 'budget_exceeded' using errcode = 'PT402',
        detail = greatest(0, known.limit_nanos - known.spent_nanos - known.reserved_nanos)::text,
        hint = wanted.scope || '|' || wanted.period;
    end if;
    update ledger.budgets b set reserved_nanos = b.reserved_nanos + p_amount
     where (b.account, b.scope, b.period) = (p_account, wanted.scope, wanted.period);
    counted := counted || jsonb_build_array(jsonb_build_array(wanted.scope, wanted.period));
  end loop;
  return counted;
end $$;

-- What went past its limit is written down as overage: by a flush of Redis, by a charge that
-- outgrew its hold, by a limit that was lowered. I14 accepts exactly this much.
create function ledger.note_overage(p_accounts text[]) returns void language sql as $$
  update ledger.budgets b
     set overage_nanos = b.spent_nanos + b.reserved_nanos - b.limit_nanos
   where b.account = any (p_accounts)
     and b.spent_nanos + b.reserved_nanos > b.limit_nanos + b.overage_nanos
$$;

create function ledger.scopes_arg(p jsonb) returns jsonb language plpgsql as $$
declare scopes jsonb;
begin
  if coalesce(jsonb_typeof(p -> 'scopes'), 'null') = 'null' then return '[]'; end if;
  scopes := ledger.array_arg(p, 'scopes', 16);
  perform ledger.refuse('invalid_argument', 'scopes must be [scope, period, limit or null]')
     from jsonb_array_elements(scopes) as s
    where jsonb_typeof(s) <> 'array'
       or coalesce(s ->> 0, '') !~ '^[^|]+$' or length(s ->> 0) > 200
       or coalesce(s ->> 1, '') !~ '^[^|]+$' or length(s ->> 1) > 40
       or coalesce(s ->> 2, '0') !~ '^[0-9]+$' or length(s ->> 2) > 16;
  return scopes;
end $$;

-- The epoch comes along, so that a refill also tells a process that its principal is stale.
create function ledger.lease_json(l ledger.leases, p_step bigint, p_at timestamptz) returns jsonb
language sql stable as $$
  select jsonb_build_object('lease', l.id, 'step', p_step,
           'left_ms', ledger.ms_between(p_at, l.expires_at),
           'epoch', (select a.epoch from tenancy.accounts a where a.account = l.account))
$$;

-- The record of a private lease is a message as far as it is known, as an object or as its text.
create function ledger.record_arg(p jsonb) returns jsonb language plpgsql stable as $$
begin
  case coalesce(jsonb_typeof(p -> 'record'), 'null')
    when 'null' then return null;
    when 'object' then return p -> 'record';
    when 'string' then return (p ->> 'record')::jsonb;
    else perform ledger.refuse('invalid_argument', 'record must be an object');
  end case;
exception when invalid_text_representation then
  perform ledger.refuse('invalid_argument', 'record is not JSON');
end $$;

-- Sets aside at least need, if it can want, never more than a quarter of what is available or
-- $50 beyond need. A shared lease is topped up when the newest one lives live_ms longer, else a new
-- one is opened; the caller learns from Redis what is left on the old one and gives it back.
create function api.reserve_credit(jsonb) returns jsonb
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
  free bigint; step bigint; part bigint; rest bigint;
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
  if free < need then
    raise exception 'insufficient_credits'
      using errcode = 'PT402', detail = greatest(free, 0)::text;
  end if;
  step := greatest(need, least(want, free / 4, ledger.step_cap()));

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

create function ledger.enter_lease(p_lease uuid) returns ledger.leases language plpgsql as $$
declare l ledger.leases;
begin
  select * into l from ledger.leases x where x.id = p_lease;
  if not found then
    raise exception 'lease_not_found' using errcode = 'PT404', detail = p_lease::text;
  end if;
  perform ledger.enter(l.account);
  select * into l from ledger.leases x where x.id = p_lease;   -- as it is now that we are inside
  return l;
end $$;

create function api.give_back_credit(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  key text := 'give_back:' || ledger.op_arg($1, 'op_id');
  amount bigint := ledger.int_arg($1, 'amount', 0, ledger.wallet_cap());
  l ledger.leases := ledger.enter_lease(ledger.uuid_arg($1, 'lease'));
  known ledger.lease_ops;
begin
  select * into known from ledger.lease_ops o where o.op_key = key;
  if found then
    if known.lease <> l.id then
      raise exception 'operation_conflict' using errcode = 'PT409', detail = key;
    end if;
    return jsonb_build_object('returned', known.amount);
  end if;
  amount := case when l.state = 'open' then least(amount, l.granted - l.drawn) else 0 end;
  insert into ledger.lease_ops values (key, l.id, amount);
  perform ledger.return_credit(array[l.id], array[amount], 'give_back', array[key]);
  return jsonb_build_object('returned', amount);
end $$;

create function api.close_lease(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare l ledger.leases := ledger.enter_lease(ledger.uuid_arg($1, 'lease'));
begin
  return jsonb_build_object('returned', ledger.close_leases(array[l.id]));
end $$;

-- Accounts with open leases in the order of their names, for the sweeper; the last account of one
-- answer is the "after" of the next, so that many accounts cannot hide some for ever.
create function api.list_sweepable(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  idle_ms bigint := ledger.int_arg($1, 'idle_ms', 0, 7 * 86400000, 300000);
  most bigint := ledger.int_arg($1, 'limit', 1, 10000, 100);
  after text := coalesce($1 ->> 'after', '');
  at timestamptz := ledger.now();
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('account', a.account, 'leases', a.leases,
                              'epoch', (select t.epoch from tenancy.accounts t
                                         where t.account = a.account))
                              order by a.account), '[]')
      from (select l.account, jsonb_agg(jsonb_build_object('lease', l.id, 'private', l.private,
                     'expired_ms', ledger.ms_between(l.expires_at, at),
                     'idle', ledger.ms_between(l.touched_at, at) >= idle_ms,
                     'left_nanos', l.granted - l.drawn, 'record', l.record)
                     order by l.opened_at, l.id) as leases
              from ledger.leases l where l.state = 'open' and l.account > after
             group by l.account order by l.account limit most) as a);
end $$;

-- Makes or changes a limit. Spending counts from the moment the first limit of a scope exists.
create function api.set_budget(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  scope_name text := ledger.text_arg($1, 'scope', '^[^|]+$', 200);
  period_name text := ledger.text_arg($1, 'period', '^[^|]+$', 40);
  most bigint := ledger.int_arg($1, 'limit_nanos', 0, ledger.wallet_cap(), null);
begin
  perform ledger.enter(acct);
  insert into ledger.budgets (account, scope, period, limit_nanos, since_seq)
    values (acct, scope_name, period_name, most, (select last_value from ledger.posting))
    on conflict (account, scope, period) do update set limit_nanos = excluded.limit_nanos;
  perform ledger.note_overage(array[acct]);
  return jsonb_build_object('account', acct, 'scope', scope_name, 'period', period_name,
                            'limit_nanos', most);
end $$;

-- [[scope|period, used], ...] for what Redis lost; used is spent and reserved together.
create function api.load_budgets(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  scopes jsonb := ledger.scopes_arg($1);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_array(b.scope || '|' || b.period,
                                                b.spent_nanos + b.reserved_nanos)
                              order by b.scope, b.period), '[]')
      from ledger.budgets b
     where b.account = acct and (b.scope, b.period) in
           (select s ->> 0, s ->> 1 from jsonb_array_elements(scopes) as s));
end $$;

select ledger.close_doors();
