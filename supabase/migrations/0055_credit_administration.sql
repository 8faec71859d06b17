-- Credit given or taken by staff: capped per order and per day, and above a threshold only with a
-- second person. An order is written first and posts once; the record is a view of the ledger.

insert into ledger.books (id, kind) values ('credit_notes', 'system') on conflict do nothing;

create table ledger.credit_orders (
  order_id   text collate "C" primary key,
  account    text collate "C" not null references tenancy.accounts,
  kind       text not null check (kind in ('grant', 'adjustment', 'credit_note')),
  amount     bigint not null check (amount <> 0),
  reason     text not null check (reason <> ''),
  request_id text collate "C",                 -- whose charge a credit note takes back
  actor      text not null,
  status     text not null default 'pending' check (status in ('pending', 'posted', 'rejected')),
  decided_by text,
  created_at timestamptz not null,
  decided_at timestamptz,
  check (kind <> 'grant' or amount > 0),
  check ((kind = 'credit_note') = (request_id is not null)),
  check (kind <> 'credit_note' or amount > 0),
  check ((status = 'pending') = (decided_at is null))
);
create index credit_orders_by_actor on ledger.credit_orders (actor, created_at);
create index credit_orders_open on ledger.credit_orders (created_at) where status = 'pending';
create index credit_orders_by_request on ledger.credit_orders (request_id)
  where request_id is not null;
create index operations_by_time on ledger.operations (account, posted_at desc, seq desc);

create function ledger.order_json(o ledger.credit_orders) returns jsonb language sql stable as $$
  select jsonb_build_object('order_id', o.order_id, 'account', o.account, 'kind', o.kind,
    'amount_nanos', o.amount, 'reason', o.reason, 'request_id', o.request_id, 'actor', o.actor,
    'status', o.status, 'decided_by', o.decided_by, 'created_at_ms', ledger.ms_of(o.created_at),
    'decided_at_ms', ledger.ms_of(o.decided_at),
    'balance_nanos', (select coalesce(sum(b.balance), 0)::bigint from ledger.books b
                       where b.account = o.account))
$$;

-- A credit note takes back no more than was charged, however many there are.
create function ledger.check_credit_note(o ledger.credit_orders) returns void
language plpgsql stable as $$
declare charged bigint; noted bigint;
begin
  select c.amount into charged from ledger.charges c
   where c.request_id = o.request_id and c.account = o.account;
  if charged is null then
    raise exception 'charge_not_found' using errcode = 'PT404', detail = o.request_id;
  end if;
  select coalesce(sum(x.amount), 0) into noted from ledger.credit_orders x
   where x.request_id = o.request_id and x.order_id <> o.order_id and x.status <> 'rejected';
  if noted + o.amount > charged then
    raise exception 'more_than_charged' using errcode = 'PT409', detail = (charged - noted)::text;
  end if;
end $$;

create function ledger.post_order(o ledger.credit_orders, p_decided_by text)
returns ledger.credit_orders language plpgsql as $$
declare has bigint;
begin
  select b.balance into has from ledger.books b
   where b.id = 'wallet:' || o.account || ':purchased';
  if o.amount < 0 and has + o.amount < 0 then
    raise exception 'balance_too_low' using errcode = 'PT409', detail = greatest(has, 0)::text;
  end if;
  perform ledger.operate('order:' || o.order_id, o.kind, o.account, 'purchased',
                         case o.kind when 'credit_note' then 'credit_notes' else 'promo' end,
                         o.amount, o.reason, o.actor);
  update ledger.credit_orders x
     set status = 'posted', decided_by = p_decided_by, decided_at = ledger.now()
   where x.order_id = o.order_id returning * into o;
  return o;
end $$;

