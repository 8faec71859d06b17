-- The double-entry ledger: tables, the lock order, the one writer of single transfers.
-- Amounts are bigint nano-USD; the balance of a book is the sum of its credits minus its debits.
--
-- Identity and partitions. transfers, charges and requests grow for ever, so they are partitioned
-- by month on their own ids, which are ULID-ordered: a request's rows carry the request's ULID, all
-- other transfers an id minted here. The partition key being the primary key, it is unique over
-- all months: one charge per request_id needs nothing more. Operations that are not requests
-- (reserve, give back, grant, top-up) keep their idempotency keys in two small tables without
-- partitions, lease_ops and operations, because a transfer's id says when and not why.

create table tenancy.accounts (
  account    text collate "C" primary key,
  name       text not null,
  stage      text not null check (stage in ('live', 'test', 'staging', 'dev')),
  status     text not null default 'active' check (status in ('active', 'suspended', 'closed')),
  -- raised whenever a key, role, limit or status changes; a principal with an older one is stale
  epoch      integer not null default 1 check (epoch > 0),
  limits     jsonb not null default '{}',
  created_at timestamptz not null default ledger.now()
);

-- Customers' books store their balance. Books of the house (cash, revenue, promo, ...) are summed
-- over transfers and never stored: a stored balance of revenue would be one row that every
-- settlement in the company waits for.
create table ledger.books (
  id         text collate "C" primary key,
  kind       text not null check (kind in ('wallet', 'held', 'system')),
  account    text collate "C" references tenancy.accounts,
  wallet     text,                                -- purchased, promo, allowance ...
  balance    bigint not null default 0,
  priority   smallint not null default 100,       -- drained from the lowest number up
  expires_at timestamptz,
  check ((kind = 'system') = (account is null)),
  check ((kind = 'wallet') = (wallet is not null)),
  -- only the purchased wallet may go below zero: work already done falls on it, with a named cause
  check (balance >= 0 or wallet is not distinct from 'purchased'),
  check (kind <> 'system' or balance = 0)
) with (fillfactor = 50);                         -- room for updates in place of hot rows
create index books_by_account on ledger.books (account) where account is not null;

insert into ledger.books (id, kind) values
  ('cash:stripe', 'system'), ('revenue:usage', 'system'), ('promo', 'system'),
  ('writeoff', 'system'), ('fees', 'system'), ('payable:provider', 'system');

-- Order of posting. An id tells when a request was admitted; only this number tells what was
-- already there when a checkpoint was taken.
create sequence ledger.posting;
select setval('ledger.posting', 1);

-- No foreign key to books: it would lock the row of revenue:usage for every transfer. The view of
-- violations reports a transfer between unknown books.
create table ledger.transfers (
  id        text collate "C" primary key,
  seq       bigint not null default nextval('ledger.posting'),
  debit     text collate "C" not null,
  credit    text collate "C" not null,
  amount    bigint not null check (amount > 0),
  kind      text not null check (kind in
              ('topup', 'grant', 'reserve', 'give_back', 'close', 'charge', 'writeoff')),
  ref       text collate "C" not null,            -- the operation, request or lease behind it
  posted_at timestamptz not null,
  check (debit <> credit)
) partition by range (id);
create index transfers_by_seq on ledger.transfers (seq);

create table ledger.operations (
  op_key    text collate "C" primary key,         -- topup:{payment} or grant:{op_id}
  seq       bigint not null default nextval('ledger.posting'),
  account   text collate "C" not null,
  kind      text not null check (kind in ('topup', 'grant')),
  amount    bigint not null check (amount > 0),
  reason    text,
  posted_at timestamptz not null
);
create index operations_by_account on ledger.operations (account);

