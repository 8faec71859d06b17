-- Accounts, their keys, and credit that comes in. A key is known here by its hash only.
-- Here and in the next files enable_seqscan is off where rows are found by key: sessions keep plans
-- that they made when a table was empty.

create table tenancy.api_keys (
  key_id     text collate "C" primary key,
  account    text collate "C" not null references tenancy.accounts,
  name       text not null,
  hash       bytea not null unique check (octet_length(hash) = 32),
  prefix     text not null,
  limits     jsonb not null default '{}',
  created_at timestamptz not null,
  revoked_at timestamptz
);
create index api_keys_by_account on tenancy.api_keys (account, key_id);

create function api.open_account(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  title text := coalesce(ledger.text_arg($1, 'name', '^.+$', 200), acct);
  raised integer;
begin
  insert into tenancy.accounts (account, name, stage)
    values (acct, title, ledger.text_arg($1, 'stage', '^(live|test|staging|dev)$', 7))
    on conflict do nothing;
  insert into ledger.books (id, kind, account, wallet) values
    ('wallet:' || acct || ':purchased', 'wallet', acct, 'purchased'),
    ('held:' || acct, 'held', acct, null)
    on conflict do nothing;
  select a.epoch into raised from tenancy.accounts a where a.account = acct;
  return jsonb_build_object('account', acct, 'epoch', raised);
end $$;

-- Credit from outside into a wallet, once per key. The same key with another amount or account is
-- a mistake of the caller and is told so; it never moves anything.
create function ledger.credit_wallet(
  p_key text, p_kind text, p_from text, p_account text, p_wallet text, p_amount bigint,
  p_reason text)
returns jsonb language plpgsql as $$
declare known ledger.operations; total bigint;
begin
  perform ledger.enter(p_account);
  select * into known from ledger.operations o where o.op_key = p_key;
  if found then
    if (known.account, known.amount) is distinct from (p_account, p_amount) then
      raise exception 'operation_conflict' using errcode = 'PT409', detail = p_key;
    end if;
  else
    select sum(b.balance) into total from ledger.books b where b.account = p_account;
    if total + p_amount > ledger.wallet_cap() then
      raise exception 'wallet_cap_exceeded' using errcode = 'PT409',
        detail = (ledger.wallet_cap() - total)::text;
    end if;
    -- another account may be using the key at this moment: the primary key decides
    insert into ledger.operations (op_key, account, kind, amount, reason, posted_at)
      values (p_key, p_account, p_kind, p_amount, p_reason, ledger.now());
    perform ledger.post(p_from, p_wallet, p_amount, p_kind, p_key);
  end if;
  return jsonb_build_object('account', p_account, 'posted', known.op_key is null,
    'balance_nanos', (select sum(b.balance) from ledger.books b where b.account = p_account));
exception when unique_violation then
  raise exception 'operation_conflict' using errcode = 'PT409', detail = p_key;
end $$;

-- wallet, ttl_ms and priority open a wallet of their own for credit that lapses; without them the
-- grant joins the purchased credit.
create function api.grant_credit(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  key text := 'grant:' || ledger.op_arg($1, 'op_id');
  amount bigint := ledger.int_arg($1, 'amount_nanos', 1, ledger.wallet_cap());
  kind text := coalesce($1 ->> 'wallet', 'purchased');
  ttl bigint := ledger.int_arg($1, 'ttl_ms', 1, 10 * 366 * 86400000::bigint, null);
begin
  if kind <> 'purchased' then
    perform ledger.text_arg($1, 'wallet', '^[a-z][a-z0-9_-]*$', 32);
    perform ledger.enter(acct);
    insert into ledger.books (id, kind, account, wallet, priority, expires_at)
      values ('wallet:' || acct || ':' || kind, 'wallet', acct, kind,
              ledger.int_arg($1, 'priority', 0, 1000, 50)::smallint,
              ledger.now() + ledger.span(ttl))
      on conflict (id) do nothing;
  end if;
  return ledger.credit_wallet(key, 'grant', 'promo', acct, 'wallet:' || acct || ':' || kind, amount,
                              left($1 ->> 'reason', 200));
end $$;

create function api.post_top_up(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  key text := 'topup:' || ledger.op_arg($1, 'payment');
begin
  return ledger.credit_wallet(key, 'topup', 'cash:stripe', acct,
    'wallet:' || acct || ':purchased',
    ledger.int_arg($1, 'amount_nanos', 1, ledger.wallet_cap()), null);
end $$;

create function api.get_balance(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  at timestamptz := ledger.now();
  free bigint; held bigint; whole bigint; granted bigint;
begin
  select coalesce(sum(b.balance) filter (where b.kind = 'wallet'
                    and (b.expires_at is null or b.expires_at > at)), 0),
         coalesce(sum(b.balance) filter (where b.kind = 'held'), 0), sum(b.balance)
    into free, held, whole from ledger.books b where b.account = acct;
  if whole is null then
    raise exception 'account_not_found' using errcode = 'PT404', detail = acct;
  end if;
  select coalesce(sum(o.amount), 0) into granted from ledger.operations o where o.account = acct;
  -- what came in and is not there any more was charged (I8); no sum over an account's history
  return jsonb_build_object('available_nanos', free, 'held_nanos', held,
    'balance_nanos', free + held, 'granted_nanos', granted, 'charged_nanos', granted - whole);
end $$;

create function api.create_key(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  key text := ledger.op_arg($1, 'key_id');
  digest bytea := decode(ledger.text_arg($1, 'hash', '^[0-9a-f]+$', 64), 'hex');
  made tenancy.api_keys;
  raised integer;
begin
  select a.epoch into raised from tenancy.accounts a where a.account = acct;
  if raised is null then
    raise exception 'account_not_found' using errcode = 'PT404', detail = acct;
  end if;
  insert into tenancy.api_keys (key_id, account, name, hash, prefix, created_at)
    values (key, acct, ledger.text_arg($1, 'name', '^.+$', 200), digest,
            ledger.text_arg($1, 'prefix', '^[!-~]+$', 32), ledger.now())
    on conflict do nothing;
  select * into made from tenancy.api_keys k where k.key_id = key;
  if not found or made.account <> acct or made.hash <> digest then
    raise exception 'key_conflict' using errcode = 'PT409', detail = key;
  end if;
  return jsonb_build_object('key_id', key, 'account', acct, 'name', made.name,
    'prefix', made.prefix, 'epoch', raised, 'created_at_ms', ledger.ms_of(made.created_at),
    'status', case when made.revoked_at is null then 'active' else 'revoked' end);
end $$;

-- A revoked key finds nobody, exactly as one that never was; status is the account's.
create function api.find_principal(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare digest bytea := decode(ledger.text_arg($1, 'hash', '^[0-9a-f]+$', 64), 'hex');
begin
  return (
    select jsonb_build_object('account', k.account, 'key_id', k.key_id, 'name', k.name,
             'prefix', k.prefix, 'epoch', a.epoch, 'stage', a.stage, 'limits', k.limits,
             'account_name', a.name, 'account_limits', a.limits,
             'status', a.status)
      from tenancy.api_keys k join tenancy.accounts a using (account)
     where k.hash = digest and k.revoked_at is null);
end $$;

create function api.list_keys(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('key_id', k.key_id, 'name', k.name,
             'prefix', k.prefix, 'limits', k.limits, 'created_at_ms', ledger.ms_of(k.created_at),
             'status', case when k.revoked_at is null then 'active' else 'revoked' end)
             order by k.created_at, k.key_id), '[]')
      from tenancy.api_keys k where k.account = acct);
end $$;

-- The epoch rises in the same transaction, so a cached principal is stale from the next request.
create function api.revoke_key(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  key text := ledger.op_arg($1, 'key_id');
  raised integer;
begin
  perform 1 from tenancy.api_keys k where k.key_id = key and k.account = acct;
  if not found then raise exception 'key_not_found' using errcode = 'PT404', detail = key; end if;
  update tenancy.api_keys k set revoked_at = ledger.now()
   where k.key_id = key and k.revoked_at is null;
  if found then
    update tenancy.accounts a set epoch = a.epoch + 1 where a.account = acct;
  end if;
  select a.epoch into raised from tenancy.accounts a where a.account = acct;
  return jsonb_build_object('account', acct, 'key_id', key, 'epoch', raised);
end $$;

select ledger.close_doors();
