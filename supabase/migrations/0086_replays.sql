-- Which requests under a caller's own key were begun: the second witness besides Redis, so that a
-- key runs once also when Redis is away or has forgotten. No answer stands here.

create table tenancy.replays (
  account text not null,
  key     text not null,          -- a hash of the caller's key
  digest  text not null,          -- of the request
  owner   text not null,
  state   text not null default 'run' check (state in ('run', 'done')),
  blob    text not null default '',
  at      timestamptz not null,
  primary key (account, key)
);
create index on tenancy.replays (at);

-- account, key, digest, owner, life_ms -> state: OWN, OTHER, DONE or RUNNING; blob
create function api.claim_replay(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  who text := ledger.op_arg($1, 'account');
  name text := ledger.op_arg($1, 'key');
  asked text := ledger.op_arg($1, 'digest');
  mine text := ledger.op_arg($1, 'owner');
  old timestamptz := ledger.now()
    - ledger.span(ledger.int_arg($1, 'life_ms', 1000, 604800000, 86400000));
  known tenancy.replays;
begin
  -- A few that are over go with each that comes.
  delete from tenancy.replays r where (r.account, r.key) in (
    select x.account, x.key from tenancy.replays x where x.at < old
     order by x.at limit 20 for update skip locked);
  insert into tenancy.replays (account, key, digest, owner, at)
    values (who, name, asked, mine, ledger.now())
  on conflict (account, key) do update
    set digest = excluded.digest, owner = excluded.owner, state = 'run', blob = '',
        at = excluded.at
    where tenancy.replays.at < old
  returning * into known;
  if known.owner is null then
    select * into known from tenancy.replays r where r.account = who and r.key = name;
  end if;
  return jsonb_build_object('blob', coalesce(known.blob, ''), 'state',
    case when known.owner is null or known.owner = mine then 'OWN'
         when known.digest <> asked then 'OTHER'
         when known.state = 'done' then 'DONE' else 'RUNNING' end);
end $$;

-- account, key, owner; blob: where the answer is kept, '' when it is in Redis; failed: forget it
create function api.close_replay(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  who text := ledger.op_arg($1, 'account');
  name text := ledger.op_arg($1, 'key');
  mine text := ledger.op_arg($1, 'owner');
begin
  if coalesce(($1 ->> 'failed')::boolean, false) then
    delete from tenancy.replays r where r.account = who and r.key = name and r.owner = mine;
  else
    update tenancy.replays r set state = 'done', blob = left(coalesce($1 ->> 'blob', ''), 200)
     where r.account = who and r.key = name and r.owner = mine;
  end if;
  return '{}';
end $$;

select ledger.close_doors();
