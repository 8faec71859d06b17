-- Settlement: charge messages become charges, transfers and request rows. A message carries all
-- that is needed, so it may come twice, late or in any order; request_id makes it count once.

-- The fields of a message, v = 1, under their names on the wire.
create type ledger.charge_message as (
  v integer, request_id text, account text, key_id text, team text, end_user text, session text,
  lease uuid, close boolean, scopes jsonb, model text, offer text, provider text,
  price_version text, lines jsonb, charge_nanos bigint, cap_nanos bigint, cost_nanos bigint,
  cost_stated_nanos bigint, outcome text, estimated boolean, finish text, attempts jsonb,
  stream boolean, admitted_at_ms bigint, first_token_ms bigint, total_ms bigint,
  client_request_id text, app text, reason text, writeoff_nanos bigint, digest text);

-- Raises on the first message that must not be posted. The charge has to be the sum of its own
-- lines (or the cap below that sum): this adds up the receipt, it does not price anything.
create function ledger.check_messages(p_messages ledger.charge_message[])
returns void language plpgsql as $$
declare bad record;
begin
  select m.request_id, w.why into bad
    from unnest(p_messages) as m
   cross join lateral (
     select ceil(coalesce(sum((l ->> 1)::numeric * (l ->> 2)::numeric), 0) / 1000000) as total,
            coalesce(bool_and(jsonb_typeof(l -> 0) = 'string'
              and (l ->> 1)::bigint between 0 and 1000000000000000
              and (l ->> 2)::bigint between 0 and 1000000000000000000), true) as sound
       from jsonb_array_elements(coalesce(m.lines, '[]')) as l) as s
   cross join lateral (select case
     when m.v is distinct from 1 then 'v is not 1'
     when coalesce(m.request_id, '') !~ '^req_[0-9A-Za-z_]+$' or length(m.request_id) > 64
          then 'request_id is malformed'
     when m.account is null then 'account is missing'
     when coalesce(length(m.digest), 0) not between 1 and 128 then 'digest is missing'
     when m.outcome is null or m.outcome not in
          ('completed', 'empty', 'failed', 'cut', 'left', 'expired') then 'outcome is unknown'
     when not s.sound then 'lines must be [class, units, price]'
     when m.charge_nanos is null or m.charge_nanos < 0 or m.charge_nanos > ledger.charge_cap()
          then 'charge is out of range'
     when m.charge_nanos <> least(s.total, coalesce(m.cap_nanos, s.total))
          then 'charge is not the sum of its lines'
     when m.outcome in ('failed', 'empty') and m.charge_nanos > 0
          then 'a failed or empty request is free'
     when coalesce(m.writeoff_nanos, 0) not between 0 and ledger.charge_cap()
          then 'writeoff is out of range'
   end as why) as w
   where w.why is not null limit 1;
  if found then perform ledger.refuse('invalid_message', bad.why); end if;
end $$;

create function ledger.check_accounts(p_messages ledger.charge_message[])
returns void language plpgsql as $$
begin
  perform 1 from unnest(p_messages) as m
    where not exists (select 1 from ledger.books b
                       where b.id = 'wallet:' || m.account || ':purchased');
  if found then
    raise exception 'account_not_found' using errcode = 'PT404', detail = 'account is unknown';
  end if;
end $$;

-- One statement for the whole batch. The caller holds the doors of all accounts in it, therefore
-- what is read here about their leases, books and budgets cannot change before the end.
-- Plans are told to go by index: a session keeps a plan that it made when the tables, or the
-- partition of a new month, were empty, and a scan or a hash then costs more with every row.
create function ledger.post_charges(p_messages jsonb) returns jsonb
language plpgsql set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set jit = off as $$
declare
  ms ledger.charge_message[];
  at timestamptz := ledger.now();
  mark bigint := (select last_value from ledger.posting);
  expected integer; posted integer; result jsonb; private_leases uuid[]; accounts text[];
