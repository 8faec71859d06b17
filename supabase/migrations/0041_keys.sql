-- What a key may do, and for how long. A key keeps its id, name and usage when its secret changes;
-- the secret before it works for an overlap. All changes raise the account's epoch (D13) and stand
-- in the audit, in one transaction.

update tenancy.api_keys k set name = left(k.name, 160) || ' (' || k.key_id || ')'
 where exists (select 1 from tenancy.api_keys o
                where o.account = k.account and o.name = k.name and o.key_id < k.key_id);

alter table tenancy.api_keys
  add column environment text not null default 'live'
    check (environment in ('test', 'staging', 'live', 'development')),
  add column is_primary  boolean not null default false,
  add column enabled     boolean not null default true,
  add column expires_at  timestamptz,
  -- accounts/rules.py reads it; {} allows everything
  add column rules       jsonb not null default '{}' check (jsonb_typeof(rules) = 'object'),
  add column preferences jsonb,
  add column team        text,
  add column metadata    jsonb not null default '{}',
  add column creator     text,
  add column old_hash    bytea unique check (octet_length(old_hash) = 32),
  add column old_until   timestamptz,
  add column updated_at  timestamptz,
  add check ((old_hash is null) = (old_until is null));

create unique index api_keys_by_name on tenancy.api_keys (account, name) where revoked_at is null;

-- ------------------------------------------------------------------ usage by key

alter table ledger.key_spending
  add column prompt_tokens     bigint not null default 0,
  add column completion_tokens bigint not null default 0,
  add column last_at           timestamptz;

-- As before, and when the key was last used: it costs no write of its own.
create or replace function ledger.add_key_spending() returns trigger
language plpgsql set search_path = '' as $$
begin
  insert into ledger.key_spending as k
    (key_id, day, account, requests, nanos, prompt_tokens, completion_tokens, last_at)
  select n.key_id, (n.posted_at at time zone 'UTC')::date, max(n.account), count(*),
         sum(n.charge_nanos), sum(t.prompt), sum(t.answer), max(coalesce(n.admitted_at, n.posted_at))
    from fresh n cross join lateral ledger.token_units(n.lines) as t
   where n.key_id is not null group by 1, 2
  on conflict (key_id, day) do update
    set requests = k.requests + excluded.requests, nanos = k.nanos + excluded.nanos,
        prompt_tokens = k.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = k.completion_tokens + excluded.completion_tokens,
        last_at = greatest(k.last_at, excluded.last_at);
  return null;
end $$;

create function tenancy.key_json(k tenancy.api_keys) returns jsonb language sql stable as $$
  select jsonb_build_object('key_id', k.key_id, 'account', k.account, 'name', k.name,
      'prefix', k.prefix, 'hash', encode(sha256(convert_to(k.key_id, 'UTF8')), 'hex'),
      'environment', k.environment, 'is_primary', k.is_primary, 'enabled', k.enabled,
      'expires_at_ms', ledger.ms_of(k.expires_at), 'rules', k.rules, 'limits', k.limits,
      'preferences', k.preferences, 'team', k.team, 'metadata', k.metadata, 'creator', k.creator,
      'old_until_ms', case when k.old_until > ledger.now() then ledger.ms_of(k.old_until) end,
      'created_at_ms', ledger.ms_of(k.created_at), 'updated_at_ms', ledger.ms_of(k.updated_at),
      'revoked', k.revoked_at is not null)
    || (select jsonb_build_object('requests', coalesce(sum(s.requests), 0)::bigint,
          'prompt_tokens', coalesce(sum(s.prompt_tokens), 0)::bigint,
          'completion_tokens', coalesce(sum(s.completion_tokens), 0)::bigint,
          'total_nanos', coalesce(sum(s.nanos), 0)::bigint,
          'day_nanos', coalesce(sum(s.nanos) filter (where s.day >= t.today), 0)::bigint,
          'week_nanos', coalesce(sum(s.nanos)
              filter (where s.day >= date_trunc('week', t.today::timestamp)::date), 0)::bigint,
          'month_nanos', coalesce(sum(s.nanos)
              filter (where s.day >= date_trunc('month', t.today::timestamp)::date), 0)::bigint,
          'last_used_at_ms', ledger.ms_of(max(s.last_at)))
        from (select (ledger.now() at time zone 'UTC')::date as today) as t
        left join ledger.key_spending s on s.key_id = k.key_id and s.account = k.account)
$$;

