-- Limits: of accounts, teams, keys, end users and sessions, as they travel with the principal.
-- The limits of a key and of an account stand in their rows, those of teams and of single end users
-- here. A budget is a limit of money with a period; its scope carries the period's kind, so that a
-- scope has one kind for ever: key:key_1:daily, team:a1:monthly, account:total.

create table tenancy.scope_limits (
  account    text collate "C" not null references tenancy.accounts,
  scope      text collate "C" not null check (scope ~ '^(team|user):[A-Za-z0-9_.-]{1,100}$'),
  title      text,                              -- the team's name, as its members know it
  limits     jsonb not null check (jsonb_typeof(limits) = 'object'),
  updated_at timestamptz not null,
  primary key (account, scope)
);

-- What was spent in a period before its budget began to count, and when it was last counted.
alter table ledger.budgets
  add column base_nanos bigint not null default 0 check (base_nanos >= 0),
  add column counted_at timestamptz;

-- An id as part of a scope: itself, or a hash where it has signs that mean something there.
create function ledger.scope_part(p_id text) returns text language sql immutable as $$
  select case when p_id ~ '^[A-Za-z0-9_.-]{1,100}$' then p_id
    else 'h_' || left(encode(sha256(convert_to(p_id, 'UTF8')), 'hex'), 24) end
$$;

-- The name of the period that a moment is in; weeks begin on Monday, days in UTC. The admission
-- script has the same function.
create function ledger.period_label(p_kind text, p_at timestamptz) returns text
language sql immutable as $$
  select case p_kind
    when 'daily' then to_char(p_at at time zone 'UTC', 'YYYY-MM-DD')
    when 'weekly' then to_char(date_trunc('week', p_at at time zone 'UTC'), 'YYYY-MM-DD')
    when 'monthly' then to_char(p_at at time zone 'UTC', 'YYYY-MM')
    else 'total' end
$$;

create function ledger.period_start(p_kind text, p_at timestamptz) returns date
language sql immutable as $$
  select case p_kind
    when 'daily' then (p_at at time zone 'UTC')::date
    when 'weekly' then date_trunc('week', p_at at time zone 'UTC')::date
    when 'monthly' then date_trunc('month', p_at at time zone 'UTC')::date
    else date '2000-01-01' end
$$;

create function ledger.kind_of(p_limits jsonb) returns text language sql immutable as $$
  select case when p_limits ->> 'reset' in ('daily', 'weekly', 'monthly')
              then p_limits ->> 'reset' else 'total' end
$$;

-- A budget that was made or changed counts from now on; what its period has spent so far is its
-- base. Without a limit it goes on counting and refuses nothing.
create function ledger.watch_budget(
  p_account text, p_scope text, p_limits jsonb, p_spent bigint) returns void
language plpgsql set enable_seqscan = off as $$
declare
  most bigint := case when p_limits ->> 'usd_nanos' ~ '^[0-9]{1,16}$'
                      then (p_limits ->> 'usd_nanos')::bigint end;
  full_scope text := p_scope || ':' || ledger.kind_of(p_limits);
  label text := ledger.period_label(ledger.kind_of(p_limits), ledger.now());
begin
  update ledger.budgets b set limit_nanos = null
   where b.account = p_account and b.limit_nanos is not null and b.scope in
         (select p_scope || ':' || k from unnest(array['daily', 'weekly', 'monthly', 'total']) as k)
     and (b.scope <> full_scope or most is null);
  if most is null then return; end if;
  insert into ledger.budgets as b (account, scope, period, limit_nanos, base_nanos, since_seq)
    values (p_account, full_scope, label, most, p_spent, (select last_value from ledger.posting))
    on conflict (account, scope, period) do update
      set limit_nanos = excluded.limit_nanos,
          base_nanos = greatest(0, excluded.base_nanos - b.spent_nanos),
          overage_nanos = greatest(b.overage_nanos,
                                   b.spent_nanos + b.reserved_nanos - excluded.limit_nanos);
end $$;

create function ledger.spent_since(p_account text, p_day date) returns bigint
language sql stable set enable_seqscan = off as $$
  select coalesce(sum(s.nanos), 0)::bigint from ledger.key_spending s
   where s.account = p_account and s.day >= p_day
$$;

create function tenancy.watch_key_budget() returns trigger
language plpgsql set search_path = '' set enable_seqscan = off as $$
begin
  if new.limits ? 'usd_nanos' or tg_op = 'UPDATE' and old.limits ? 'usd_nanos' then
    perform ledger.watch_budget(new.account, 'key:' || ledger.scope_part(new.key_id), new.limits,
      (select coalesce(sum(s.nanos), 0)::bigint from ledger.key_spending s
        where s.key_id = new.key_id
          and s.day >= ledger.period_start(ledger.kind_of(new.limits), ledger.now())));
  end if;
  return null;