-- {order_id, account, kind, amount_nanos, reason, actor, request_id?, each_most, day_most,
--  second_from}: amounts without a sign are compared. What one person gives in a UTC day, waiting
-- orders included, stays within day_most.
create function api.order_credit(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  o ledger.credit_orders;
  known ledger.credit_orders;
  given bigint;
  day_start timestamptz := date_trunc('day', ledger.now() at time zone 'UTC') at time zone 'UTC';
begin
  o.order_id := ledger.op_arg($1, 'order_id');
  o.account := ledger.account_arg($1);
  o.kind := ledger.text_arg($1, 'kind', '^(grant|adjustment|credit_note)$', 20);
  o.amount := ledger.int_arg($1, 'amount_nanos', -ledger.wallet_cap(), ledger.wallet_cap());
  o.reason := ledger.text_arg($1, 'reason', '^.+$', 200);
  o.actor := ledger.text_arg($1, 'actor', '^.+$', 100);
  o.request_id := $1 ->> 'request_id';
  -- one order of a person at a time, or two at once would each see room for itself
  perform pg_advisory_xact_lock(hashtextextended('credit_orders:' || o.actor, 0));
  perform ledger.enter(o.account);
  select * into known from ledger.credit_orders x where x.order_id = o.order_id;
  if found then
    if (known.account, known.kind, known.amount, known.actor)
       is distinct from (o.account, o.kind, o.amount, o.actor) then
      raise exception 'operation_conflict' using errcode = 'PT409', detail = o.order_id;
    end if;
    return ledger.order_json(known) || '{"known":true}';
  end if;
  if o.amount = 0 then perform ledger.refuse('invalid_amount', 'amount must not be 0'); end if;
  if abs(o.amount) > ledger.int_arg($1, 'each_most', 0, ledger.wallet_cap()) then
    raise exception 'grant_cap_exceeded' using errcode = 'PT403', detail = ($1 ->> 'each_most');
  end if;
  select coalesce(sum(abs(x.amount)), 0) into given from ledger.credit_orders x
   where x.actor = o.actor and x.created_at >= day_start and x.status <> 'rejected';
  if given + abs(o.amount) > ledger.int_arg($1, 'day_most', 0, ledger.wallet_cap()) then
    raise exception 'daily_grant_cap_exceeded' using errcode = 'PT403',
      detail = (($1 ->> 'day_most')::bigint - given)::text;
  end if;
  insert into ledger.credit_orders (order_id, account, kind, amount, reason, request_id, actor,
                                    created_at)
    values (o.order_id, o.account, o.kind, o.amount, o.reason, o.request_id, o.actor,
            ledger.now())
    returning * into o;
  if o.kind = 'credit_note' then perform ledger.check_credit_note(o); end if;
  if abs(o.amount) <= ledger.int_arg($1, 'second_from', 0, ledger.wallet_cap()) then
    o := ledger.post_order(o, o.actor);
  end if;
  return ledger.order_json(o);
exception when unique_violation then
  raise exception 'operation_conflict' using errcode = 'PT409', detail = $1 ->> 'order_id';
end $$;

-- {order_id, actor, approve}: the second person is another one than the first.
create function api.decide_credit_order(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  wanted text := ledger.op_arg($1, 'order_id');
  who text := ledger.text_arg($1, 'actor', '^.+$', 100);
  approve boolean := coalesce(($1 -> 'approve') = 'true', false);
  o ledger.credit_orders;
begin
  select * into o from ledger.credit_orders x where x.order_id = wanted;
  if not found then
    raise exception 'credit_order_not_found' using errcode = 'PT404', detail = wanted;
  end if;
  perform ledger.enter(o.account);
  select * into o from ledger.credit_orders x where x.order_id = wanted;
  if o.status <> 'pending' then
    raise exception 'credit_order_decided' using errcode = 'PT409', detail = o.status;
  end if;
  if approve and o.actor = who then
    raise exception 'second_person_needed' using errcode = 'PT403', detail = who;
  end if;
  if approve then
    o := ledger.post_order(o, who);
  else
    update ledger.credit_orders x
       set status = 'rejected', decided_by = who, decided_at = ledger.now()
     where x.order_id = wanted returning * into o;
  end if;
  return ledger.order_json(o);
end $$;

create function api.list_credit_orders(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare most bigint := ledger.int_arg($1, 'limit', 1, 1000, 100);
begin
  return (
    select coalesce(jsonb_agg(ledger.order_json(o) order by o.created_at desc, o.order_id), '[]')
      from (select * from ledger.credit_orders x
             where x.status = coalesce($1 ->> 'status', x.status)
             order by x.created_at desc, x.order_id limit most) as o);
end $$;

-- Movements with every filter at once: {account?, kinds?, since_ms?, until_ms?, least_nanos?,
-- most_nanos? (both without sign), way: in|out|both, order: newest|oldest|largest|smallest, limit,
-- offset} → {rows, total, in_nanos, out_nanos, kinds: [{kind, number, nanos}]}, the sums over all
-- that fit.
create function api.search_operations(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  acct text := case when coalesce(jsonb_typeof($1 -> 'account'), 'null') = 'null' then null
                    else ledger.account_arg($1) end;
  how text := coalesce($1 ->> 'order', 'newest');
  way text := coalesce($1 ->> 'way', 'both');
  most bigint := ledger.int_arg($1, 'limit', 1, 10000, 50);
  skip bigint := ledger.int_arg($1, 'offset', 0, 1000000, 0);
  since timestamptz := timestamptz 'epoch' + ledger.span(
    ledger.int_arg($1, 'since_ms', 0, 253402300799000, 0));
  upto timestamptz := timestamptz 'epoch' + ledger.span(
    ledger.int_arg($1, 'until_ms', 0, 253402300799000, 253402300799000));
  least_one bigint := ledger.int_arg($1, 'least_nanos', 0, 9007199254740991, 0);
  most_one bigint := ledger.int_arg($1, 'most_nanos', 0, 9007199254740991, 9007199254740991);
  kinds text[] := case when coalesce(jsonb_typeof($1 -> 'kinds'), 'null') = 'null' then null
                  else array(select jsonb_array_elements_text(ledger.array_arg($1, 'kinds', 32)))
                  end;
begin
  return (
    with fitting as materialized (
      select o.* from ledger.operations o
       where (acct is null or o.account = acct) and (kinds is null or o.kind = any (kinds))
         and o.posted_at >= since and o.posted_at <= upto
         and abs(o.amount) between least_one and most_one
         and (way = 'both' or (way = 'in') = (o.amount > 0))
    ), page as (
      select f.*, row_number() over (
               order by case how when 'largest' then -f.amount when 'smallest' then f.amount end,
                        case when how = 'oldest' then f.seq else -f.seq end) as place
        from fitting f
    )
    select jsonb_build_object(
      'rows', (select coalesce(jsonb_agg(jsonb_build_object('position', p.seq, 'id', p.op_key,
                        'account', p.account, 'kind', p.kind, 'amount_nanos', p.amount,
                        'wallet', p.wallet, 'reason', p.reason, 'actor', p.actor,
                        'balance_after_nanos', p.balance_after,
                        'posted_at_ms', ledger.ms_of(p.posted_at)) order by p.place), '[]')
                 from page p where p.place > skip and p.place <= skip + most),
      'total', (select count(*) from fitting),
      'in_nanos', (select coalesce(sum(f.amount) filter (where f.amount > 0), 0)::bigint
                     from fitting f),
      'out_nanos', (select coalesce(-sum(f.amount) filter (where f.amount < 0), 0)::bigint
                      from fitting f),
      'kinds', (select coalesce(jsonb_agg(jsonb_build_object('kind', k.kind, 'number', k.number,
                         'nanos', k.nanos) order by k.kind), '[]')
                  from (select f.kind, count(*) as number, sum(f.amount)::bigint as nanos
                          from fitting f group by f.kind) as k)));
end $$;

-- What was charged, in the same words: {account?, since_ms?, until_ms?, limit, offset} → rows.
create function api.list_usage(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  most bigint := ledger.int_arg($1, 'limit', 1, 10000, 50);
  skip bigint := ledger.int_arg($1, 'offset', 0, 1000000, 0);
  since bigint := ledger.int_arg($1, 'since_ms', 0, 253402300799000, 0);
  upto bigint := ledger.int_arg($1, 'until_ms', 0, 253402300799000, 253402300799000);
begin
  return (
    with fitting as materialized (
      select r.request_id, r.model, r.charge_nanos, r.posted_at from ledger.requests r
       where r.account = acct and r.charge_nanos > 0
         and r.posted_at >= timestamptz 'epoch' + ledger.span(since)
         and r.posted_at <= timestamptz 'epoch' + ledger.span(upto)
    )
    select jsonb_build_object(
      'rows', (select coalesce(jsonb_agg(jsonb_build_object('id', x.request_id,
                 'model', x.model, 'charge_nanos', x.charge_nanos,
                 'posted_at_ms', ledger.ms_of(x.posted_at)) order by x.request_id desc), '[]')
                 from (select * from fitting f order by f.request_id desc
                        limit most offset skip) as x),
      'total', (select count(*) from fitting),
      'out_nanos', (select coalesce(sum(f.charge_nanos), 0)::bigint from fitting f)));
end $$;

-- The house as a whole: {since_ms?, until_ms?}: what came, what went, what customers hold.
create function api.summarize_credit(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  since timestamptz := timestamptz 'epoch' + ledger.span(
    ledger.int_arg($1, 'since_ms', 0, 253402300799000, 0));
  upto timestamptz := timestamptz 'epoch' + ledger.span(
    ledger.int_arg($1, 'until_ms', 0, 253402300799000, 253402300799000));
begin
  return jsonb_build_object(
    'accounts', (select count(*) from tenancy.accounts),
    'held_nanos', (select coalesce(sum(b.balance), 0)::bigint from ledger.books b
                    where b.account is not null),
    'below_zero', (select count(*) from ledger.books b
                    where b.kind = 'wallet' and b.balance < 0),
    'charged_nanos', (select coalesce(sum(c.amount), 0)::bigint from ledger.charges c
                       where c.posted_at between since and upto),
    'kinds', (select coalesce(jsonb_agg(to_jsonb(k) order by k.kind), '[]')
                from (select o.kind, count(*) as number, sum(o.amount)::bigint as nanos
                        from ledger.operations o where o.posted_at between since and upto
                       group by o.kind) as k),
    'pending_orders', (select count(*) from ledger.credit_orders x where x.status = 'pending'));
end $$;

select ledger.close_doors();
