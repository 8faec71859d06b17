-- Credit that nobody paid for: coupons, the first top-up's bonus, referrals.
--
-- Bonus and referral are functions of what is paid and stays paid: `sync_rewards` compares what
-- should be there with what is, and posts the difference. So a refund takes them back, and the
-- order of payments and refunds decides nothing.

create table ledger.coupons (
  code        text collate "C" primary key check (code ~ '^[A-Z0-9_-]{3,50}$'),
  value_nanos bigint not null check (value_nanos between 1 and 1000 * 1000000000::bigint),
  scope       text not null check (scope in ('global', 'user_specific')),
  assigned_to text collate "C" references tenancy.accounts,
  max_uses    integer not null check (max_uses > 0),
  times_used  integer not null default 0 check (times_used between 0 and max_uses),
  valid_from  timestamptz not null,
  valid_until timestamptz not null check (valid_until > valid_from),
  credit_ttl  interval,                    -- the credit itself lapses after this, if ever
  active      boolean not null default true,
  type        text not null default 'promotional',
  description text,
  created_by  text not null,
  created_at  timestamptz not null,
  check ((scope = 'user_specific') = (assigned_to is not null)),
  check (scope = 'global' or max_uses = 1)
);

create table ledger.coupon_redemptions (
  code        text collate "C" not null references ledger.coupons,
  account     text collate "C" not null references tenancy.accounts,
  value_nanos bigint not null check (value_nanos > 0),
  redeemed_at timestamptz not null,
  primary key (code, account)
);
create index redemptions_by_account on ledger.coupon_redemptions (account, redeemed_at desc);

-- Codes that were guessed: so many in an hour and no more are looked up.
create table ledger.coupon_guesses (
  account text collate "C" primary key references tenancy.accounts,
  since   timestamptz not null,
  number  integer not null
);
create function ledger.most_guesses() returns integer language sql immutable as $$ select 20 $$;

create table ledger.referral_codes (
  account text collate "C" primary key references tenancy.accounts,
  code    text collate "C" not null unique check (code ~ '^[A-Z0-9]{8}$')
);

create table ledger.referrals (
  referee     text collate "C" primary key references tenancy.accounts,
  referrer    text collate "C" not null references tenancy.accounts,
  code        text collate "C" not null,
  created_at  timestamptz not null,
  check (referee <> referrer)
);
create index referrals_by_referrer on ledger.referrals (referrer);

create function ledger.referral_cap() returns integer language sql immutable as $$ select 10 $$;

create function ledger.coupon_json(c ledger.coupons) returns jsonb language sql stable as $$
  select jsonb_build_object('code', c.code, 'value_nanos', c.value_nanos, 'scope', c.scope,
    'assigned_to', c.assigned_to, 'max_uses', c.max_uses, 'times_used', c.times_used,
    'remaining_uses', c.max_uses - c.times_used, 'active', c.active, 'type', c.type,
    'description', c.description, 'created_by', c.created_by,
    'valid_from_ms', ledger.ms_of(c.valid_from), 'valid_until_ms', ledger.ms_of(c.valid_until),
    'expired', c.valid_until <= ledger.now(), 'created_at_ms', ledger.ms_of(c.created_at))
$$;