begin
  select array_agg(m) into ms
    from jsonb_populate_recordset(null::ledger.charge_message, p_messages) as m;
  perform ledger.check_messages(ms);

  with m as materialized (
    select x.*, c.digest as known_digest, c.amount as known_amount,
           row_number() over same as nth, first_value(x.digest) over same as first_digest,
           first_value(x.charge_nanos) over same as first_amount
      from unnest(ms) with ordinality as x
      left join ledger.charges c on c.request_id = x.request_id
    window same as (partition by x.request_id order by x.ordinality)
  ), fresh as materialized (
    -- A lease covers its charges in the order of the batch; what it cannot cover, and what comes
    -- after it was closed, falls on the purchased wallet under a name.
    select m.*, l.id as open_lease,
           case when l.id is null then 0 else least(m.charge_nanos, greatest(0,
             l.granted - l.drawn - (sum(m.charge_nanos) over (
               partition by l.id order by m.ordinality) - m.charge_nanos))) end::bigint as held
      from m left join ledger.leases l
        on l.id = m.lease and l.account = m.account and l.state = 'open'
     where m.known_digest is null and m.nth = 1
  ), charged as (
    insert into ledger.charges (request_id, account, lease, amount, from_held, from_wallet, cause,
                                lines, cap, price_version, scopes, outcome, digest, posted_at)
    select f.request_id, f.account, f.lease, f.charge_nanos, f.held, f.charge_nanos - f.held,
           case when f.charge_nanos = f.held then null when f.reason = 'flush' then 'flush'
                when f.lease is null then 'unheld' when f.open_lease is null then 'late'
                else 'overage' end,
           coalesce(f.lines, '[]'), f.cap_nanos, f.price_version, coalesce(f.scopes, '[]'),
           f.outcome, f.digest, at
      from fresh f
      join ledger.books b on b.id = 'wallet:' || f.account || ':purchased'
     order by f.request_id           -- twins of one request_id wait for each other in one order
    on conflict do nothing returning request_id
  ), recorded as (
    insert into ledger.requests
    select f.request_id, f.account, f.key_id, f.team, f.end_user, f.session, f.model, f.offer,
           f.provider, f.price_version, coalesce(f.lines, '[]'), f.cost_nanos, f.cost_stated_nanos,
           f.charge_nanos, f.outcome, coalesce(f.estimated, false), f.finish, f.reason,
           coalesce(f.attempts, '[]'), coalesce(f.stream, false),
           timestamptz 'epoch' + ledger.span(f.admitted_at_ms), f.first_token_ms, f.total_ms,
           left(f.client_request_id, 128), left(f.app, 128), at
      from fresh f
  ), moved as (
    insert into ledger.transfers (id, debit, credit, amount, kind, ref, posted_at)
    select substr(f.request_id, 5) || t.part, t.debit, t.credit, t.amount, t.kind, f.request_id, at
      from fresh f cross join lateral (values
        (':held', 'held:' || f.account, 'revenue:usage', f.held, 'charge'),
        (':wallet', 'wallet:' || f.account || ':purchased', 'revenue:usage',
         f.charge_nanos - f.held, 'charge'),
        (':writeoff', 'writeoff', 'payable:provider', coalesce(f.writeoff_nanos, 0), 'writeoff')
      ) as t(part, debit, credit, amount, kind) where t.amount > 0
  ), drawn as (
    update ledger.leases l set drawn = l.drawn + d.amount, touched_at = at
      from (select open_lease, sum(held)::bigint as amount from fresh
             where open_lease is not null group by open_lease) as d where l.id = d.open_lease
  ), balanced as (
    update ledger.books b set balance = b.balance - d.amount
      from (select t.id, sum(t.amount)::bigint as amount from fresh f cross join lateral (values
              ('held:' || f.account, f.held),
              ('wallet:' || f.account || ':purchased', f.charge_nanos - f.held)) as t(id, amount)
             where t.amount > 0 group by t.id) as d where b.id = d.id
  ), spent as (
    -- a scope that has a limit in one period has it in the next: the row follows with the charge
    insert into ledger.budgets (account, scope, period, limit_nanos, spent_nanos, since_seq)
    select s.account, s.scope, s.period, b.limit_nanos, s.amount, mark
      from (select f.account, p ->> 0 as scope, p ->> 1 as period, sum(f.charge_nanos) as amount
              from fresh f cross join lateral jsonb_array_elements(f.scopes) as p
             where f.charge_nanos > 0 group by 1, 2, 3) as s
     cross join lateral (select x.limit_nanos from ledger.budgets x
              where x.account = s.account and x.scope = s.scope
              order by x.period = s.period desc, x.period desc limit 1) as b
    on conflict (account, scope, period)
      do update set spent_nanos = budgets.spent_nanos + excluded.spent_nanos
  ), conflicts as (
    insert into ledger.conflicts (request_id, digest, message, seen_at)
    select m.request_id, m.digest, to_jsonb(m) - '{known_digest,known_amount,nth}'::text[], at
      from m where m.digest <> coalesce(m.known_digest, m.first_digest)
    on conflict do nothing
  )
  select (select count(*) from fresh), (select count(*) from charged),
         jsonb_agg(jsonb_build_object('request_id', m.request_id,
           'status', case when m.known_digest is null and m.nth = 1 then 'posted'
                          when m.digest = coalesce(m.known_digest, m.first_digest)
                          then 'duplicate' else 'conflict' end,
           'charge_nanos', coalesce(m.known_amount, m.first_amount)) order by m.ordinality),
         array_agg(distinct m.lease) filter (where m.close and m.lease is not null
           and m.digest = coalesce(m.known_digest, m.first_digest)),
         array_agg(distinct m.account) filter (where m.scopes <> '[]')
    into expected, posted, result, private_leases, accounts from m;

  if posted <> expected then
    perform ledger.check_accounts(ms);
    -- the same request_id was settled under another account at this very moment: look again
    raise exception 'request_id_in_use' using errcode = 'serialization_failure';
  end if;
  if private_leases is not null then
    perform ledger.close_leases(array(
      select l.id from ledger.leases l join unnest(ms) as m on m.lease = l.id
       where m.close and l.private and l.account = m.account and l.id = any (private_leases)));
  end if;
  if accounts is not null then perform ledger.note_overage(accounts); end if;
  return result;
