-- Roles, schemas, the one clock, and the checks every function shares.
-- Nothing is granted to public, anon or authenticated, from this first file on: clients of the
-- database reach functions of schema api only, and only as service_role.
-- Runs on Postgres 15-18 without extensions.

do $$
declare wanted text;
begin
  -- Supabase brings these roles; elsewhere they are made here. Roles belong to the whole cluster,
  -- so a second database finds them already there.
  foreach wanted in array array['anon', 'authenticated', 'service_role'] loop
    begin
      execute format('create role %I nologin', wanted);
    exception when duplicate_object or unique_violation then null;
    end;
  end loop;
end $$;

create schema ledger;     -- money: books, transfers, leases, charges
create schema tenancy;    -- accounts and their keys
create schema queue;      -- messages, where no managed queue is used
create schema api;        -- functions only; the one schema that PostgREST exposes

revoke all on schema ledger, tenancy, queue, api from public, anon, authenticated;
grant usage on schema api to service_role;

-- A new function is executable by everyone unless this is said for the role that makes it.
alter default privileges revoke execute on functions from public;

-- Called at the end of every migration, so that no file has to remember the rules: tables have row
-- security and no grants, api functions belong to service_role alone.
create function ledger.close_doors() returns void language plpgsql set search_path = '' as $$
declare part record;
begin
  for part in
    select n.nspname, c.relname from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname in ('ledger', 'tenancy', 'queue', 'api')
       and c.relkind in ('r', 'p') and not c.relrowsecurity
  loop
    execute format('alter table %I.%I enable row level security', part.nspname, part.relname);
  end loop;
  revoke all on all tables in schema ledger, tenancy, queue, api
    from public, anon, authenticated, service_role;
  revoke all on all sequences in schema ledger, tenancy, queue, api
    from public, anon, authenticated, service_role;
  revoke all on all functions in schema ledger, tenancy, queue, api
    from public, anon, authenticated, service_role;
  grant execute on all functions in schema api to service_role;
end $$;

-- The only reader of a clock. A simulation, connected as the owner of the schema, may set
-- gatewayz.now; the same setting made by any other login is ignored, because every role may set
-- a custom setting.
create function ledger.now() returns timestamptz language sql volatile as $$
  select case
    when coalesce(current_setting('gatewayz.now', true), '') <> ''
     and pg_has_role(session_user,
           (select nspowner from pg_catalog.pg_namespace where nspname = 'ledger'), 'member')
    then current_setting('gatewayz.now')::timestamptz
    else clock_timestamp()
  end
$$;

create function ledger.ms_between(p_from timestamptz, p_to timestamptz) returns bigint
language sql immutable as $$
  select trunc(extract(epoch from (p_to - p_from)) * 1000)::bigint
$$;

create function ledger.ms_of(p_at timestamptz) returns bigint language sql immutable as $$
  select trunc(extract(epoch from p_at) * 1000)::bigint
$$;

create function ledger.span(p_ms bigint) returns interval language sql immutable as $$
  select p_ms * interval '1 millisecond'
$$;

-- ULID: ten characters of milliseconds in Crockford's base 32, then randomness. Sorted as bytes
-- (collation "C") the ids are in order of time, which is what the monthly partitions stand on.
create function ledger.ulid_time(p_ms bigint) returns text language sql immutable as $$
  select string_agg(
           substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((p_ms >> (5 * place)) & 31)::integer + 1, 1),
           '' order by place desc)
    from generate_series(0, 9) as place
$$;

create function ledger.new_ulid(p_at timestamptz) returns text language sql volatile as $$
  -- hexadecimal digits are a subset of the ULID alphabet; 60 random bits beside the millisecond
  select ledger.ulid_time(ledger.ms_of(p_at))
      || upper(substr(replace(gen_random_uuid()::text, '-', ''), 1, 16))
$$;

-- Arguments. Every api function takes one unnamed jsonb value, because PostgREST can pass a whole
-- body to such a function and a direct connection can do the same; so types are checked here.
create function ledger.refuse(p_code text, p_detail text) returns void language plpgsql as $$
begin
  raise exception '%', p_code using errcode = 'PT400', detail = p_detail;
end $$;

create function ledger.int_arg(p jsonb, p_key text, p_min bigint, p_max bigint)
returns bigint language plpgsql stable as $$
declare v numeric;
begin
  if jsonb_typeof(p -> p_key) is distinct from 'number' then
    perform ledger.refuse('invalid_argument', p_key || ' must be an integer');
  end if;
  v := (p ->> p_key)::numeric;
  if v <> trunc(v) or v < p_min or v > p_max then
    perform ledger.refuse('invalid_argument',
      format('%s must be an integer from %s to %s', p_key, p_min, p_max));
  end if;
  return v::bigint;
end $$;

create function ledger.int_arg(p jsonb, p_key text, p_min bigint, p_max bigint, p_default bigint)
returns bigint language sql stable as $$
  select case when coalesce(jsonb_typeof(p -> p_key), 'null') = 'null' then p_default
              else ledger.int_arg(p, p_key, p_min, p_max) end
$$;

-- The length is checked apart: a pattern with {1,200} costs twenty times one with +.
create function ledger.text_arg(p jsonb, p_key text, p_pattern text, p_most integer)
returns text language plpgsql stable as $$
begin
  if jsonb_typeof(p -> p_key) is distinct from 'string'
     or length(p ->> p_key) > p_most or (p ->> p_key) !~ p_pattern then
    perform ledger.refuse('invalid_argument', p_key || ' is missing or malformed');
  end if;
  return p ->> p_key;
end $$;

create function ledger.account_arg(p jsonb) returns text language sql stable as $$
  -- no colon: an account's name becomes part of the names of its books
  select ledger.text_arg(p, 'account', '^[A-Za-z0-9][A-Za-z0-9_.-]*$', 64)
$$;

create function ledger.op_arg(p jsonb, p_key text) returns text language sql stable as $$
  select ledger.text_arg(p, p_key, '^[!-~]+$', 200)
$$;

create function ledger.uuid_arg(p jsonb, p_key text) returns uuid language sql stable as $$
  select ledger.text_arg(p, p_key,
    '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$', 36)::uuid
$$;

create function ledger.array_arg(p jsonb, p_key text, p_most integer)
returns jsonb language plpgsql stable as $$
begin
  if jsonb_typeof(p -> p_key) is distinct from 'array' then
    perform ledger.refuse('invalid_argument', p_key || ' must be an array');
  end if;
  if jsonb_array_length(p -> p_key) > p_most then
    perform ledger.refuse('invalid_argument', format('%s has more than %s members', p_key, p_most));
  end if;
  return p -> p_key;
end $$;

-- Limits that keep every amount far below 2^53, the largest integer that a JSON reader, Redis and
-- this ledger all hold exactly.
create function ledger.wallet_cap() returns bigint language sql immutable as $$
  select 1000000 * 1000000000::bigint
$$;
create function ledger.charge_cap() returns bigint language sql immutable as $$
  select 10000 * 1000000000::bigint
$$;
create function ledger.step_cap() returns bigint language sql immutable as $$
  select 50 * 1000000000::bigint
$$;

create function api.ping(jsonb) returns jsonb
language sql security definer set search_path = '' as $$
  select jsonb_build_object('ok', true, 'version', 1)
$$;

select ledger.close_doors();
