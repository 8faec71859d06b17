-- Trials: one for a person, for ever. A person is known by verified signals (a card's fingerprint,
-- a verified address, a verified number), each kept as a hash; a signal that served one trial serves
-- no other. The credit stands in a wallet of its own, drained first, that lapses with the trial.

-- The terms, in one place. A partner's code has its own.
create table ledger.trial_terms (
  code       text collate "C" primary key check (code ~ '^[A-Z0-9_-]{1,40}$'),
  name       text not null,
  days       integer not null check (days between 1 and 90),
  nanos      bigint not null check (nanos between 0 and 1000 * 1000000000::bigint),
  tokens     bigint not null check (tokens > 0),
  requests   bigint not null check (requests > 0),
  day_nanos  bigint check (day_nanos > 0),     -- most that is spent in a day, if limited
  plan       text not null default 'free',
  active     boolean not null default true,
  created_at timestamptz not null
);
insert into ledger.trial_terms (code, name, days, nanos, tokens, requests, day_nanos, plan,
                                created_at) values
  ('DEFAULT', 'Trial', 14, 5 * 1000000000::bigint, 1000000, 10000, null, 'free', ledger.now()),
  ('REDBEARD', 'Redbeard', 14, 20 * 1000000000::bigint, 1000000, 10000, 5 * 1000000000::bigint,
   'team', ledger.now());

-- What is verified of an account; who verified it writes it.
create table ledger.verified_signals (
  account     text collate "C" not null references tenancy.accounts,
  kind        text not null check (kind in ('card', 'email', 'phone')),
  hash        text collate "C" not null check (hash ~ '^[0-9a-f]{64}$'),
  verified_at timestamptz not null,
  primary key (account, kind, hash)
);
create index verified_signals_by_hash on ledger.verified_signals (kind, hash);

create table ledger.trials (
  account       text collate "C" primary key references tenancy.accounts,
  code          text collate "C" not null references ledger.trial_terms,
  nanos         bigint not null,
  tokens_most   bigint not null,
  requests_most bigint not null,
  day_nanos     bigint,
  tokens        bigint not null default 0,
  requests      bigint not null default 0,
  spent_nanos   bigint not null default 0,
  started_at    timestamptz not null,
  ends_at       timestamptz not null,
  ended_at      timestamptz,                   -- earlier: a limit was reached
  ended_by      text
) with (fillfactor = 70);
create table ledger.trial_signals (
  kind    text not null,
  hash    text collate "C" not null,
  account text collate "C" not null references ledger.trials,
  primary key (kind, hash)
);

create function ledger.note_signal(p_account text, p_kind text, p_hash text) returns void
language sql as $$
  insert into ledger.verified_signals values (p_account, p_kind, p_hash, ledger.now())
    on conflict do nothing
$$;