-- A lease is a block moved from an account's wallets to its held book. Redis splits a shared lease
-- into holds; a private lease is one request's hold, with the record the sweeper settles from.
create table ledger.leases (
  id          uuid primary key,
  account     text collate "C" not null references tenancy.accounts,
  granted     bigint not null default 0,          -- net of what was given back
  drawn       bigint not null default 0,
  state       text not null default 'open' check (state in ('open', 'closed')),
  private     boolean not null,
  record      jsonb,
  scopes      jsonb not null default '[]',        -- budgets in which a private lease is reserved
  scope_nanos bigint not null default 0,
  opened_at   timestamptz not null,
  touched_at  timestamptz not null,
  expires_at  timestamptz not null,
  closed_at   timestamptz,
  closed_seq  bigint,
  check (drawn between 0 and granted),
  check ((state = 'closed') = (closed_seq is not null))
) with (fillfactor = 70);
create index leases_open on ledger.leases (account) where state = 'open';
create index leases_closed on ledger.leases (closed_seq) where closed_seq is not null;

create table ledger.lease_ops (
  op_key text collate "C" primary key,            -- reserve:{op_id} or give_back:{op_id}
  lease  uuid not null references ledger.leases,
  amount bigint not null
);

-- Which wallet a lease was filled from, in the order of draining. What comes back goes back in the
-- reverse order, so that credit which lapses first is spent first.
create table ledger.lease_sources (
  lease    uuid not null references ledger.leases,
  position bigint not null default nextval('ledger.posting'),
  wallet   text collate "C" not null references ledger.books,
  amount   bigint not null check (amount >= 0),
  primary key (lease, position)
);

create table ledger.charges (
  request_id    text collate "C" primary key,
  seq           bigint not null default nextval('ledger.posting'),
  account       text collate "C" not null,
  lease         uuid,
  amount        bigint not null check (amount >= 0),
  from_held     bigint not null check (from_held >= 0),
  from_wallet   bigint not null check (from_wallet >= 0),
  cause         text check (cause in ('overage', 'late', 'flush', 'unheld')),
  lines         jsonb not null,                   -- the receipt: [class, units, price per million]
  cap           bigint check (cap >= 0),
  price_version text,
  scopes        jsonb not null default '[]',
  outcome       text not null check (outcome in
                  ('completed', 'empty', 'failed', 'cut', 'left', 'expired')),
  digest        text not null,
  posted_at     timestamptz not null,
  check (from_held + from_wallet = amount),
  check ((from_wallet > 0) = (cause is not null))
) partition by range (request_id);
create index charges_by_seq on ledger.charges (seq);
create index charges_by_lease on ledger.charges (lease) where lease is not null;
create index charges_on_wallet on ledger.charges (account) where from_wallet > 0;

-- A settled request that came again with another content: nothing moves, somebody must look.
create table ledger.conflicts (
  request_id text collate "C" not null,
  digest     text not null,
  message    jsonb not null,
  seen_at    timestamptz not null,
  primary key (request_id, digest)
);

-- One row per admitted request; sizes, ids and timings, never content.
create table ledger.requests (
  request_id        text collate "C" primary key,
  account           text collate "C" not null,
  key_id            text,
  team              text,
  end_user          text,
  session           text,
  model             text,
  offer             text,
  provider          text,
  price_version     text,
  lines             jsonb not null,
  cost_nanos        bigint,
  cost_stated_nanos bigint,
  charge_nanos      bigint not null,
  outcome           text not null,
  estimated         boolean not null,
  finish            text,
  reason            text,
  attempts          jsonb not null,
  stream            boolean not null,
  admitted_at       timestamptz,
  first_token_ms    bigint,
  total_ms          bigint,
  client_request_id text,
  app               text,
  posted_at         timestamptz not null
) partition by range (request_id);
create index requests_by_account on ledger.requests (account, request_id desc);

-- Rows only where a limit exists. Redis counts the live figure; this is the authority behind it.
create table ledger.budgets (
  account        text collate "C" not null references tenancy.accounts,
  scope          text collate "C" not null,
  period         text collate "C" not null,
  limit_nanos    bigint check (limit_nanos >= 0),
  spent_nanos    bigint not null default 0 check (spent_nanos >= 0),
  reserved_nanos bigint not null default 0 check (reserved_nanos >= 0),
  overage_nanos  bigint not null default 0 check (overage_nanos >= 0),   -- beyond the limit, known
  since_seq      bigint not null,                                        -- charges after it count
  primary key (account, scope, period)
) with (fillfactor = 70);

