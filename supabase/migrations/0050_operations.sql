-- Every movement between an account and the world besides charges is an operation: once per key,
-- with a sign. What an account holds is the sum of its operations less its charges (I8).

create index operations_in_order on ledger.operations (seq desc);
alter table ledger.operations
  drop constraint operations_kind_check,
  drop constraint operations_amount_check,
  add column wallet text collate "C" not null default 'purchased',
  add column actor text,
  add column balance_after bigint,               -- of the whole account, holds included
  add constraint operations_amount_check check (amount <> 0),
  add constraint operations_kind_check check (kind in (
    'topup', 'grant', 'bonus', 'coupon', 'referral', 'trial', 'allowance', 'adjustment',
    'refund', 'refund_failed', 'dispute', 'dispute_won', 'clawback', 'expiry', 'credit_note'));

alter table ledger.transfers
  drop constraint transfers_kind_check,
  add constraint transfers_kind_check check (kind in (
    'topup', 'grant', 'bonus', 'coupon', 'referral', 'trial', 'allowance', 'adjustment',
    'refund', 'refund_failed', 'dispute', 'dispute_won', 'clawback', 'expiry', 'credit_note',
    'reserve', 'give_back', 'close', 'charge', 'writeoff', 'fee', 'tax', 'subscription'));

insert into ledger.books (id, kind) values
  ('tax:collected', 'system'), ('revenue:subscriptions', 'system') on conflict do nothing;

-- One operation between a book of the house and one wallet: a positive amount comes in, a negative
-- one goes out. The same key with other facts is a mistake and moves nothing. The caller holds the
-- account's door.
create function ledger.operate(
  p_key text, p_kind text, p_account text, p_wallet text, p_book text, p_amount bigint,
  p_reason text, p_actor text)
returns boolean language plpgsql as $$
declare known ledger.operations; total numeric; wallet_book text;
begin
  select * into known from ledger.operations o where o.op_key = p_key;
  if found then
    if (known.account, known.kind, known.amount, known.wallet)
       is distinct from (p_account, p_kind, p_amount, p_wallet) then
      raise exception 'operation_conflict' using errcode = 'PT409', detail = p_key;
    end if;
    return false;
  end if;
  select sum(b.balance) into total from ledger.books b where b.account = p_account;
  if p_amount > 0 and total + p_amount > ledger.wallet_cap() then
    raise exception 'wallet_cap_exceeded' using errcode = 'PT409',
      detail = (ledger.wallet_cap() - total)::text;
  end if;
  wallet_book := 'wallet:' || p_account || ':' || p_wallet;
  insert into ledger.operations (op_key, account, kind, amount, wallet, reason, actor,
                                 balance_after, posted_at)
    values (p_key, p_account, p_kind, p_amount, p_wallet, left(p_reason, 200), left(p_actor, 100),
            total + p_amount, ledger.now());
  if p_amount > 0 then
    perform ledger.post(p_book, wallet_book, p_amount, p_kind, p_key);
  else
    perform ledger.post(wallet_book, p_book, -p_amount, p_kind, p_key);
  end if;
  return true;
exception when unique_violation then
  raise exception 'operation_conflict' using errcode = 'PT409', detail = p_key;
end $$;

-- A wallet for credit that lapses; one that exists keeps its terms.
create function ledger.open_wallet(
  p_account text, p_wallet text, p_priority integer, p_expires_at timestamptz)
returns void language sql as $$
  insert into ledger.books (id, kind, account, wallet, priority, expires_at)
    values ('wallet:' || p_account || ':' || p_wallet, 'wallet', p_account, p_wallet,
            p_priority::smallint, p_expires_at)
    on conflict (id) do nothing
$$;

create or replace function ledger.credit_wallet(
  p_key text, p_kind text, p_from text, p_account text, p_wallet text, p_amount bigint,
  p_reason text)
returns jsonb language plpgsql as $$
declare posted boolean;
begin
  perform ledger.enter(p_account);
  posted := ledger.operate(p_key, p_kind, p_account, split_part(p_wallet, ':', 3), p_from,
                           p_amount, p_reason, null);
  return jsonb_build_object('account', p_account, 'posted', posted,
    'balance_nanos', (select sum(b.balance) from ledger.books b where b.account = p_account));
end $$;

-- Takes what is left in wallets whose time is over. What a lease still holds comes back to its
-- wallet first and goes at the next run.
create function api.expire_wallets(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  most bigint := ledger.int_arg($1, 'limit', 1, 10000, 1000);
  due record; taken bigint; total bigint := 0; wallets integer := 0;
begin
  for due in
    select b.id, b.account, b.wallet from ledger.books b
     where b.kind = 'wallet' and b.expires_at <= ledger.now() and b.balance > 0
     order by b.account, b.id limit most
  loop
    perform ledger.enter(due.account);
    select b.balance into taken from ledger.books b where b.id = due.id;
    continue when taken <= 0;
    perform ledger.operate('expiry:' || due.account || ':' || due.wallet || ':'
                             || nextval('ledger.posting'),
                           'expiry', due.account, due.wallet, 'promo', -taken, null, null);
    total := total + taken;
    wallets := wallets + 1;
  end loop;
  return jsonb_build_object('wallets', wallets, 'expired_nanos', total);
end $$;

-- Newest first. `kinds` and the times filter; `before` is the `position` of the last row seen.
create function api.list_operations(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := case when coalesce(jsonb_typeof($1 -> 'account'), 'null') = 'null' then null
                    else ledger.account_arg($1) end;
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 50);
  before bigint := ledger.int_arg($1, 'before', 1, 9007199254740991, 9007199254740991);
  since bigint := ledger.int_arg($1, 'since_ms', 0, 9007199254740991, 0);
  upto bigint := ledger.int_arg($1, 'until_ms', 0, 9007199254740991, 253402300799000);
  kinds text[] := case when coalesce(jsonb_typeof($1 -> 'kinds'), 'null') = 'null' then null
                  else array(select jsonb_array_elements_text(ledger.array_arg($1, 'kinds', 32)))
                  end;
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(r) order by r.position desc), '[]')
      from (select o.seq as position, o.op_key as id, o.account, o.kind, o.amount as amount_nanos,
                   o.wallet, o.reason, o.actor, o.balance_after as balance_after_nanos,
                   ledger.ms_of(o.posted_at) as posted_at_ms
              from ledger.operations o
             where (acct is null or o.account = acct) and o.seq < before
               and (kinds is null or o.kind = any (kinds))
               and o.posted_at >= timestamptz 'epoch' + ledger.span(since)
               and o.posted_at <= timestamptz 'epoch' + ledger.span(upto)
             order by o.seq desc limit most) as r);
end $$;

select ledger.close_doors();