end $$;
create trigger watch_key_budget after insert or update of limits on tenancy.api_keys
  for each row execute function tenancy.watch_key_budget();

create function tenancy.watch_account_budget() returns trigger
language plpgsql set search_path = '' as $$
begin
  if new.limits is distinct from old.limits then
    perform ledger.watch_budget(new.account, 'account', new.limits, ledger.spent_since(
      new.account, ledger.period_start(ledger.kind_of(new.limits), ledger.now())));
  end if;
  return null;
end $$;
create trigger watch_account_budget after update of limits on tenancy.accounts
  for each row execute function tenancy.watch_account_budget();

create function tenancy.watch_scope_budget() returns trigger
language plpgsql set search_path = '' set enable_seqscan = off as $$
declare since date := ledger.period_start(ledger.kind_of(new.limits), ledger.now());
begin
  perform ledger.watch_budget(new.account, new.scope, new.limits,
    (select coalesce(sum(s.nanos), 0)::bigint
       from tenancy.api_keys k join ledger.key_spending s on s.key_id = k.key_id and s.day >= since
      where k.account = new.account and 'team:' || ledger.scope_part(k.team) = new.scope));
  return null;
end $$;
create trigger watch_scope_budget after insert or update on tenancy.scope_limits
  for each row execute function tenancy.watch_scope_budget();

-- Keys that had a limit before it was held.
select ledger.watch_budget(k.account, 'key:' || ledger.scope_part(k.key_id), k.limits,
    (select coalesce(sum(s.nanos), 0)::bigint from ledger.key_spending s
      where s.key_id = k.key_id
        and s.day >= ledger.period_start(ledger.kind_of(k.limits), ledger.now())))
  from tenancy.api_keys k where k.limits ? 'usd_nanos' and k.revoked_at is null;

-- Budgets that every end user or session has get their row with their first charge.
create function ledger.add_end_user_budgets() returns trigger
language plpgsql set search_path = '' set enable_seqscan = off as $$
begin
  insert into ledger.budgets (account, scope, period, spent_nanos, since_seq)
  select n.account, s ->> 0, s ->> 1, sum(n.amount)::bigint, min(n.seq) - 1
    from fresh n cross join lateral jsonb_array_elements(n.scopes) as s
   where n.scopes <> '[]' and s ->> 0 ~ '^(user|session):'
     and not exists (select 1 from ledger.budgets b
                      where (b.account, b.scope, b.period) = (n.account, s ->> 0, s ->> 1))
   group by 1, 2, 3
  on conflict do nothing;
  update ledger.budgets b set counted_at = ledger.now()
    from (select distinct n.account, s ->> 0 as scope, s ->> 1 as period
            from fresh n cross join lateral jsonb_array_elements(n.scopes) as s
           where n.scopes <> '[]' and s ->> 0 like 'session:%') as u
   where (b.account, b.scope, b.period) = (u.account, u.scope, u.period);
  return null;
end $$;
create trigger add_end_user_budgets after insert on ledger.charges
  referencing new table as fresh for each statement execute function ledger.add_end_user_budgets();

-- ------------------------------------------------------------------ with the principal

-- [scope, kind, limit, what its period spent so far] of a limit of money; null without one. What
-- private leases set aside is left out: Redis never counts less than this, so it must not fall.
create function tenancy.budget_json(p_account text, p_scope text, p_limits jsonb) returns jsonb
language sql stable set enable_seqscan = off as $$
  select case when p_limits ->> 'usd_nanos' ~ '^[0-9]{1,16}$' then
    (select jsonb_build_array(p_scope || ':' || d.kind, d.kind, (p_limits ->> 'usd_nanos')::bigint,
        d.label || '=' || coalesce((
          select b.base_nanos + b.spent_nanos from ledger.budgets b
           where (b.account, b.scope, b.period) = (p_account, p_scope || ':' || d.kind, d.label)),
          0))
       from (select ledger.kind_of(p_limits) as kind,
                    ledger.period_label(ledger.kind_of(p_limits), ledger.now()) as label) as d)
  end
$$;

