-- Provider keys: credentials of an account's own at a provider (BYOK). Here they are sealed under a
-- ring of keys that the database does not have; a deleted one is wiped. Every change raises the
-- account's epoch, since principals carry what is sealed to the data plane.

create table tenancy.provider_keys (
  id          uuid primary key,
  account     text collate "C" not null references tenancy.accounts,
  provider    text collate "C" not null check (provider ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
  name        text,
  sealed      text,                                -- null once it is deleted
  ring        integer not null,                    -- which key of the ring it is sealed under
  label       text not null,                       -- how it begins and ends
  last4       text not null,
  always      boolean not null,                    -- false: a failure may fall back to ours
  is_fallback boolean not null default false,      -- only after the others of its provider
  sort_order  integer not null default 0 check (sort_order between 0 and 1000000),
  enabled     boolean not null default true,
  -- null restricts nothing: models by pattern, our keys by public hash, people by id
  models      jsonb check (jsonb_typeof(models) = 'array'),
  api_keys    jsonb check (jsonb_typeof(api_keys) = 'array'),
  people      jsonb check (jsonb_typeof(people) = 'array'),
  creator     text not null,
  created_at  timestamptz not null,
  updated_at  timestamptz,
  deleted_at  timestamptz,
  check ((sealed is null) = (deleted_at is not null))
);
create index provider_keys_by_account on tenancy.provider_keys (account, provider)
  where deleted_at is null;
create index provider_keys_by_ring on tenancy.provider_keys (ring, id) where deleted_at is null;

create function tenancy.provider_key_json(k tenancy.provider_keys) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', k.id, 'account', k.account, 'provider', k.provider,
    'name', k.name, 'label', k.label, 'last4', k.last4, 'ring', k.ring, 'always', k.always,
    'is_fallback', k.is_fallback, 'sort_order', k.sort_order, 'enabled', k.enabled,
    'models', k.models, 'api_keys', k.api_keys, 'people', k.people,
    'created_at_ms', ledger.ms_of(k.created_at), 'updated_at_ms', ledger.ms_of(k.updated_at))
$$;