-- {account, kind: card|email|phone, hash: 64 hex digits of a keyed hash or of SHA-256}
create function api.note_signal(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  which text := ledger.text_arg($1, 'kind', '^(card|email|phone)$', 10);
begin
  perform ledger.enter(acct);
  perform ledger.note_signal(acct, which, ledger.text_arg($1, 'hash', '^[0-9a-f]+$', 64));
  return jsonb_build_object('account', acct, 'kind', which);
end $$;

create function ledger.paid_ever(p_account text) returns boolean language sql stable as $$
  select exists (select 1 from ledger.payments p
                  where p.account = p_account and p.captured_cents > 0)
$$;

create function ledger.trial_json(t ledger.trials) returns jsonb language sql stable as $$
  select jsonb_build_object('account', t.account, 'code', t.code, 'nanos', t.nanos,
    'tokens_most', t.tokens_most, 'requests_most', t.requests_most, 'day_nanos', t.day_nanos,
    'tokens', t.tokens, 'requests', t.requests, 'spent_nanos', t.spent_nanos,
    'left_nanos', coalesce((
       select b.balance from ledger.books b
        where b.id = 'wallet:' || t.account || ':trial' and b.expires_at > ledger.now()), 0),
    'started_at_ms', ledger.ms_of(t.started_at), 'ends_at_ms', ledger.ms_of(t.ends_at),
    'ended_at_ms', ledger.ms_of(t.ended_at), 'ended_by', t.ended_by,
    'active', t.ended_at is null and t.ends_at > ledger.now(),
    'converted', ledger.paid_ever(t.account))
$$;

create function api.find_trial(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1);
begin
  return jsonb_build_object(
    'trial', (select ledger.trial_json(t) from ledger.trials t where t.account = acct),
    'signals', (select coalesce(jsonb_agg(distinct s.kind), '[]') from ledger.verified_signals s
                 where s.account = acct),
    'paid', ledger.paid_ever(acct));
end $$;

-- A refusal is an answer with a code, in this order of checks, and moves nothing.
create function api.start_trial(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := upper(coalesce($1 ->> 'code', 'DEFAULT'));
  terms ledger.trial_terms;
  made ledger.trials;
  why text;
  at timestamptz := ledger.now();
begin
  perform ledger.enter(acct);
  select * into terms from ledger.trial_terms x where x.code = wanted and x.active;
  -- two accounts of one person at once meet here, in one order of hashes
  perform pg_advisory_xact_lock(hashtextextended('trial:' || s.kind || ':' || s.hash, 0))
     from (select * from ledger.verified_signals v where v.account = acct
            order by v.kind, v.hash) as s;
  why := case
    when terms.code is null then 'TRIAL_CODE_NOT_FOUND'
    when exists (select 1 from ledger.trials t where t.account = acct) then 'TRIAL_ALREADY_USED'
    when ledger.paid_ever(acct) then 'NOT_A_NEW_CUSTOMER'
    when not exists (select 1 from ledger.verified_signals v where v.account = acct)
         then 'VERIFICATION_REQUIRED'
    when exists (select 1 from ledger.verified_signals v
                   join ledger.trial_signals s using (kind, hash) where v.account = acct)
         then 'TRIAL_ALREADY_USED'
    when exists (select 1 from ledger.verified_signals mine
                   join ledger.verified_signals other using (kind, hash)
                  where mine.account = acct and other.account <> acct
                    and ledger.paid_ever(other.account)) then 'NOT_A_NEW_CUSTOMER'
  end;
  if why is not null then return jsonb_build_object('error_code', why); end if;
  insert into ledger.trials (account, code, nanos, tokens_most, requests_most, day_nanos,
                             started_at, ends_at)
    values (acct, terms.code, terms.nanos, terms.tokens, terms.requests, terms.day_nanos, at,
            at + terms.days * interval '1 day')
    returning * into made;
  insert into ledger.trial_signals
    select v.kind, v.hash, acct from ledger.verified_signals v where v.account = acct;
  if terms.nanos > 0 then
    perform ledger.open_wallet(acct, 'trial', 0, made.ends_at);
    perform ledger.operate('trial:' || acct, 'trial', acct, 'trial', 'promo', terms.nanos,
                           terms.name, null);
  end if;
  if terms.day_nanos is not null then
    insert into ledger.account_caps (account, source, day_nanos)
      values (acct, 'trial', terms.day_nanos)
      on conflict (account, source) do update set day_nanos = excluded.day_nanos;
    update tenancy.accounts a set epoch = a.epoch + 1 where a.account = acct;
  end if;
  return ledger.trial_json(made);
end $$;

-- The limits of a trial beside its credit. What was under way when one was reached is still served;
-- then the wallet is closed, and what is left in it lapses.
create function ledger.count_trial_use() returns trigger
language plpgsql set search_path = '' set enable_seqscan = off as $$
declare t ledger.trials;
begin
  for t in
    update ledger.trials x
       set tokens = x.tokens + u.tokens, requests = x.requests + u.requests,
           spent_nanos = x.spent_nanos + u.nanos
      from (select n.account, count(*) as requests, sum(n.charge_nanos)::bigint as nanos,
                   sum((select coalesce(sum((l ->> 1)::bigint), 0)
                          from jsonb_array_elements(n.lines) as l
                         where l ->> 0 not in ('second', 'request', 'search')))::bigint as tokens
              from fresh n group by n.account) as u
     where x.account = u.account and x.ended_at is null and x.ends_at > ledger.now()
     returning x.*
  loop
    continue when t.tokens < t.tokens_most and t.requests < t.requests_most;
    update ledger.trials x
       set ended_at = ledger.now(),
           ended_by = case when t.tokens >= t.tokens_most then 'tokens' else 'requests' end
     where x.account = t.account;
    update ledger.books b set expires_at = least(b.expires_at, ledger.now())
     where b.id = 'wallet:' || t.account || ':trial';
    -- nobody goes on spending what is set aside already: processes read the account anew
    update tenancy.accounts a set epoch = a.epoch + 1 where a.account = t.account;
  end loop;
  return null;
end $$;

create trigger count_trial_use after insert on ledger.requests
  referencing new table as fresh for each statement execute function ledger.count_trial_use();

-- Trials whose time ran out since the last look: told once.
create function api.end_trials(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare t ledger.trials; ended integer := 0; soon integer := 0;
begin
  for t in update ledger.trials x set ended_at = x.ends_at, ended_by = 'time'
            where x.ended_at is null and x.ends_at <= ledger.now() returning x.*
  loop
    perform ledger.notify(t.account, 'trial_ended', 'trial_ended:' || t.account, '{}');
    delete from ledger.account_caps c where c.account = t.account and c.source = 'trial';
    update tenancy.accounts a set epoch = a.epoch + 1 where a.account = t.account;
    ended := ended + 1;
  end loop;
  for t in select * from ledger.trials x where x.ended_at is null
              and x.ends_at <= ledger.now() + interval '3 days'
  loop
    if ledger.notify(t.account, 'trial_ends', 'trial_ends:' || t.account,
                     jsonb_build_object('ends_at_ms', ledger.ms_of(t.ends_at))) then
      soon := soon + 1;
    end if;
  end loop;
  return jsonb_build_object('ended', ended, 'told', soon);
end $$;

create function ledger.terms_json(x ledger.trial_terms) returns jsonb language sql stable as $$
  select jsonb_build_object('code', x.code, 'name', x.name, 'days', x.days, 'nanos', x.nanos,
    'tokens', x.tokens, 'requests', x.requests, 'day_nanos', x.day_nanos, 'plan', x.plan,
    'active', x.active)
$$;

create function api.find_trial_terms(jsonb) returns jsonb
language sql stable security definer set search_path = '' as $$
  select ledger.terms_json(x) from ledger.trial_terms x
   where x.code = upper(ledger.text_arg($1, 'code', '^[A-Za-z0-9_-]+$', 40))
$$;

-- {code, name, days, nanos, tokens, requests, day_nanos?, plan, active}: the whole row.
create function api.set_trial_terms(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare made ledger.trial_terms;
begin
  insert into ledger.trial_terms as x values (
      upper(ledger.text_arg($1, 'code', '^[A-Za-z0-9_-]+$', 40)),
      ledger.text_arg($1, 'name', '^.+$', 100), ledger.int_arg($1, 'days', 1, 90)::integer,
      ledger.int_arg($1, 'nanos', 0, 1000 * 1000000000::bigint),
      ledger.int_arg($1, 'tokens', 1, 9007199254740991),
      ledger.int_arg($1, 'requests', 1, 9007199254740991),
      ledger.int_arg($1, 'day_nanos', 1, ledger.wallet_cap(), null),
      ledger.text_arg($1, 'plan', '^[a-z0-9_-]+$', 40),
      coalesce(($1 -> 'active') = 'true', false), ledger.now())
    on conflict (code) do update
       set name = excluded.name, days = excluded.days, nanos = excluded.nanos,
           tokens = excluded.tokens, requests = excluded.requests,
           day_nanos = excluded.day_nanos, plan = excluded.plan, active = excluded.active
    returning x.* into made;
  return ledger.terms_json(made);
end $$;

create function api.summarize_trials(jsonb) returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object('trials', count(*),
    'active', count(*) filter (where t.ended_at is null and t.ends_at > ledger.now()),
    'converted', count(*) filter (where ledger.paid_ever(t.account)),
    'granted_nanos', coalesce(sum(t.nanos), 0)::bigint,
    'spent_nanos', coalesce(sum(t.spent_nanos), 0)::bigint)
    from ledger.trials t where $1 ->> 'code' is null or t.code = upper($1 ->> 'code')
$$;

select ledger.close_doors();