-- {day, month, total}: [label, requests, tokens] of a key, or of an account without one. `total`
-- goes through all days, so it is there only for what has a limit for ever.
create function tenancy.used_json(p_account text, p_key text, p_ever boolean) returns jsonb
language sql stable set enable_seqscan = off as $$
  select jsonb_build_object(
      'day', jsonb_build_array(ledger.period_label('daily', ledger.now()),
        coalesce(sum(s.requests) filter (where s.day >= d.day), 0),
        coalesce(sum(s.prompt_tokens + s.completion_tokens) filter (where s.day >= d.day), 0)),
      'month', jsonb_build_array(ledger.period_label('monthly', ledger.now()),
        coalesce(sum(s.requests) filter (where s.day >= d.month), 0),
        coalesce(sum(s.prompt_tokens + s.completion_tokens) filter (where s.day >= d.month), 0)))
      || case when p_ever then jsonb_build_object('total',
        jsonb_build_array('total', coalesce(sum(s.requests), 0),
          coalesce(sum(s.prompt_tokens + s.completion_tokens), 0))) else '{}' end
    from (select ledger.period_start('daily', ledger.now()) as day,
                 ledger.period_start('monthly', ledger.now()) as month) as d
    left join ledger.key_spending s on s.account = p_account
     and (p_key is null or s.key_id = p_key) and (p_ever or s.day >= d.month)
$$;

create function tenancy.limits_json(k tenancy.api_keys, a tenancy.accounts) returns jsonb
language plpgsql stable set enable_seqscan = off as $$
declare
  key_scope text := 'key:' || ledger.scope_part(k.key_id);
  team_scope text := 'team:' || ledger.scope_part(k.team);
  team_limits jsonb;
  t ledger.trials;
begin
  if k.team is not null then
    select s.limits into team_limits from tenancy.scope_limits s
     where (s.account, s.scope) = (k.account, team_scope);
  end if;
  select * into t from ledger.trials x where x.account = k.account;
  return jsonb_build_object('key_scope', key_scope, 'team', k.team, 'team_scope', team_scope,
    'team_limits', team_limits,
    'budgets', (select coalesce(jsonb_agg(b), '[]') from unnest(array[
        tenancy.budget_json(k.account, key_scope, k.limits),
        tenancy.budget_json(k.account, team_scope, team_limits),
        tenancy.budget_json(k.account, 'account', a.limits)]) as b where b is not null),
    'used', case when k.limits <> '{}' then
       tenancy.used_json(k.account, k.key_id, k.limits ? 'max_requests') end,
    'account_used', tenancy.used_json(k.account, null, a.limits ? 'max_requests'),
    'end_users', (select coalesce(jsonb_object_agg(substr(s.scope, 6), s.limits), '{}')
                    from tenancy.scope_limits s
                   where s.account = k.account and s.scope like 'user:%'),
    'trial', case when t.account is not null and not ledger.paid_ever(k.account) then
       jsonb_build_object('nanos', t.nanos, 'tokens', t.tokens_most, 'requests', t.requests_most,
         'ends_at_ms', ledger.ms_of(coalesce(t.ended_at, t.ends_at)),
         'active', t.ended_at is null and t.ends_at > ledger.now()) end);
end $$;

-- As before, with the limits. What ends soonest says how long the answer may be kept: the key, the
-- secret, the trial.
create or replace function api.find_principal(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  digest bytea := decode(ledger.text_arg($1, 'hash', '^[0-9a-f]+$', 64), 'hex');
  at timestamptz := ledger.now();
begin
  return (
    select jsonb_build_object('account', k.account, 'key_id', k.key_id, 'name', k.name,
             'prefix', k.prefix, 'epoch', a.epoch, 'stage', a.stage, 'limits', k.limits,
             'account_name', a.name, 'account_limits', a.limits, 'rules', k.rules,
             'left_ms', ledger.ms_between(at, least(k.expires_at,
                          case when k.hash <> digest then k.old_until end,
                          (select t.ends_at from ledger.trials t
                            where t.account = k.account and t.ended_at is null
                              and t.ends_at > at))),
             'preferences', k.preferences, 'status', a.status)
           || tenancy.limits_json(k, a)
      from tenancy.api_keys k join tenancy.accounts a using (account)
     where (k.hash = digest or k.old_hash = digest and k.old_until > at)
       and k.revoked_at is null and k.enabled
       and (k.expires_at is null or k.expires_at > at));
end $$;

-- The first payment ends what a trial forbids.
create function tenancy.paid_first() returns trigger
language plpgsql set search_path = '' set enable_seqscan = off as $$
begin
  if new.captured_cents > 0 and (tg_op = 'INSERT' or old.captured_cents = 0)
     and exists (select 1 from ledger.trials t where t.account = new.account) then
    perform tenancy.raise_epoch(new.account);
  end if;
  return null;
end $$;
create trigger paid_first after insert or update of captured_cents on ledger.payments
  for each row execute function tenancy.paid_first();

select ledger.close_doors();
