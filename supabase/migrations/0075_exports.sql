-- Exports: long ranges are written by a schedule into parts, each a blob; the row is the job.

create table ledger.exports (
  export_id     text collate "C" primary key,
  account       text collate "C" not null references tenancy.accounts,
  kind          text not null check (kind in ('requests', 'usage', 'focus')),
  format        text not null check (format in ('csv', 'json', 'ndjson', 'parquet')),
  params        jsonb not null,
  state         text not null default 'queued'
                  check (state in ('queued', 'running', 'done', 'failed', 'expired')),
  parts         jsonb not null default '[]',      -- [{key, rows, bytes}]
  cursor        text,                             -- where the next part begins
  tries         integer not null default 0,
  problem       text,
  created_at    timestamptz not null,
  claimed_until timestamptz,
  finished_at   timestamptz,
  expires_at    timestamptz
);
create index exports_by_account on ledger.exports (account, export_id desc);
create index exports_open on ledger.exports (export_id) where state in ('queued', 'running');
create index exports_ending on ledger.exports (expires_at) where state in ('done', 'failed');

create function ledger.export_json(e ledger.exports) returns jsonb language sql stable as $$
  select to_jsonb(e) - '{created_at,claimed_until,finished_at,expires_at}'::text[]
    || jsonb_build_object('created_at_ms', ledger.ms_of(e.created_at),
         'finished_at_ms', ledger.ms_of(e.finished_at),
         'expires_at_ms', ledger.ms_of(e.expires_at))
$$;

create function api.create_export(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  waiting integer;
  e ledger.exports;
begin
  perform pg_advisory_xact_lock(hashtextextended('exports:' || acct, 0));
  select count(*) into waiting from ledger.exports x
   where x.account = acct and x.state in ('queued', 'running');
  if waiting >= 5 then
    raise exception 'too_many_exports' using errcode = 'PT409', detail = waiting::text;
  end if;
  insert into ledger.exports (export_id, account, kind, format, params, created_at)
    values (ledger.text_arg($1, 'export_id', '^exp_[0-9A-Za-z]+$', 40), acct, $1 ->> 'kind',
            $1 ->> 'format', $1 -> 'params', ledger.now())
    returning * into e;
  return ledger.export_json(e);
end $$;

create function api.find_export(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := case when coalesce(jsonb_typeof($1 -> 'account'), 'null') = 'null' then null
                    else ledger.account_arg($1) end;
  wanted text := ledger.op_arg($1, 'export_id');
begin
  return (select ledger.export_json(e) from ledger.exports e
           where e.export_id = wanted and (acct is null or e.account = acct));
end $$;

create function api.list_exports(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 50);
begin
  return (
    select coalesce(jsonb_agg(ledger.export_json(e) order by e.export_id desc), '[]')
      from (select * from ledger.exports x where x.account = acct
             order by x.export_id desc limit most) as e);
end $$;

-- The oldest that nobody works on; after five tries it has failed.
create function api.claim_export(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  visible interval := ledger.span(ledger.int_arg($1, 'visible_ms', 1000, 3600000, 300000));
  at timestamptz := ledger.now();
  e ledger.exports;
begin
  update ledger.exports x set state = 'failed', problem = 'tried too often', finished_at = at,
         expires_at = at + interval '7 days'
   where x.state = 'running' and x.tries >= 5 and x.claimed_until <= at;
  update ledger.exports x set state = 'running', claimed_until = at + visible, tries = x.tries + 1
   where x.export_id = (select y.export_id from ledger.exports y
                         where y.state in ('queued', 'running')
                           and coalesce(y.claimed_until, '-infinity') <= at
                         order by y.export_id limit 1 for update skip locked)
  returning * into e;
  if not found then return null; end if;
  return ledger.export_json(e);
end $$;

-- {export_id, part?: {key, rows, bytes}, cursor?, done?, problem?, visible_ms, keep_ms}: a part is
-- written and the next begins at the cursor; progress resets the tries.
create function api.advance_export(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  wanted text := ledger.op_arg($1, 'export_id');
  at timestamptz := ledger.now();
  done boolean := coalesce(($1 -> 'done') = 'true', false);
  failed boolean := $1 ->> 'problem' is not null;
  e ledger.exports;
begin
  update ledger.exports x
     set parts = case when jsonb_typeof($1 -> 'part') = 'object'
                      then x.parts || jsonb_build_array($1 -> 'part') else x.parts end,
         cursor = case when failed then x.cursor else $1 ->> 'cursor' end,
         state = case when failed then 'failed' when done then 'done' else 'running' end,
         tries = 0, problem = left($1 ->> 'problem', 200),
         claimed_until = at + ledger.span(ledger.int_arg($1, 'visible_ms', 0, 3600000, 300000)),
         finished_at = case when failed or done then at end,
         expires_at = case when failed or done
           then at + ledger.span(ledger.int_arg($1, 'keep_ms', 0, 90 * 86400000::bigint,
                                                7 * 86400000)) end
   where x.export_id = wanted and x.state = 'running'
  returning * into e;
  if not found then return null; end if;
  return ledger.export_json(e);
end $$;

-- Those whose time is over, with the keys of their blobs; they are expired once their blobs are gone.
create function api.list_ended_exports(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
begin
  return (
    select coalesce(jsonb_agg(ledger.export_json(e)), '[]')
      from (select * from ledger.exports x where x.state in ('done', 'failed')
               and x.expires_at <= ledger.now()
             order by x.expires_at limit ledger.int_arg($1, 'limit', 1, 1000, 100)) as e);
end $$;

create function api.expire_export(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare wanted text := ledger.op_arg($1, 'export_id');
begin
  update ledger.exports x set state = 'expired', parts = '[]' where x.export_id = wanted;
  return jsonb_build_object('expired', found);
end $$;

-- One UTC day of what was billed, by key, model, offer, class and price: {account, day_ms}. The
-- amounts add up to the day's charges.
create function api.list_billed_lines(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted date := ((timestamptz 'epoch' + ledger.span(ledger.int_arg($1, 'day_ms', 0,
                   253402300799999))) at time zone 'UTC')::date;
begin
  perform ledger.catch_up(acct);
  return (
    select coalesce(jsonb_agg(to_jsonb(l) || jsonb_build_object(
             'account', acct, 'account_name', a.name, 'day', wanted)
             order by l.key_id, l.model, l.offer, l.class, l.price_nanos, l.team, l.member), '[]')
      from (select s.key_id, k.name as key_name, s.team, s.member, s.tags, s.model, s.offer,
                   s.provider, u.class, u.price_nanos, sum(u.units)::bigint as units,
                   sum(u.nanos)::bigint as nanos
              from ledger.usage_lines u
              join ledger.usage_series s on s.series = u.series
              left join tenancy.api_keys k on k.key_id = s.key_id
             where u.account = acct and u.day = wanted
             group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10) as l
     cross join (select x.name from tenancy.accounts x where x.account = acct) as a);
end $$;

select ledger.close_doors();
