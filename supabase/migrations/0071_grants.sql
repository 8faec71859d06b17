-- Keys that a customer gives to somebody else's application: a code goes through the browser, once
-- and for ten minutes; who shows it with the verifier of its challenge (RFC 7636) gets a key with
-- the limits that were agreed. A code that is shown twice takes its key back (RFC 6749 §4.1.2).

create table tenancy.grant_codes (
  hash       bytea primary key check (octet_length(hash) = 32),
  account    text collate "C" not null references tenancy.accounts,
  actor      text not null,
  app        text not null,                        -- the host it is given to, or what it is called
  callback   text,
  challenge  text,
  method     text check (method in ('S256', 'plain')),
  key        jsonb not null,                       -- what issue_key takes, without the secret's
  tries      integer not null default 0,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  used_at    timestamptz,
  key_id     text collate "C",
  check ((challenge is null) = (method is null))
);
create index grant_codes_by_account on tenancy.grant_codes (account, created_at);

-- {hash, account, actor, app, callback?, challenge?, method?, ttl_ms, key: {name, environment,
-- rules, limits, expires_at_ms?}}
create function api.make_grant_code(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  at timestamptz := ledger.now();
  given jsonb := tenancy.object_arg($1, 'key', '{}');
begin
  delete from tenancy.grant_codes g where g.account = acct and g.created_at < at - interval '30 days';
  insert into tenancy.grant_codes (hash, account, actor, app, callback, challenge, method, key,
                                   created_at, expires_at)
    values (tenancy.hash_arg($1), acct, tenancy.actor_arg($1),
            ledger.text_arg($1, 'app', '^[^[:cntrl:]]+$', 200), left($1 ->> 'callback', 2000),
            left($1 ->> 'challenge', 128), $1 ->> 'method', given, at,
            at + ledger.span(ledger.int_arg($1, 'ttl_ms', 1000, 3600000)));
  perform tenancy.note(acct, $1 ->> 'actor', 'grant.given', $1 ->> 'app', jsonb_build_object(
    'callback', $1 ->> 'callback', 'limits', given -> 'limits', 'name', given -> 'name'));
  return jsonb_build_object('created_at_ms', ledger.ms_of(at));
end $$;

-- Is the giver of a code still there: a key that works, or a member of the account?
create function tenancy.may_still_give(p_account text, p_actor text, p_at timestamptz)
returns boolean language sql stable as $$
  select case split_part(p_actor, ':', 1)
    when 'key' then exists (
      select 1 from tenancy.api_keys k
       where k.key_id = substr(p_actor, 5) and k.account = p_account and k.revoked_at is null
         and k.enabled and (k.expires_at is null or k.expires_at > p_at))
    when 'member' then exists (
      select 1 from tenancy.members m join tenancy.people p using (person)
       where m.account = p_account and m.person = substr(p_actor, 8) and p.status = 'active')
    else false end
$$;

-- {hash, s256, plain, method?, key: {key_id, hash, prefix}}: the key, or null for whatever is no
-- good. `s256` and `plain` are what the verifier makes of a challenge, null without one.
create function api.use_grant_code(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  at timestamptz := ledger.now();
  secret jsonb := tenancy.object_arg($1, 'key', '{}');
  g tenancy.grant_codes;
  title text;
  made jsonb;
begin
  select * into g from tenancy.grant_codes o where o.hash = tenancy.hash_arg($1) for update;
  if not found then return null; end if;
  if g.used_at is not null then
    -- Somebody else has it: the first key may be theirs.
    update tenancy.api_keys k set revoked_at = at where k.key_id = g.key_id and k.revoked_at is null;
    if not found then return null; end if;
    perform tenancy.note(g.account, g.actor, 'key.deleted', g.key_id,
      jsonb_build_object('reason', 'code_shown_twice'));
    return jsonb_build_object('revoked', g.key_id, 'account', g.account,
                              'epoch', tenancy.raise_epoch(g.account));
  end if;
  if g.expires_at <= at or g.tries >= 3 then return null; end if;
  -- A verifier where there was no challenge: somebody took the challenge away (RFC 9700 §2.1.1).
  if (g.method is null and $1 ->> 'plain' is not null)
     or g.method is distinct from coalesce($1 ->> 'method', g.method)
     or g.challenge is distinct from (case g.method when 'S256' then $1 ->> 's256'
                                                    when 'plain' then $1 ->> 'plain' end) then
    update tenancy.grant_codes o set tries = o.tries + 1 where o.hash = g.hash;
    return null;
  end if;
  if (select a.status from tenancy.accounts a where a.account = g.account) <> 'active' then
    return null;
  end if;
  title := left(g.key ->> 'name', 100);
  perform 1 from tenancy.accounts a where a.account = g.account for no key update;
  if not tenancy.may_still_give(g.account, g.actor, at) then return null; end if;
  if exists (select 1 from tenancy.api_keys k
              where k.account = g.account and k.name = title and k.revoked_at is null) then
    title := title || ' (' || right(secret ->> 'key_id', 6) || ')';
  end if;
  made := api.issue_key(g.key || secret || jsonb_build_object('account', g.account,
    'actor', g.actor, 'name', title, 'metadata', jsonb_build_object('app', g.app)));
  update tenancy.grant_codes o set used_at = at, key_id = made ->> 'key_id' where o.hash = g.hash;
  return jsonb_build_object('key', made, 'person',
    (select k.person from tenancy.api_keys k where k.key_id = made ->> 'key_id'));
end $$;

-- As before; a key that was given to an application is told as that.
create or replace function tenancy.tell_of_key() returns trigger
language plpgsql set search_path = '' as $$
begin
  perform tenancy.notify(
    case when new.metadata ? 'app' then 'grant_given' else 'key_created' end, new.account,
    'key_created:' || new.key_id, jsonb_build_object('name', new.name, 'prefix', new.prefix,
      'environment', new.environment, 'app', new.metadata ->> 'app'));
  return null;
end $$;

-- ------------------------------------------------------------------ an account is closed

-- What was sealed, codes that are open, and letters that wait go with it; the audit stays.
create function tenancy.empty_closed_account() returns trigger
language plpgsql set search_path = '' as $$
begin
  update tenancy.provider_keys k set sealed = null, enabled = false, deleted_at = ledger.now()
   where k.account = new.account and k.deleted_at is null;
  delete from tenancy.grant_codes g where g.account = new.account;
  delete from tenancy.notice_preferences p where p.account = new.account;
  delete from tenancy.notice_deliveries d using tenancy.notices n
   where n.account = new.account and d.notice = n.id;
  update tenancy.notices n set data = '{}', email = null, spread_at = ledger.now()
   where n.account = new.account;
  return null;
end $$;
create trigger empty_closed_account after update of status on tenancy.accounts
  for each row when (new.status = 'closed' and old.status <> 'closed')
  execute function tenancy.empty_closed_account();

select ledger.close_doors();
