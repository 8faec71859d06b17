-- Receipts: what was billed for a request and why, each with the hash of the account's receipt before
-- it. Only hashes are kept; the receipt is made again of the rows it tells of, so a changed row no
-- longer fits its hash. And retention: requests go after the time of their account's plan, their
-- sums, charges and hashes stay.

create table ledger.receipts (
  request_id text collate "C" primary key,
  account    text collate "C" not null,
  number     bigint not null,                      -- of the account, from 1, without gaps
  hash       text collate "C" not null,
  unique (account, number)
);
create table ledger.receipt_heads (
  account text collate "C" primary key references tenancy.accounts,
  seq     bigint not null default 0,
  number  bigint not null default 0,
  hash    text collate "C" not null default repeat('0', 64)
) with (fillfactor = 70);

-- Version 1, for ever: a later form is another function beside it.
create function ledger.receipt_v1(
  r ledger.requests, c ledger.charges, p_number bigint, p_previous text)
returns jsonb language sql stable as $$
  select jsonb_build_object('v', 1, 'number', p_number, 'previous', p_previous,
    'request_id', c.request_id, 'account', c.account, 'key_id', r.key_id, 'model', r.model,
    'offer', r.offer, 'provider', r.provider, 'price_version', c.price_version,
    'lines', c.lines, 'cap_nanos', c.cap, 'charge_nanos', c.amount, 'outcome', c.outcome,
    'estimated', r.estimated, 'finish', r.finish, 'reason', r.reason,
    'route', r.attempts, 'admitted_at_ms', ledger.ms_of(r.admitted_at),
    'posted_at_ms', ledger.ms_of(c.posted_at))
$$;

create function ledger.hash_of(p_body jsonb) returns text language sql immutable as $$
  select encode(sha256(convert_to(p_body::text, 'UTF8')), 'hex')
$$;

-- Extends an account's chain over what was charged since; the number of new receipts.
create function ledger.extend_receipts(p_account text, p_most bigint) returns bigint
language plpgsql set enable_seqscan = off set enable_hashjoin = off set jit = off as $$
declare
  head ledger.receipt_heads;
  due record;
  made bigint := 0;
begin
  insert into ledger.receipt_heads (account) values (p_account) on conflict do nothing;
  select * into head from ledger.receipt_heads h where h.account = p_account for update;
  for due in
    select c, r from ledger.charges c join ledger.requests r on r.request_id = c.request_id
     where c.account = p_account and c.seq > head.seq order by c.seq limit p_most
  loop
    head.number := head.number + 1;
    head.hash := ledger.hash_of(ledger.receipt_v1(due.r, due.c, head.number, head.hash));
    head.seq := (due.c).seq;
    insert into ledger.receipts (request_id, account, number, hash)
      values ((due.c).request_id, p_account, head.number, head.hash);
    made := made + 1;
  end loop;
  update ledger.receipt_heads h set seq = head.seq, number = head.number, hash = head.hash
   where h.account = p_account;
  return made;
end $$;

create function ledger.complete_receipts(p_account text) returns void language plpgsql as $$
begin
  loop exit when ledger.extend_receipts(p_account, 5000) < 5000; end loop;
end $$;