create function tenancy.raise_epoch(p_account text) returns integer language sql as $$
  update tenancy.accounts a set epoch = a.epoch + 1 where a.account = p_account returning a.epoch
$$;

-- A key that is not there, deleted, or another account's: one and the same answer (F83). Locked.
create function tenancy.own_key(p_account text, p jsonb) returns tenancy.api_keys
language plpgsql as $$
declare
  wanted text := ledger.op_arg(p, 'key_id');
  k tenancy.api_keys;
begin
  select * into k from tenancy.api_keys o
   where o.account = p_account and o.revoked_at is null
     and (o.key_id = wanted or encode(sha256(convert_to(o.key_id, 'UTF8')), 'hex') = wanted)
     for no key update;
  if not found then raise exception 'key_not_found' using errcode = 'PT404', detail = wanted; end if;
  return k;
end $$;

create function tenancy.object_arg(p jsonb, p_key text, p_default jsonb) returns jsonb
language plpgsql stable as $$
begin
  if coalesce(jsonb_typeof(p -> p_key), 'null') = 'null' then return p_default; end if;
  if jsonb_typeof(p -> p_key) <> 'object' or length((p -> p_key)::text) > 65536 then
    perform ledger.refuse('invalid_argument', p_key || ' must be an object');
  end if;
  return p -> p_key;
end $$;

create function tenancy.time_arg(p jsonb, p_key text) returns timestamptz language sql stable as $$
  select timestamptz 'epoch' + ledger.span(ledger.int_arg(p, p_key, 0, 253402300799999, null))
$$;

create function tenancy.actor_arg(p jsonb) returns text language sql stable as $$
  select ledger.text_arg(p, 'actor', '^[!-~]+$', 120)
$$;

-- Credit of any kind now, or five dollars paid ever.
create function tenancy.has_paid(p_account text) returns boolean language sql stable as $$
  select exists (select 1 from ledger.books b
                  where b.account = p_account and b.kind in ('wallet', 'held') and b.balance > 0)
      or (select coalesce(sum(o.amount), 0) from ledger.operations o
           where o.account = p_account and o.kind = 'topup') >= 5 * 1000000000::bigint
$$;