create function tenancy.words_arg(p jsonb, p_key text) returns jsonb language plpgsql stable as $$
begin
  if coalesce(jsonb_typeof(p -> p_key), 'null') = 'null' then return null; end if;
  perform ledger.array_arg(p, p_key, 100);
  if exists (select 1 from jsonb_array_elements(p -> p_key) as e
              where jsonb_typeof(e) <> 'string' or length(e #>> '{}') > 200) then
    perform ledger.refuse('invalid_argument', p_key || ' must be an array of words');
  end if;
  return p -> p_key;
end $$;

-- Of a row what `s` names: everything a person may set.
create function tenancy.set_provider_key(k tenancy.provider_keys, s jsonb)
returns tenancy.provider_keys language plpgsql stable as $$
begin
  if s ? 'name' then k.name := left(s ->> 'name', 100); end if;
  if s ? 'sealed' then
    k.sealed := ledger.text_arg(s, 'sealed', '^[!-~]+$', 16384);
    k.ring := ledger.int_arg(s, 'ring', 1, 1000000);
    k.label := ledger.text_arg(s, 'label', '^.+$', 40);
    k.last4 := ledger.text_arg(s, 'last4', '^.+$', 4);
  end if;
  if s ? 'always' then k.always := (s -> 'always') = 'true'; end if;
  if s ? 'is_fallback' then k.is_fallback := (s -> 'is_fallback') = 'true'; end if;
  if s ? 'enabled' then k.enabled := (s -> 'enabled') = 'true'; end if;
  if s ? 'sort_order' then k.sort_order := ledger.int_arg(s, 'sort_order', 0, 1000000); end if;
  if s ? 'models' then k.models := tenancy.words_arg(s, 'models'); end if;
  if s ? 'api_keys' then k.api_keys := tenancy.words_arg(s, 'api_keys'); end if;
  if s ? 'people' then k.people := tenancy.words_arg(s, 'people'); end if;
  return k;
end $$;

-- One that is not there, deleted or another account's: the same answer. Locked.
create function tenancy.own_provider_key(p_account text, p jsonb) returns tenancy.provider_keys
language plpgsql as $$
declare k tenancy.provider_keys; wanted text := ledger.op_arg(p, 'id');
begin
  select * into k from tenancy.provider_keys o
   where o.account = p_account and o.id::text = lower(wanted) and o.deleted_at is null
     for no key update;
  if not found then
    raise exception 'provider_key_not_found' using errcode = 'PT404', detail = wanted;
  end if;
  return k;
end $$;

-- {account, actor, id, provider, most, set}: a new one, last of its provider unless `set` says.
create function api.add_provider_key(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  s jsonb := tenancy.object_arg($1, 'set', '{}');
  k tenancy.provider_keys;
  raised integer;
begin
  perform 1 from tenancy.accounts a where a.account = acct for no key update;
  if not found then
    raise exception 'account_not_found' using errcode = 'PT404', detail = acct;
  end if;
  if (select count(*) from tenancy.provider_keys o where o.account = acct
         and o.deleted_at is null) >= ledger.int_arg($1, 'most', 1, 1000) then
    return jsonb_build_object('refused', 'provider_key_limit');
  end if;
  k.id := ledger.uuid_arg($1, 'id');
  k.account := acct;
  k.provider := ledger.text_arg($1, 'provider', '^[a-z0-9-]+$', 40);
  k.always := true;
  k.is_fallback := false;
  k.enabled := true;
  k.creator := tenancy.actor_arg($1);
  k.created_at := ledger.now();
  select coalesce(max(o.sort_order) + 1, 0) into k.sort_order from tenancy.provider_keys o
   where o.account = acct and o.provider = k.provider and o.deleted_at is null;
  k := tenancy.set_provider_key(k, s);
  insert into tenancy.provider_keys values (k.*) returning * into k;
  raised := tenancy.raise_epoch(acct);
  perform tenancy.note(acct, k.creator, 'provider_key.created', k.id::text, jsonb_build_object(
    'provider', k.provider, 'label', k.label, 'always', k.always));
  return tenancy.provider_key_json(k) || jsonb_build_object('epoch', raised);
end $$;

-- {account, actor, id, set}
create function api.change_provider_key(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  actor text := tenancy.actor_arg($1);
  s jsonb := tenancy.object_arg($1, 'set', '{}');
  k tenancy.provider_keys := tenancy.own_provider_key(acct, $1);
  raised integer;
begin
  k := tenancy.set_provider_key(k, s);
  update tenancy.provider_keys o
     set name = k.name, sealed = k.sealed, ring = k.ring, label = k.label, last4 = k.last4,
         always = k.always, is_fallback = k.is_fallback, enabled = k.enabled,
         sort_order = k.sort_order, models = k.models, api_keys = k.api_keys, people = k.people,
         updated_at = ledger.now()
   where o.id = k.id returning * into k;
  raised := tenancy.raise_epoch(acct);
  perform tenancy.note(acct, actor, case when s ? 'sealed' then 'provider_key.rotated'
      else 'provider_key.updated' end, k.id::text, (s - 'sealed') - 'ring');
  return tenancy.provider_key_json(k) || jsonb_build_object('epoch', raised);
end $$;

-- {account, actor, id} or {account, actor, provider}: one, or all of a provider's. Wiped.
create function api.delete_provider_keys(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  actor text := tenancy.actor_arg($1);
  k tenancy.provider_keys;
  gone jsonb := '[]';
  raised integer;
begin
  if $1 ? 'id' then perform tenancy.own_provider_key(acct, $1); end if;
  for k in
    update tenancy.provider_keys o
       set sealed = null, deleted_at = ledger.now(), enabled = false
     where o.account = acct and o.deleted_at is null
       and case when $1 ? 'id' then o.id::text = lower($1 ->> 'id')
                else o.provider = ledger.op_arg($1, 'provider') end
     returning o.*
  loop
    gone := gone || to_jsonb(k.id);
    raised := coalesce(raised, tenancy.raise_epoch(acct));
    perform tenancy.note(acct, actor, 'provider_key.deleted', k.id::text,
      jsonb_build_object('provider', k.provider, 'label', k.label));
  end loop;
  if raised is null then
    raise exception 'provider_key_not_found' using errcode = 'PT404', detail = $1 ->> 'provider';
  end if;
  return jsonb_build_object('deleted', gone, 'epoch', raised);
end $$;

create function api.list_provider_keys(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1);
begin
  return jsonb_build_object(
    'total', (select count(*) from tenancy.provider_keys o
               where o.account = acct and o.deleted_at is null
                 and ($1 ->> 'provider' is null or o.provider = $1 ->> 'provider')),
    'keys', (
      select coalesce(jsonb_agg(tenancy.provider_key_json(k)
               order by k.provider, k.is_fallback, k.sort_order, k.created_at, k.id), '[]')
        from (
          select * from tenancy.provider_keys o
           where o.account = acct and o.deleted_at is null
             and ($1 ->> 'provider' is null or o.provider = $1 ->> 'provider')
           order by o.provider, o.is_fallback, o.sort_order, o.created_at, o.id
          offset ledger.int_arg($1, 'offset', 0, 1000000, 0)
           limit ledger.int_arg($1, 'limit', 1, 1000, 1000)) as k));
end $$;

create function api.get_provider_key(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := ledger.op_arg($1, 'id');
  k tenancy.provider_keys;
begin
  select * into k from tenancy.provider_keys o
   where o.account = acct and o.id::text = lower(wanted) and o.deleted_at is null;
  if not found then
    raise exception 'provider_key_not_found' using errcode = 'PT404', detail = wanted;
  end if;
  return tenancy.provider_key_json(k);
end $$;

-- ------------------------------------------------------------------ rotation of the ring

-- {ring, after?, limit}: those sealed under another key of the ring than this one.
create function api.list_sealed_keys(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  current integer := ledger.int_arg($1, 'ring', 1, 1000000);
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 100);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('id', k.id, 'account', k.account,
             'provider', k.provider, 'sealed', k.sealed, 'ring', k.ring) order by k.id), '[]')
      from (select * from tenancy.provider_keys o
             where o.deleted_at is null and o.ring <> current
               and ($1 ->> 'after' is null or o.id > ledger.uuid_arg($1, 'after'))
             order by o.id limit most) as k);
end $$;

-- {id, before, sealed, ring}: only if nobody changed it meanwhile.
create function api.reseal_provider_key(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare acct text; raised integer;
begin
  update tenancy.provider_keys o
     set sealed = ledger.text_arg($1, 'sealed', '^[!-~]+$', 16384),
         ring = ledger.int_arg($1, 'ring', 1, 1000000)
   where o.id = ledger.uuid_arg($1, 'id') and o.deleted_at is null and o.sealed = $1 ->> 'before'
  returning o.account into acct;
  if acct is not null then raised := tenancy.raise_epoch(acct); end if;
  return jsonb_build_object('account', acct, 'epoch', raised);
end $$;

-- ------------------------------------------------------------------ to the data plane

-- Those of an account that this key may use, in the order in which they are tried.
create function tenancy.sealed_for(p_account text, p_key_id text) returns jsonb
language sql stable set enable_seqscan = off as $$
  select jsonb_agg(jsonb_build_object('id', k.id, 'provider', k.provider, 'sealed', k.sealed,
           'always', k.always, 'models', k.models)
           order by k.is_fallback, k.sort_order, k.created_at, k.id)
    from tenancy.provider_keys k
   where k.account = p_account and k.deleted_at is null and k.enabled
     and (k.api_keys is null
          or k.api_keys ? encode(sha256(convert_to(p_key_id, 'UTF8')), 'hex'))
     and (k.people is null
          or exists (select 1 from tenancy.api_keys a
                      where a.key_id = p_key_id and k.people ? a.person))
$$;

alter function api.find_principal(jsonb) set schema tenancy;
alter function tenancy.find_principal(jsonb) security invoker;
create function api.find_principal(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare p jsonb := tenancy.find_principal($1); own jsonb;
begin
  if p is null then return null; end if;
  own := tenancy.sealed_for(p ->> 'account', p ->> 'key_id');
  return case when own is null then p else p || jsonb_build_object('own', own) end;
end $$;

-- ------------------------------------------------------------------ what own keys were used for

-- At list prices, which their owners pay the providers: what we charged is our fee on it.
create table ledger.byok_spending (
  key_id       text collate "C" not null,
  day          date not null,
  account      text collate "C" not null,
  requests     bigint not null,
  listed_nanos bigint not null,
  primary key (key_id, day)
);

create function ledger.add_byok_spending() returns trigger
language plpgsql set search_path = '' set enable_seqscan = off as $$
begin
  insert into ledger.byok_spending as k (key_id, day, account, requests, listed_nanos)
    select n.key_id, (n.posted_at at time zone 'UTC')::date, max(n.account), count(*),
           coalesce(sum(div(n.charge_nanos::numeric * 1000000, nullif(f.ppm, 0))), 0)::bigint
      from fresh n
     cross join lateral (
       select substring(n.price_version from '-byok([0-9]+)$')::bigint as ppm) as f
     where n.key_id is not null and f.ppm is not null group by 1, 2
  on conflict (key_id, day) do update
    set requests = k.requests + excluded.requests,
        listed_nanos = k.listed_nanos + excluded.listed_nanos;
  return null;
end $$;
create trigger add_byok_spending after insert on ledger.requests
  referencing new table as fresh for each statement execute function ledger.add_byok_spending();

alter function tenancy.key_json(tenancy.api_keys) rename to plain_key_json;
create function tenancy.key_json(k tenancy.api_keys) returns jsonb language sql stable as $$
  select tenancy.plain_key_json(k)
    || (select jsonb_build_object(
          'byok_total_nanos', coalesce(sum(s.listed_nanos), 0)::bigint,
          'byok_day_nanos', coalesce(sum(s.listed_nanos) filter (where s.day >= t.today), 0)::bigint,
          'byok_week_nanos', coalesce(sum(s.listed_nanos)
              filter (where s.day >= date_trunc('week', t.today::timestamp)::date), 0)::bigint,
          'byok_month_nanos', coalesce(sum(s.listed_nanos)
              filter (where s.day >= date_trunc('month', t.today::timestamp)::date), 0)::bigint)
        from (select (ledger.now() at time zone 'UTC')::date as today) as t
        left join ledger.byok_spending s on s.key_id = k.key_id and s.account = k.account)
$$;

select ledger.close_doors();