-- {most}: extends the chains of all accounts that were charged: {made}.
create function api.extend_receipts(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  most bigint := ledger.int_arg($1, 'most', 1, 1000000, 50000);
  due record; made bigint := 0; part bigint;
begin
  for due in
    select a.account from tenancy.accounts a
      left join ledger.receipt_heads h on h.account = a.account
     where exists (select 1 from ledger.charges c
                    where c.account = a.account and c.seq > coalesce(h.seq, 0))
     order by a.account
  loop
    loop
      exit when made >= most;
      part := ledger.extend_receipts(due.account, least(5000, most - made));
      made := made + part;
      exit when part = 0;
    end loop;
  end loop;
  return jsonb_build_object('made', made);
end $$;

-- {account, request_id} -> {text, hash, number, intact}: `text` is exactly what was hashed. Null for
-- what is not settled, of another account, or whose details retention took.
create function api.find_receipt(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := ledger.op_arg($1, 'request_id');
  kept ledger.receipts; r ledger.requests; c ledger.charges; previous text; body jsonb;
begin
  perform ledger.complete_receipts(acct);
  select * into kept from ledger.receipts x where x.request_id = wanted and x.account = acct;
  if not found then return null; end if;
  select * into r from ledger.requests x where x.request_id = wanted;
  if not found then return null; end if;
  select * into c from ledger.charges x where x.request_id = wanted;
  select coalesce((select x.hash from ledger.receipts x
                    where x.account = acct and x.number = kept.number - 1), repeat('0', 64))
    into previous;
  body := ledger.receipt_v1(r, c, kept.number, previous);
  return jsonb_build_object('text', body::text, 'hash', kept.hash, 'number', kept.number,
                            'intact', ledger.hash_of(body) = kept.hash);
end $$;

-- ------------------------------------------------------------------ retention

-- How long the details of a request are kept, by plan; a plan that stands nowhere keeps the longest.
create table ledger.retention_terms (plan text primary key, days integer not null check (days > 0));
insert into ledger.retention_terms values
  ('free', 30), ('dev', 90), ('team', 180), ('enterprise', 400);

create function ledger.retention_days(p_account text) returns integer language plpgsql stable as $$
begin
  return coalesce(
    (select t.days from ledger.retention_terms t where t.plan = ledger.plan_of(p_account)),
    (select max(t.days) from ledger.retention_terms t));
end $$;

-- Sums and receipts of everything that goes are made first; one account's rows at a time, so that
-- nobody waits for long. {most}: {deleted, hours, dropped, more}.
create function api.apply_retention(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  most bigint := ledger.int_arg($1, 'most', 1, 10000000, 100000);
  due record; upto text; gone bigint; deleted bigint := 0; hours bigint; dropped integer := 0;
  longest integer := (select max(t.days) from ledger.retention_terms t);
  horizon timestamptz := ledger.now() - longest * interval '1 day';
  part record;
begin
  for due in select a.account, ledger.retention_days(a.account) as days from tenancy.accounts a
              order by a.account
  loop
    exit when deleted >= most;
    upto := ledger.request_id_at(date_trunc('day', ledger.now(), 'UTC')
                                 - due.days * interval '1 day');
    continue when not exists (select 1 from ledger.requests r
                               where r.account = due.account and r.request_id < upto);
    perform ledger.catch_up(due.account);
    perform ledger.complete_receipts(due.account);
    -- what was not folded yet, though older, was charged this moment: it waits for the next run
    delete from ledger.requests r using (
      select x.request_id from ledger.requests x join ledger.charges c using (request_id)
        join ledger.usage_heads h on h.account = x.account
        join ledger.receipt_heads k on k.account = x.account
       where x.account = due.account and x.request_id < upto
         and c.seq <= least(h.seq, k.seq)
       order by x.request_id limit most - deleted) as old
     where r.request_id = old.request_id and r.account = due.account;
    get diagnostics gone = row_count;
    deleted := deleted + gone;
    update ledger.usage_heads h set kept_from = greatest(h.kept_from, case
      when deleted < most then upto
      else coalesce((select min(r.request_id) from ledger.requests r
                      where r.account = due.account), upto) end)
     where h.account = due.account;
  end loop;
  -- months that nobody keeps and that are empty go whole
  for part in
    select c.relname, pg_catalog.pg_get_expr(c.relpartbound, c.oid) as bounds
      from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
     where i.inhparent = 'ledger.requests'::regclass and c.relname ~ '^requests_\d{4}_\d{2}$'
       and substring(pg_catalog.pg_get_expr(c.relpartbound, c.oid) from 'TO \(''([^'']+)''\)')
           <= ledger.request_id_at(horizon)
  loop
    execute format('select count(*) from (select 1 from ledger.%I limit 1) as x', part.relname)
      into gone;
    if gone = 0 then
      execute format('drop table ledger.%I', part.relname);
      dropped := dropped + 1;
    end if;
  end loop;
  delete from ledger.usage_hours u
   where u.starts_at < date_trunc('day', ledger.now(), 'UTC') - ledger.hours_kept();
  get diagnostics hours = row_count;
  return jsonb_build_object('deleted', deleted, 'hours', hours, 'dropped', dropped,
                            'more', deleted >= most);
end $$;

-- A charge needs its row of requests (I15) as long as the account keeps it. The function is changed
-- where it stands, so that whatever else was put into it remains.
do $$
declare
  source text := pg_get_functiondef('ledger.find_violations(bigint)'::regprocedure);
  old text := 'where r.charge_nanos is distinct from p.amount';
begin
  if position(old in source) = 0 then raise exception 'I15 is not where it was'; end if;
  execute replace(source, old, old || '
   and not exists (select 1 from ledger.usage_heads h
                    where h.account = p.account and p.request_id < h.kept_from)');
end $$;

select ledger.close_doors();