-- Nothing is ever refused for want of a month: what has no partition yet stands in the default
-- one, and prepare_partitions moves it when it makes the month.
create table ledger.transfers_default partition of ledger.transfers default;
create table ledger.charges_default   partition of ledger.charges   default;
create table ledger.requests_default  partition of ledger.requests  default;

create function ledger.prepare_month(p_table text, p_prefix text, p_month timestamptz)
returns boolean language plpgsql as $$
declare
  part text := format('%s_%s', p_table, to_char(p_month at time zone 'UTC', 'YYYY_MM'));
  key  text := case p_table when 'transfers' then 'id' else 'request_id' end;
  next timestamptz := (p_month at time zone 'UTC' + interval '1 month') at time zone 'UTC';
  low  text := p_prefix || ledger.ulid_time(ledger.ms_of(p_month));
  high text := p_prefix || ledger.ulid_time(ledger.ms_of(next));
begin
  if to_regclass('ledger.' || part) is not null then return false; end if;
  execute format('create table ledger.%I (like ledger.%I including all)', part, p_table);
  execute format('alter table ledger.%I enable row level security', part);
  execute format('with moved as (delete from ledger.%I where %I >= %L and %I < %L returning *)
                  insert into ledger.%I select * from moved',
                 p_table || '_default', key, low, key, high, part);
  execute format('alter table ledger.%I attach partition ledger.%I for values from (%L) to (%L)',
                 p_table, part, low, high);
  return true;
end $$;

create function api.prepare_partitions(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  first_day timestamptz := date_trunc('month', ledger.now() at time zone 'UTC') at time zone 'UTC';
  month timestamptz;
  made integer := 0;
begin
  -- keeps writers out while rows move from the default partition; two callers wait for each other
  lock table ledger.books in share row exclusive mode;
  for ahead in 0 .. 2 loop
    month := ((first_day at time zone 'UTC') + ahead * interval '1 month') at time zone 'UTC';
    made := made + ledger.prepare_month('transfers', '', month)::integer
                 + ledger.prepare_month('charges', 'req_', month)::integer
                 + ledger.prepare_month('requests', 'req_', month)::integer;
  end loop;
  return jsonb_build_object('made', made);
end $$;

-- The lock order of every function that moves money: first the table (so that a checkpoint or a
-- new partition can keep all writers out), then one door row per account, the purchased wallet, in
-- order of id. Whoever holds the door owns all other rows of the account, so there is no second
-- order to get wrong. NO KEY UPDATE, because foreign keys to books lock FOR KEY SHARE.
create function ledger.lock_accounts(p_accounts text[]) returns void language plpgsql as $$
begin
  lock table ledger.books in row exclusive mode;
  perform 1 from ledger.books b
    where b.id = any (select 'wallet:' || a || ':purchased' from unnest(p_accounts) as a)
    order by b.id for no key update;
end $$;

create function ledger.enter(p_account text) returns void language plpgsql as $$
begin
  lock table ledger.books in row exclusive mode;
  perform 1 from ledger.books b
    where b.id = 'wallet:' || p_account || ':purchased' for no key update;
  if not found then
    raise exception 'account_not_found' using errcode = 'PT404', detail = p_account;
  end if;
end $$;

-- One transfer between two books, with the stored balances of those that store one.
create function ledger.post(p_debit text, p_credit text, p_amount bigint, p_kind text, p_ref text)
returns void language plpgsql as $$
declare at timestamptz := ledger.now();
begin
  if p_amount = 0 then return; end if;
  insert into ledger.transfers (id, debit, credit, amount, kind, ref, posted_at)
    values (ledger.new_ulid(at), p_debit, p_credit, p_amount, p_kind, p_ref, at);
  update ledger.books set balance = balance + case id when p_debit then -p_amount else p_amount end
   where id in (p_debit, p_credit) and kind <> 'system';
end $$;

select api.prepare_partitions('{}');
select ledger.close_doors();
