-- What people are told by e-mail. An event puts a notice here in its own transaction, once per
-- natural key; a schedule spreads it over those it concerns, as they prefer, and sends each one.
-- At most some tries, then it is dead and somebody is woken.

-- `preference` null: sent to everybody it concerns, whatever they prefer. `secret`: its data is a
-- credential, and goes as soon as nothing is left to send.
create table tenancy.notice_kinds (
  kind       text collate "C" primary key check (kind ~ '^[a-z][a-z_]{1,39}$'),
  preference text check (preference in ('email_notifications', 'usage_alerts', 'low_balance')),
  audience   text not null check (audience in ('address', 'owners', 'billing', 'all')),
  life_ms    bigint not null check (life_ms > 0),          -- older than that it is sent no more
  secret     boolean not null default false
);
insert into tenancy.notice_kinds (kind, preference, audience, life_ms, secret) values
  ('invitation', null, 'address', 7 * 86400000::bigint, true),
  ('sign_in_link', null, 'address', 15 * 60000, true),
  ('key_created', null, 'owners', 3 * 86400000::bigint, false),
  ('grant_given', null, 'owners', 3 * 86400000::bigint, false),
  ('low_balance', 'low_balance', 'billing', 86400000, false),
  ('limit_near', 'usage_alerts', 'owners', 86400000, false),
  ('spend_alert', 'usage_alerts', 'billing', 3 * 86400000::bigint, false),
  ('trial_ends', 'email_notifications', 'billing', 86400000, false),
  ('trial_ended', 'email_notifications', 'billing', 3 * 86400000::bigint, false),
  ('plan_ends', 'email_notifications', 'billing', 3 * 86400000::bigint, false),
  ('auto_topup_off', null, 'billing', 7 * 86400000::bigint, false),
  ('auto_topup_failed', 'email_notifications', 'billing', 3 * 86400000::bigint, false),
  ('auto_topup_capped', 'email_notifications', 'billing', 3 * 86400000::bigint, false),
  ('incident_credit', 'email_notifications', 'billing', 7 * 86400000::bigint, false),
  ('test', null, 'address', 3600000, false);

create table tenancy.notices (
  id         bigint generated always as identity primary key,
  kind       text collate "C" not null references tenancy.notice_kinds,
  account    text collate "C" references tenancy.accounts,
  once       text collate "C" not null unique,
  email      text,                                -- for those who are no member yet
  member     text collate "C",                    -- one member alone
  data       jsonb not null,
  created_at timestamptz not null,
  spread_at  timestamptz
);
create index notices_to_spread on tenancy.notices (id) where spread_at is null;

create table tenancy.notice_deliveries (
  id       bigint generated always as identity primary key,
  notice   bigint not null references tenancy.notices,
  email    text not null,
  member   text collate "C",
  state    text not null default 'waiting' check (state in ('waiting', 'sent', 'dead', 'lapsed')),
  tries    integer not null default 0,
  next_at  timestamptz not null,
  ended_at timestamptz,
  problem  text,
  unique (notice, email)
);
create index deliveries_waiting on tenancy.notice_deliveries (next_at) where state = 'waiting';
create index deliveries_ended on tenancy.notice_deliveries (ended_at) where state <> 'waiting';

-- How a member wants to be told; member '' is the account's own choice, for members without one.
create table tenancy.notice_preferences (
  account             text collate "C" not null references tenancy.accounts,
  member              text collate "C" not null default '',
  email_notifications boolean not null default true,
  usage_alerts        boolean not null default true,
  low_balance_nanos   bigint not null default 10 * 1000000000::bigint
                        check (low_balance_nanos between 0 and ledger.wallet_cap()),  -- 0: never
  trial_days          integer not null default 1 check (trial_days between 0 and 30),
  plan_days           integer not null default 7 check (plan_days between 0 and 30),
  updated_at          timestamptz not null,
  primary key (account, member)
);

create function tenancy.preferences_of(p_account text, p_member text)
returns tenancy.notice_preferences language plpgsql stable as $$
declare p tenancy.notice_preferences;
begin
  select * into p from tenancy.notice_preferences x
   where x.account = p_account and x.member in ('', p_member) order by x.member desc limit 1;
  if not found then
    p := row(p_account, '', true, true, 10 * 1000000000::bigint, 1, 7, ledger.now());
  end if;
  return p;
end $$;

-- Who can be reached in an account, at an address that was verified.
create function tenancy.recipients(p_account text)
returns table (member text, email text, role text) language sql stable as $$
  select p.person, p.email, m.role
    from tenancy.members m join tenancy.people p using (person)
   where m.account = p_account and p.status = 'active' and p.email is not null
$$;

-- For SQL of every domain, inside its own transaction; false when the event is known already.
create function tenancy.notify(
  p_kind text, p_account text, p_once text, p_data jsonb, p_email text default null,
  p_member text default null)
returns boolean language plpgsql as $$
begin
  insert into tenancy.notices (kind, account, once, email, member, data, created_at)
    values (p_kind, p_account, p_once, p_email, p_member, coalesce(p_data, '{}'), ledger.now())
    on conflict (once) do nothing;
  return found;