-- A new key; `hash` is of its secret, which is not stored. Refusals are answers, because the caller
-- words them: key_limit (too many within an hour) and payment_required.
create function api.issue_key(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  digest bytea := decode(ledger.text_arg($1, 'hash', '^[0-9a-f]+$', 64), 'hex');
  most bigint := ledger.int_arg($1, 'most_per_hour', 1, 1000000, null);
  at timestamptz := ledger.now();
  oldest timestamptz;
  made tenancy.api_keys;
begin
  perform 1 from tenancy.accounts a where a.account = acct for no key update;
  if not found then
    raise exception 'account_not_found' using errcode = 'PT404', detail = acct;
  end if;
  if most is not null then
    select k.created_at into oldest from tenancy.api_keys k
     where k.account = acct and k.created_at > at - interval '1 hour'
     order by k.created_at desc offset most - 1 limit 1;
    if found then
      return jsonb_build_object('refused', 'key_limit',
        'wait_ms', ledger.ms_between(at, oldest + interval '1 hour'));
    end if;
  end if;
  if $1 ->> 'environment' in ('live', 'staging') and ($1 -> 'needs_payment') = 'true'
     and not tenancy.has_paid(acct) then
    return jsonb_build_object('refused', 'payment_required');
  end if;
  insert into tenancy.api_keys (key_id, account, name, hash, prefix, environment, is_primary,
      enabled, expires_at, rules, limits, preferences, team, metadata, creator, created_at)
    values (ledger.op_arg($1, 'key_id'), acct, ledger.text_arg($1, 'name', '^.+$', 200), digest,
      ledger.text_arg($1, 'prefix', '^[!-~]+$', 32),
      ledger.text_arg($1, 'environment', '^(test|staging|live|development)$', 11),
      coalesce(($1 ->> 'is_primary')::boolean, false), true, tenancy.time_arg($1, 'expires_at_ms'),
      tenancy.object_arg($1, 'rules', '{}'), tenancy.object_arg($1, 'limits', '{}'),
      tenancy.object_arg($1, 'preferences', null), left($1 ->> 'team', 100),
      tenancy.object_arg($1, 'metadata', '{}'), tenancy.actor_arg($1), at)
    on conflict (account, name) where revoked_at is null do nothing
    returning * into made;
  if not found then
    raise exception 'key_name_taken' using errcode = 'PT409', detail = $1 ->> 'name';
  end if;
  perform tenancy.note(acct, made.creator, 'key.created', made.key_id, jsonb_build_object(
    'name', made.name, 'prefix', made.prefix, 'environment', made.environment,
    'rules', made.rules, 'limits', made.limits));
  return tenancy.key_json(made);
end $$;

-- Only what `set` names changes; null takes a value away.
create function api.change_key(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  actor text := tenancy.actor_arg($1);
  s jsonb := tenancy.object_arg($1, 'set', '{}');
  old tenancy.api_keys := tenancy.own_key(acct, $1);
  k tenancy.api_keys := old;
  raised integer;
begin
  if s ? 'name' then k.name := ledger.text_arg(s, 'name', '^.+$', 200); end if;
  if s ? 'environment' then
    k.environment := ledger.text_arg(s, 'environment', '^(test|staging|live|development)$', 11);
    if k.environment <> old.environment and k.environment in ('live', 'staging')
       and not tenancy.has_paid(acct) then
      return jsonb_build_object('refused', 'payment_required');
    end if;
  end if;
  if s ? 'enabled' then k.enabled := (s ->> 'enabled')::boolean; end if;
  if s ? 'expires_at_ms' then k.expires_at := tenancy.time_arg(s, 'expires_at_ms'); end if;
  if s ? 'rules' then k.rules := k.rules || tenancy.object_arg(s, 'rules', '{}'); end if;
  if s ? 'limits' then
    k.limits := jsonb_strip_nulls(k.limits || tenancy.object_arg(s, 'limits', '{}'));
  end if;
  if s ? 'preferences' then k.preferences := tenancy.object_arg(s, 'preferences', null); end if;
  if s ? 'team' then k.team := left(s ->> 'team', 100); end if;
  if s ? 'metadata' then k.metadata := tenancy.object_arg(s, 'metadata', '{}'); end if;
  begin
    update tenancy.api_keys o set name = k.name, environment = k.environment, enabled = k.enabled,
        expires_at = k.expires_at, rules = k.rules, limits = k.limits,
        preferences = k.preferences, team = k.team, metadata = k.metadata, updated_at = ledger.now()
     where o.key_id = k.key_id returning * into k;
  exception when unique_violation then
    raise exception 'key_name_taken' using errcode = 'PT409', detail = k.name;
  end;
  raised := tenancy.raise_epoch(acct);
  perform tenancy.note(acct, actor, 'key.updated', k.key_id, jsonb_build_object('set', s));
  return tenancy.key_json(k) || jsonb_build_object('epoch', raised);
end $$;

-- New secrets at once; each one before it works for overlap_ms more, and none before that one.
create function api.rotate_keys(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  actor text := tenancy.actor_arg($1);
  until timestamptz := ledger.now()
    + ledger.span(ledger.int_arg($1, 'overlap_ms', 0, 30 * 86400000::bigint));
  part jsonb;
  k tenancy.api_keys;
  raised integer;
  rows jsonb := '[]';
begin
  raised := tenancy.raise_epoch(acct);
  for part in select p from jsonb_array_elements(ledger.array_arg($1, 'keys', 1000)) as p loop
    k := tenancy.own_key(acct, part);
    update tenancy.api_keys o
       set old_hash = o.hash, old_until = until, updated_at = ledger.now(),
           hash = decode(ledger.text_arg(part, 'hash', '^[0-9a-f]+$', 64), 'hex'),
           prefix = ledger.text_arg(part, 'prefix', '^[!-~]+$', 32)
     where o.key_id = k.key_id returning * into k;
    perform tenancy.note(acct, actor, 'key.rotated', k.key_id,
      jsonb_build_object('prefix', k.prefix, 'old_until_ms', ledger.ms_of(until)));
    rows := rows || tenancy.key_json(k);
  end loop;
  return jsonb_build_object('keys', rows, 'epoch', raised);
end $$;

create function api.delete_key(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  actor text := tenancy.actor_arg($1);
  k tenancy.api_keys := tenancy.own_key(acct, $1);
  raised integer;
begin
  update tenancy.api_keys o set revoked_at = ledger.now() where o.key_id = k.key_id;
  raised := tenancy.raise_epoch(acct);
  perform tenancy.note(acct, actor, 'key.deleted', k.key_id,
    jsonb_build_object('name', k.name, 'prefix', k.prefix));
  return jsonb_build_object('key_id', k.key_id, 'name', k.name, 'epoch', raised);
end $$;

-- As before, for the command line and the local stack, with every right. A name that is taken gets
-- the key's id behind it.
create or replace function api.create_key(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  key text := ledger.op_arg($1, 'key_id');
  digest bytea := decode(ledger.text_arg($1, 'hash', '^[0-9a-f]+$', 64), 'hex');
  title text := ledger.text_arg($1, 'name', '^.+$', 200);
  owner tenancy.accounts;
  made tenancy.api_keys;
begin
  select * into owner from tenancy.accounts a where a.account = acct for no key update;
  if not found then
    raise exception 'account_not_found' using errcode = 'PT404', detail = acct;
  end if;
  if exists (select 1 from tenancy.api_keys k where k.account = acct and k.name = title
                and k.revoked_at is null and k.key_id <> key) then
    title := left(title, 100) || ' (' || key || ')';
  end if;
  insert into tenancy.api_keys (key_id, account, name, hash, prefix, environment, created_at)
    values (key, acct, title, digest, ledger.text_arg($1, 'prefix', '^[!-~]+$', 32),
            case owner.stage when 'dev' then 'development' else owner.stage end, ledger.now())
    on conflict do nothing;
  if found then
    perform tenancy.note(acct, $1 ->> 'actor', 'key.created', key,
      jsonb_build_object('name', title, 'prefix', $1 ->> 'prefix'));
  end if;
  select * into made from tenancy.api_keys k where k.key_id = key;
  if not found or made.account <> acct or made.hash <> digest then
    raise exception 'key_conflict' using errcode = 'PT409', detail = key;
  end if;
  return jsonb_build_object('key_id', key, 'account', acct, 'name', made.name,
    'prefix', made.prefix, 'epoch', owner.epoch, 'created_at_ms', ledger.ms_of(made.created_at),
    'status', case when made.revoked_at is null then 'active' else 'revoked' end);
end $$;

-- As before; now it stands in the audit.
create or replace function api.revoke_key(jsonb) returns jsonb
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
    raised := tenancy.raise_epoch(acct);
    perform tenancy.note(acct, coalesce($1 ->> 'actor', 'system'), 'key.deleted', key, null);
  end if;
  select a.epoch into raised from tenancy.accounts a where a.account = acct;
  return jsonb_build_object('account', acct, 'key_id', key, 'epoch', raised);
end $$;

create function api.read_keys(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  disabled boolean := coalesce(($1 ->> 'disabled')::boolean, true);
begin
  return (
    select coalesce(jsonb_agg(tenancy.key_json(k) order by k.created_at, k.key_id), '[]')
      from (
        select * from tenancy.api_keys o
         where o.account = acct and o.revoked_at is null and (disabled or o.enabled)
           and ($1 ->> 'environment' is null or o.environment = $1 ->> 'environment')
         order by o.created_at, o.key_id
        offset ledger.int_arg($1, 'offset', 0, 1000000, 0)
         limit ledger.int_arg($1, 'limit', 1, 1000, 1000)) as k);
end $$;

create function api.read_key(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := ledger.op_arg($1, 'key_id');
  k tenancy.api_keys;
begin
  select * into k from tenancy.api_keys o
   where o.account = acct and o.revoked_at is null
     and (o.key_id = wanted or encode(sha256(convert_to(o.key_id, 'UTF8')), 'hex') = wanted);
  if not found then raise exception 'key_not_found' using errcode = 'PT404', detail = wanted; end if;
  return tenancy.key_json(k);
end $$;

-- A key that is revoked, disabled or expired finds nobody, exactly as one that never was. A secret
-- in its overlap is the same key for a while.
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
                          case when k.hash <> digest then k.old_until end)),
             'preferences', k.preferences, 'status', a.status)
      from tenancy.api_keys k join tenancy.accounts a using (account)
     where (k.hash = digest or k.old_hash = digest and k.old_until > at)
       and k.revoked_at is null and k.enabled
       and (k.expires_at is null or k.expires_at > at));
end $$;

create function api.note_denied_use(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  key text := ledger.op_arg($1, 'key_id');
begin
  perform tenancy.note(acct, 'key:' || key, 'key.denied', key,
    jsonb_build_object('code', ledger.text_arg($1, 'code', '^[a-z_]+$', 60),
                       'ip', left($1 ->> 'ip', 64)));
  return jsonb_build_object('noted', true);
end $$;

select ledger.close_doors();