create function api.create_coupon(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  wanted text := upper(ledger.text_arg($1, 'code', '^[A-Za-z0-9_-]+$', 50));
  assigned text := $1 ->> 'assigned_to';
  starts timestamptz := ledger.now() + ledger.span(
    ledger.int_arg($1, 'starts_in_ms', 0, 366 * 86400000::bigint, 0));
  life bigint := ledger.int_arg($1, 'valid_ms', 1, 10 * 366 * 86400000::bigint);
  credit_ttl bigint := ledger.int_arg($1, 'credit_ttl_ms', 1, 10 * 366 * 86400000::bigint, null);
  made ledger.coupons;
begin
  if length(wanted) < 3 then perform ledger.refuse('invalid_argument', 'code is too short'); end if;
  if assigned is not null
     and not exists (select 1 from tenancy.accounts a where a.account = assigned) then
    raise exception 'account_not_found' using errcode = 'PT404', detail = assigned;
  end if;
  insert into ledger.coupons (code, value_nanos, scope, assigned_to, max_uses, valid_from,
                              valid_until, credit_ttl, type, description, created_by, created_at)
    values (wanted, ledger.int_arg($1, 'value_nanos', 1, 1000 * 1000000000::bigint),
            case when assigned is null then 'global' else 'user_specific' end, assigned,
            ledger.int_arg($1, 'max_uses', 1, case when assigned is null then 1000000 else 1 end, 1),
            starts, starts + ledger.span(life), ledger.span(credit_ttl),
            coalesce($1 ->> 'type', 'promotional'), left($1 ->> 'description', 200),
            ledger.text_arg($1, 'actor', '^.+$', 100), ledger.now())
    on conflict do nothing returning * into made;
  if made.code is null then
    raise exception 'coupon_exists' using errcode = 'PT409', detail = wanted;
  end if;
  return ledger.coupon_json(made);
end $$;

create function api.change_coupon(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  wanted text := upper(ledger.text_arg($1, 'code', '^[A-Za-z0-9_-]+$', 50));
  life bigint := ledger.int_arg($1, 'valid_ms', 0, 10 * 366 * 86400000::bigint, null);
  made ledger.coupons;
begin
  update ledger.coupons c
     set valid_until = case when life is null then c.valid_until else
                         greatest(ledger.now() + ledger.span(life),
                                  c.valid_from + interval '1 millisecond') end,
         max_uses = greatest(c.times_used, ledger.int_arg($1, 'max_uses', 1, 1000000, c.max_uses)),
         active = coalesce(($1 ->> 'active')::boolean, c.active),
         description = coalesce(left($1 ->> 'description', 200), c.description)
   where c.code = wanted returning * into made;
  if not found then
    raise exception 'coupon_not_found' using errcode = 'PT404', detail = wanted;
  end if;
  return ledger.coupon_json(made);
end $$;

create function api.list_coupons(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 100);
  skip bigint := ledger.int_arg($1, 'offset', 0, 1000000, 0);
begin
  return (
    select coalesce(jsonb_agg(ledger.coupon_json(c) order by c.created_at desc, c.code), '[]')
      from (select * from ledger.coupons x
             where ($1 ->> 'code' is null or x.code = upper($1 ->> 'code'))
             order by x.created_at desc, x.code limit most offset skip) as c);
end $$;

-- Those that this account could redeem now.
create function api.list_open_coupons(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare acct text := ledger.account_arg($1);
begin
  return (
    select coalesce(jsonb_agg(ledger.coupon_json(c) order by c.valid_until, c.code), '[]')
      from ledger.coupons c
     where c.active and c.valid_from <= ledger.now() and c.valid_until > ledger.now()
       and c.times_used < c.max_uses and c.assigned_to = acct
       and not exists (select 1 from ledger.coupon_redemptions r
                        where r.code = c.code and r.account = acct));
end $$;

create function api.list_redemptions(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('code', r.code, 'account', r.account,
             'value_nanos', r.value_nanos, 'redeemed_at_ms', ledger.ms_of(r.redeemed_at))
             order by r.redeemed_at desc, r.code), '[]')
      from ledger.coupon_redemptions r
     where ($1 ->> 'account' is not null and r.account = $1 ->> 'account')
        or ($1 ->> 'account' is null and r.code = upper($1 ->> 'code')));
end $$;

-- A refusal is an answer with a code, in this order of checks, and moves nothing. The coupon's row
-- is locked after the account's door, always in that order.
create function api.redeem_coupon(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := upper(ledger.text_arg($1, 'code', '^.+$', 50));
  c ledger.coupons;
  at timestamptz := ledger.now();
  target text := 'purchased';
  why text;
  before bigint;
begin
  perform ledger.enter(acct);
  delete from ledger.coupon_guesses g where g.account = acct and g.since <= at - interval '1 hour';
  select * into c from ledger.coupons x where x.code = wanted for update;
  why := case
    when exists (select 1 from ledger.coupon_guesses g
                  where g.account = acct and g.number >= ledger.most_guesses())
         then 'TOO_MANY_ATTEMPTS'
    when c.code is null then 'COUPON_NOT_FOUND'
    when not c.active then 'COUPON_INACTIVE'
    when c.valid_from > at then 'COUPON_NOT_YET_ACTIVE'
    when c.valid_until <= at then 'COUPON_EXPIRED'
    when c.assigned_to is not null and c.assigned_to <> acct then 'COUPON_NOT_ASSIGNED'
    when exists (select 1 from ledger.coupon_redemptions r
                  where r.code = c.code and r.account = acct)
         and c.max_uses > 1 then 'ALREADY_REDEEMED'
    when c.times_used >= c.max_uses then
      case when exists (select 1 from ledger.coupon_redemptions r
                         where r.code = c.code and r.account = acct)
           then 'ALREADY_REDEEMED' else 'MAX_USES_EXCEEDED' end
  end;
  select coalesce(sum(b.balance), 0) into before from ledger.books b where b.account = acct;
  if why = 'COUPON_NOT_FOUND' then
    insert into ledger.coupon_guesses as g values (acct, at, 1)
      on conflict (account) do update set number = g.number + 1;
  end if;
  if why is not null then
    return jsonb_build_object('error_code', why, 'balance_nanos', before);
  end if;
  if c.credit_ttl is not null then
    target := 'coupon-' || substr(md5(c.code), 1, 16);
    perform ledger.open_wallet(acct, target, 50, at + c.credit_ttl);
  end if;
  insert into ledger.coupon_redemptions values (c.code, acct, c.value_nanos, at);
  update ledger.coupons x set times_used = x.times_used + 1 where x.code = c.code;
  perform ledger.operate('coupon:' || c.code || ':' || acct, 'coupon', acct, target, 'promo',
                         c.value_nanos, 'Coupon ' || c.code, null);
  return jsonb_build_object('code', c.code, 'value_nanos', c.value_nanos,
    'previous_balance_nanos', before, 'balance_nanos', before + c.value_nanos);
end $$;

create function api.summarize_coupon(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare wanted text := upper($1 ->> 'code');
begin
  return (
    select jsonb_build_object('coupons', count(distinct c.code),
             'active', count(distinct c.code) filter (
                where c.active and c.valid_until > ledger.now() and c.times_used < c.max_uses),
             'total_redemptions', count(r.account), 'unique_users', count(distinct r.account),
             'distributed_nanos', coalesce(sum(r.value_nanos), 0)::bigint,
             'possible_uses', (select coalesce(sum(x.max_uses), 0) from ledger.coupons x
                                where wanted is null or x.code = wanted))
      from ledger.coupons c left join ledger.coupon_redemptions r on r.code = c.code
     where wanted is null or c.code = wanted);
end $$;

-- ------------------------------------------------------------------ referrals

-- The account's own code: made when there is none.
create function api.get_referral_code(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare acct text := ledger.account_arg($1); known text;
begin
  perform ledger.enter(acct);
  loop
    select r.code into known from ledger.referral_codes r where r.account = acct;
    exit when known is not null;
    insert into ledger.referral_codes
      values (acct, upper(substr(replace(gen_random_uuid()::text, '-', ''), 1, 8)))
      on conflict do nothing;
  end loop;
  return jsonb_build_object('code', known, 'uses', (
    select count(*) from ledger.referrals r where r.referrer = acct), 'cap', ledger.referral_cap());
end $$;

-- Why an account cannot be referred by this code, or null. A cycle would pay twice for nobody new.
create function ledger.referral_refusal(p_account text, p_code text) returns text
language plpgsql stable as $$
declare giver text; up text; steps integer := 0;
begin
  select r.account into giver from ledger.referral_codes r where r.code = p_code;
  if giver is null then return 'REFERRAL_NOT_FOUND'; end if;
  if giver = p_account then return 'SELF_REFERRAL'; end if;
  if exists (select 1 from ledger.referrals r where r.referee = p_account) then
    return 'ALREADY_REFERRED';
  end if;
  if exists (select 1 from ledger.payments p
              where p.account = p_account and p.captured_cents > 0) then
    return 'NOT_A_NEW_CUSTOMER';
  end if;
  if (select count(*) from ledger.referrals r where r.referrer = giver) >= ledger.referral_cap() then
    return 'MAX_USES_EXCEEDED';
  end if;
  up := giver;
  while up is not null and steps < 1000 loop
    select r.referrer into up from ledger.referrals r where r.referee = up;
    if up = p_account then return 'REFERRAL_CYCLE'; end if;
    steps := steps + 1;
  end loop;
  return null;
end $$;

create function api.check_referral(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := upper(ledger.text_arg($1, 'code', '^.+$', 20));
begin
  return jsonb_build_object('error_code', ledger.referral_refusal(acct, wanted));
end $$;

create function api.use_referral(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := upper(ledger.text_arg($1, 'code', '^.+$', 20));
  giver text;
  why text;
begin
  select r.account into giver from ledger.referral_codes r where r.code = wanted;
  perform ledger.lock_accounts(array[acct, coalesce(giver, acct)]);
  why := ledger.referral_refusal(acct, wanted);
  if why is null then
    insert into ledger.referrals values (acct, giver, wanted, ledger.now());
  end if;
  return jsonb_build_object('error_code', why);
end $$;

-- Paid and still paid: what refunds and open or lost disputes took is not there any more.
create function ledger.net_paid_cents(p_account text) returns bigint language sql stable as $$
  select coalesce(sum(greatest(0, p.captured_cents - p.tax_cents
                               - p.refunded_cents - p.disputed_cents)), 0)::bigint
    from ledger.payments p where p.account = p_account and p.kind <> 'subscription'
$$;

-- The largest single payment that stays whole.
create function ledger.best_payment_cents(p_account text) returns bigint language sql stable as $$
  select coalesce(max(p.amount_cents), 0) from ledger.payments p
   where p.account = p_account and p.captured_cents > 0 and p.kind <> 'subscription'
     and p.refunded_cents = 0 and p.disputed_cents = 0
$$;

create function ledger.post_reward(p_key text, p_kind text, p_account text, p_target bigint)
returns bigint language plpgsql as $$
declare now_there bigint; times bigint;
begin
  select coalesce(sum(o.amount), 0), count(*) into now_there, times
    from ledger.operations o where o.account = p_account and starts_with(o.op_key, p_key || ':');
  if p_target <> now_there then
    perform ledger.operate(p_key || ':' || (times + 1),
                           case when p_target > now_there then p_kind else 'clawback' end,
                           p_account, 'purchased', 'promo', p_target - now_there, null, null);
  end if;
  return p_target - now_there;
end $$;

-- {account, bonus_nanos, bonus_least_cents, referral_nanos, referral_least_cents}
create function api.sync_rewards(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  giver text;
  earned boolean;
  bonus bigint; own bigint := 0; theirs bigint := 0;
  reward bigint := ledger.int_arg($1, 'referral_nanos', 0, 1000 * 1000000000::bigint, 0);
begin
  select r.referrer into giver from ledger.referrals r where r.referee = acct;
  perform ledger.lock_accounts(array[acct, coalesce(giver, acct)]);
  bonus := ledger.post_reward('bonus:first:' || acct, 'bonus', acct,
    case when ledger.net_paid_cents(acct) >= ledger.int_arg($1, 'bonus_least_cents', 1, 99999999)
         then ledger.int_arg($1, 'bonus_nanos', 0, 1000 * 1000000000::bigint, 0) else 0 end);
  if giver is not null then
    -- two accounts of one person pay with one card
    earned := ledger.best_payment_cents(acct)
                >= ledger.int_arg($1, 'referral_least_cents', 1, 99999999)
      and not exists (
        select 1 from ledger.payments a join ledger.payments b using (fingerprint)
         where a.account = acct and b.account = giver);
    own := ledger.post_reward('referral:' || acct || ':own', 'referral', acct,
                              case when earned then reward else 0 end);
    theirs := ledger.post_reward('referral:' || acct || ':giver', 'referral', giver,
                                 case when earned then reward else 0 end);
  end if;
  return jsonb_build_object('bonus_nanos', bonus, 'referral_nanos', own,
                            'referrer_nanos', theirs);
end $$;

create function api.get_referral_stats(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare acct text := ledger.account_arg($1);
begin
  return jsonb_build_object(
    'code', (select r.code from ledger.referral_codes r where r.account = acct),
    'uses', (select count(*) from ledger.referrals r where r.referrer = acct),
    'cap', ledger.referral_cap(),
    'earned_nanos', (select coalesce(sum(o.amount), 0)::bigint from ledger.operations o
                      where o.account = acct and o.op_key like 'referral:%:giver:%'),
    'referrals', (
      select coalesce(jsonb_agg(jsonb_build_object('referee', left(md5(r.referee), 8),
               'created_at_ms', ledger.ms_of(r.created_at),
               'status', case when coalesce((
                  select sum(o.amount) from ledger.operations o
                   where o.account = acct
                    and starts_with(o.op_key, 'referral:' || r.referee || ':giver:')), 0) > 0
                  then 'completed' else 'pending' end) order by r.created_at desc), '[]')
        from ledger.referrals r where r.referrer = acct));
end $$;

-- I13, over all coupons and referrals: they are few.
create function ledger.find_promotion_violations()
returns table (rule text, detail text) language sql stable set jit = off set search_path = '' as $$
select 'I13', 'coupon ' || c.code || ' counts ' || c.times_used || ' of ' || c.max_uses || ' uses, '
       || r.number || ' redemptions'
  from ledger.coupons c cross join lateral (
    select count(*) as number from ledger.coupon_redemptions x where x.code = c.code) as r
 where c.times_used <> r.number or c.times_used > c.max_uses
union all
select 'I13', 'coupon ' || r.code || ' of ' || r.account || ' moved ' || coalesce(o.amount, 0)
  from ledger.coupon_redemptions r
  left join ledger.operations o on o.op_key = 'coupon:' || r.code || ':' || r.account
 where o.amount is distinct from r.value_nanos
union all
select 'I13', 'referrer ' || r.referrer || ' has ' || count(*) || ' referrals'
  from ledger.referrals r group by r.referrer having count(*) > ledger.referral_cap()
union all
select 'I13', o.op_key || ' rewards what nobody paid'
  from ledger.operations o
 where o.kind = 'referral' and not exists (
    select 1 from ledger.referrals r
      join ledger.payments p on p.account = r.referee and p.captured_cents > 0
     where starts_with(o.op_key, 'referral:' || r.referee || ':')
       and o.account in (r.referee, r.referrer))
$$;

create or replace view ledger.violations with (security_invoker = true) as
  select v.rule, v.detail
    from ledger.find_violations((select max(c.id) from ledger.checkpoints c)) as v
  union all
  select p.rule, p.detail from ledger.find_promotion_violations() as p;

create or replace function api.check_violations(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare found_rows jsonb;
begin
  if coalesce(($1 -> 'from_zero') = 'true', false) then
    select coalesce(jsonb_agg(to_jsonb(v)), '[]') into found_rows
      from (select * from ledger.find_violations(null)
            union all select * from ledger.find_promotion_violations() limit 1000) as v;
  else
    select coalesce(jsonb_agg(to_jsonb(v)), '[]') into found_rows
      from (select * from ledger.violations limit 1000) as v;
  end if;
  return found_rows;
end $$;

select ledger.close_doors();