end $$;

create function tenancy.email_arg(p jsonb, p_key text) returns text language sql stable as $$
  select ledger.text_arg(p, p_key, '^[^[:space:][:cntrl:]<>"@]+@[^[:space:][:cntrl:]<>"@]+$', 254)
$$;

-- {kind, once, data, account?, email?, member?}: the same for what is no SQL.
create function api.enqueue_notice(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare made boolean;
begin
  made := tenancy.notify(
    ledger.text_arg($1, 'kind', '^[a-z_]+$', 40),
    case when $1 ? 'account' then ledger.account_arg($1) end, ledger.op_arg($1, 'once'),
    tenancy.object_arg($1, 'data', '{}'),
    case when $1 ->> 'email' is not null then tenancy.email_arg($1, 'email') end,
    $1 ->> 'member');
  return jsonb_build_object('enqueued', made);
exception when foreign_key_violation then
  perform ledger.refuse('invalid_argument', 'no such kind of notice, or no such account');
end $$;

-- Whom a notice concerns and who wants it.
create function tenancy.audience_of(n tenancy.notices) returns table (email text, member text)
language plpgsql stable as $$
declare k tenancy.notice_kinds;
begin
  if n.email is not null then
    return query select n.email, n.member;
    return;
  end if;
  select * into k from tenancy.notice_kinds x where x.kind = n.kind;
  return query
    select r.email, r.member
      from tenancy.recipients(n.account) as r
     cross join lateral tenancy.preferences_of(n.account, r.member) as p
     where (n.member is null or r.member = n.member)
       and case k.audience when 'owners' then r.role in ('owner', 'admin')
                           when 'billing' then r.role in ('owner', 'admin', 'billing')
                           when 'all' then true else n.member is not null end
       and (k.preference is null or p.email_notifications)
       and (k.preference is distinct from 'usage_alerts' or p.usage_alerts)
       and (k.preference is distinct from 'low_balance'
            or p.low_balance_nanos = (n.data ->> 'threshold_nanos')::bigint);
end $$;

-- {limit, visible_ms, once?}: spreads what is new and takes what is due, each row for one sender
-- at a time: [{id, notice, kind, account, account_name, email, data, tries}].
create function api.take_notices(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 50);
  hidden interval := ledger.span(ledger.int_arg($1, 'visible_ms', 1000, 3600000, 120000));
  wanted text := $1 ->> 'once';
  at timestamptz := ledger.now();
  taken jsonb;
begin
  with fresh as materialized (
    select n from tenancy.notices n
     where n.spread_at is null and (wanted is null or n.once = wanted)
     order by n.id limit most for update skip locked
  ), spread as (
    update tenancy.notices x set spread_at = at from fresh where x.id = (fresh.n).id
  )
  insert into tenancy.notice_deliveries (notice, email, member, next_at)
    select (fresh.n).id, a.email, a.member, at
      from fresh cross join lateral tenancy.audience_of(fresh.n) as a
    on conflict do nothing;
  update tenancy.notice_deliveries d set state = 'lapsed', ended_at = at
    from tenancy.notices n join tenancy.notice_kinds k using (kind)
   where d.state = 'waiting' and d.next_at <= at and n.id = d.notice
     and n.created_at + ledger.span(k.life_ms) <= at;
  update tenancy.notices n set data = '{}'
    from tenancy.notice_deliveries d, tenancy.notice_kinds k
   where d.notice = n.id and d.state = 'lapsed' and d.ended_at = at
     and k.kind = n.kind and k.secret;
  with due as materialized (
    select d.id from tenancy.notice_deliveries d join tenancy.notices n on n.id = d.notice
     where d.state = 'waiting' and d.next_at <= at and (wanted is null or n.once = wanted)
     order by d.next_at, d.id limit most for update of d skip locked
  ), claimed as (
    update tenancy.notice_deliveries d set tries = d.tries + 1, next_at = at + hidden
      from due where d.id = due.id returning d.*
  )
  select coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'notice', n.id, 'kind', n.kind,
           'account', n.account, 'account_name', a.name, 'email', c.email, 'data', n.data,
           'tries', c.tries, 'at_ms', ledger.ms_of(n.created_at)) order by c.id), '[]')
    into taken
    from claimed c join tenancy.notices n on n.id = c.notice
    left join tenancy.accounts a on a.account = n.account;
  return taken;
end $$;