end $$;

-- Posts a batch; when it cannot be posted whole, each message alone, so that one bad message harms
-- nobody but itself. Only what the message itself can cause makes it invalid: our refusals, wrong
-- data, a broken constraint. Everything else (deadlock, resources, a read-only standby, shutdown)
-- is raised: nothing is posted and the queue delivers again.
create function api.settle_charges(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  messages jsonb := ledger.array_arg($1, 'messages', 1000);
  message jsonb;
  why text;
  results jsonb := '[]';
begin
  if jsonb_array_length(messages) = 0 then return '[]'; end if;
  -- all doors first and in order: the fallback below must not lock one account after another
  perform ledger.lock_accounts(array(
    select distinct m ->> 'account' from jsonb_array_elements(messages) as m
     where jsonb_typeof(m) = 'object' and m ->> 'account' is not null));
  begin
    return ledger.post_charges(messages);
  exception when others then null;
  end;
  for message in select m from jsonb_array_elements(messages) as m loop
    begin
      results := results || ledger.post_charges(jsonb_build_array(message));
    exception when others then
      get stacked diagnostics why = pg_exception_detail;
      -- 23505: a twin is being settled right now, the next delivery will see it
      if sqlstate = '23505' or left(sqlstate, 2) not in ('PT', '22', '23') then raise; end if;
      results := results || jsonb_build_array(jsonb_build_object(
        'request_id', message -> 'request_id', 'status', 'invalid', 'charge_nanos', 0,
        'error', coalesce(nullif(why, ''), sqlerrm)));
    end;
  end loop;
  return results;
end $$;

select ledger.close_doors();