-- {id, outcome: sent | failed, problem?, wait_ms?, most_tries?}: what became of one try. A failure
-- waits, and after most_tries is the last.
create function api.end_notice(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  wanted bigint := ledger.int_arg($1, 'id', 1, 9007199254740991);
  ok boolean := ledger.text_arg($1, 'outcome', '^(sent|failed)$', 6) = 'sent';
  most bigint := ledger.int_arg($1, 'most_tries', 1, 100, 1);
  wait interval := ledger.span(ledger.int_arg($1, 'wait_ms', 0, 7 * 86400000::bigint, 0));
  at timestamptz := ledger.now();
  d tenancy.notice_deliveries;
begin
  update tenancy.notice_deliveries x
     set state = case when ok then 'sent' when x.tries >= most then 'dead' else x.state end,
         ended_at = case when ok or x.tries >= most then at end,
         next_at = case when ok then x.next_at else at + wait end,
         problem = case when ok then null else left($1 ->> 'problem', 200) end
   where x.id = wanted and x.state = 'waiting' returning * into d;
  if d.id is null then return jsonb_build_object('state', 'ended'); end if;
  if d.state <> 'waiting' then
    perform 1 from tenancy.notices n where n.id = d.notice for update;
    update tenancy.notices n set data = '{}' from tenancy.notice_kinds k
     where n.id = d.notice and k.kind = n.kind and k.secret
       and not exists (select 1 from tenancy.notice_deliveries o
                        where o.notice = n.id and o.state = 'waiting');
  end if;
  return jsonb_build_object('state', d.state, 'tries', d.tries);
end $$;

-- Dead ones try again, after whatever killed them has been mended; all, or one kind.
create function api.revive_notices(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare number integer;
begin
  update tenancy.notice_deliveries d
     set state = 'waiting', tries = 0, next_at = ledger.now(), ended_at = null
    from tenancy.notices n
   where d.state = 'dead' and n.id = d.notice and n.data <> '{}'
     and ($1 ->> 'kind' is null or n.kind = $1 ->> 'kind');
  get diagnostics number = row_count;
  return jsonb_build_object('revived', number);
end $$;

create function api.notice_stats(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare at timestamptz := ledger.now();
begin
  return jsonb_build_object(
    'unspread', (select count(*) from tenancy.notices n where n.spread_at is null),
    'waiting', (select count(*) from tenancy.notice_deliveries d where d.state = 'waiting'),
    'dead', (select count(*) from tenancy.notice_deliveries d where d.state = 'dead'),
    'oldest_ms', coalesce((select ledger.ms_between(min(n.created_at), at)
       from tenancy.notice_deliveries d join tenancy.notices n on n.id = d.notice
      where d.state = 'waiting'), 0),
    'kinds', (select coalesce(jsonb_object_agg(k.kind, k.counts), '{}') from (
       select s.kind, jsonb_object_agg(s.state, s.number) as counts from (
         select n.kind, d.state, count(*) as number
           from tenancy.notice_deliveries d join tenancy.notices n on n.id = d.notice
          where d.ended_at > at - interval '30 days' or d.state = 'waiting'
          group by n.kind, d.state) as s group by s.kind) as k));
end $$;

-- Addresses and texts go after 90 days; that the event was told stays.
create function api.forget_notices(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare gone bigint[];
begin
  with old as (
    delete from tenancy.notice_deliveries d where d.id in (
      select o.id from tenancy.notice_deliveries o
       where o.state <> 'waiting' and o.ended_at < ledger.now() - interval '90 days' limit 1000)
    returning d.notice)
  select array_agg(distinct old.notice) into gone from old;
  update tenancy.notices n set data = '{}', email = null where n.id = any (gone);
  return jsonb_build_object('forgotten', coalesce(cardinality(gone), 0));
end $$;

create function tenancy.preferences_json(p tenancy.notice_preferences) returns jsonb
language sql stable as $$
  select jsonb_build_object('account', p.account, 'member', p.member,
    'email_notifications', p.email_notifications, 'usage_alerts', p.usage_alerts,
    'low_balance_nanos', p.low_balance_nanos, 'trial_days', p.trial_days,
    'plan_days', p.plan_days, 'updated_at_ms', ledger.ms_of(p.updated_at))
$$;

create function api.get_notice_preferences(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1);
begin
  return tenancy.preferences_json(tenancy.preferences_of(acct, coalesce($1 ->> 'member', '')));
end $$;

-- {account, member?, set}: only what `set` names changes.
create function api.set_notice_preferences(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  who text := coalesce(left($1 ->> 'member', 200), '');
  s jsonb := tenancy.object_arg($1, 'set', '{}');
  p tenancy.notice_preferences := tenancy.preferences_of(acct, who);
begin
  p.member := who;
  p.updated_at := ledger.now();
  if s ? 'email_notifications' then
    p.email_notifications := (s -> 'email_notifications') = 'true';
  end if;
  if s ? 'usage_alerts' then
    p.usage_alerts := (s -> 'usage_alerts') = 'true';
  end if;
  p.low_balance_nanos := ledger.int_arg(s, 'low_balance_nanos', 0, ledger.wallet_cap(),
                                        p.low_balance_nanos);
  p.trial_days := ledger.int_arg(s, 'trial_days', 0, 30, p.trial_days);
  p.plan_days := ledger.int_arg(s, 'plan_days', 0, 30, p.plan_days);
  insert into tenancy.notice_preferences as o values (p.*)
    on conflict (account, member) do update set email_notifications = p.email_notifications,
      usage_alerts = p.usage_alerts, low_balance_nanos = p.low_balance_nanos,
      trial_days = p.trial_days, plan_days = p.plan_days, updated_at = p.updated_at
    returning o.* into p;
  return tenancy.preferences_json(p);
end $$;

select ledger.close_doors();
