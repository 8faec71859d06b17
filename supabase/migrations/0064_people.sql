-- People: who signs in, how they were recognised, in which accounts they are, and their sessions.
-- A person is known by issuer and subject of a verified token and by nothing else: an e-mail
-- address never finds anybody.

create table tenancy.people (
  person       text collate "C" primary key,
  name         text,
  email        text,
  phone        text,
  handle       text,                               -- a name at the place that vouches for them
  method       text not null,                      -- email, google, phone, github, …
  home         text collate "C" references tenancy.accounts,
  staff        boolean not null default false,
  status       text not null default 'active' check (status in ('active', 'suspended', 'deleted')),
  preferences  jsonb not null default '{}' check (jsonb_typeof(preferences) = 'object'),
  tokens_from  timestamptz,                        -- tokens issued before it are void
  created_at   timestamptz not null,
  updated_at   timestamptz,
  seen_at      timestamptz,
  deleted_at   timestamptz
);
create index people_by_email on tenancy.people (lower(email));
create index people_by_home on tenancy.people (home);

create table tenancy.identities (
  issuer     text collate "C" not null,
  subject    text collate "C" not null,
  person     text collate "C" not null references tenancy.people,
  created_at timestamptz not null,
  primary key (issuer, subject)
);
create index identities_by_person on tenancy.identities (person);

create table tenancy.members (
  account    text collate "C" not null references tenancy.accounts,
  person     text collate "C" not null references tenancy.people,
  role       text not null check (role in ('owner', 'admin', 'developer', 'billing', 'viewer')),
  joined_at  timestamptz not null,
  invited_by text collate "C",
  primary key (account, person)
);
create unique index one_owner on tenancy.members (account) where role = 'owner';
create index members_by_person on tenancy.members (person);

create table tenancy.sessions (
  session    text collate "C" primary key,
  hash       bytea not null unique check (octet_length(hash) = 32),
  person     text collate "C" not null references tenancy.people,
  account    text collate "C" not null references tenancy.accounts,
  ip         text,
  agent      text,
  created_at timestamptz not null,
  seen_at    timestamptz not null,
  expires_at timestamptz not null
);
create index sessions_by_person on tenancy.sessions (person);

-- One use each; the address was proved by whoever holds the link.
create table tenancy.sign_in_links (
  hash       bytea primary key check (octet_length(hash) = 32),
  email      text not null,
  data       jsonb not null,                        -- what was said when it was asked for
  created_at timestamptz not null,
  expires_at timestamptz not null,
  used_at    timestamptz
);

-- Domains of throw-away addresses, besides those that the release brings along.
create table tenancy.blocked_domains (
  domain     text collate "C" primary key check (domain = lower(domain)),
  reason     text,
  actor      text not null,
  created_at timestamptz not null
);

alter table tenancy.accounts
  add column settings jsonb not null default '{}' check (jsonb_typeof(settings) = 'object');

-- ------------------------------------------------------------------ keys of members

-- Who a key acts for. The role stands in its rules, so that the data plane reads one row: a key
-- may never do more than whoever made it (accounts/rules.py).
alter table tenancy.api_keys add column person text collate "C" references tenancy.people;
create index api_keys_by_person on tenancy.api_keys (person) where person is not null;

create function tenancy.bind_key() returns trigger language plpgsql set search_path = '' as $$
begin
  if starts_with(new.creator, 'member:') then
    new.person := substr(new.creator, 8);
  elsif starts_with(new.creator, 'key:') then
    select k.person into new.person from tenancy.api_keys k where k.key_id = substr(new.creator, 5);
  end if;
  if new.person is not null then
    new.rules := new.rules || jsonb_build_object('role', coalesce(
      (select m.role from tenancy.members m
        where m.account = new.account and m.person = new.person), 'none'));
  end if;
  return new;
end $$;
create trigger bind_key before insert on tenancy.api_keys
  for each row execute function tenancy.bind_key();

-- Keys follow the role of whoever they act for.
create function tenancy.follow_role() returns trigger language plpgsql set search_path = '' as $$
begin
  update tenancy.api_keys k
     set rules = k.rules || jsonb_build_object('role', new.role)
   where k.account = new.account and k.person = new.person and k.revoked_at is null;
  return null;
end $$;
create trigger follow_role after update of role on tenancy.members
  for each row when (old.role is distinct from new.role)
  execute function tenancy.follow_role();

-- ------------------------------------------------------------------ arguments

create function tenancy.person_arg(p jsonb) returns text language sql stable as $$
  select ledger.text_arg(p, 'person', '^[!-~]+$', 64)
$$;

create function tenancy.hash_arg(p jsonb) returns bytea language sql stable as $$
  select decode(ledger.text_arg(p, 'hash', '^[0-9a-f]+$', 64), 'hex')
$$;

create function tenancy.person_json(p tenancy.people) returns jsonb language sql stable as $$
  select jsonb_build_object('person', p.person, 'name', p.name, 'email', p.email,
    'phone', p.phone, 'handle', p.handle, 'method', p.method, 'home', p.home, 'staff', p.staff,
    'status', p.status, 'preferences', p.preferences, 'created_at_ms', ledger.ms_of(p.created_at),
    'updated_at_ms', ledger.ms_of(p.updated_at), 'seen_at_ms', ledger.ms_of(p.seen_at))
$$;

-- ------------------------------------------------------------------ sign-in

-- Known people are recognised; somebody new is refused unless `new` says what to make for them:
-- {person, account, stage, key: {key_id, hash, prefix, rules, environment}}. Account, wallet,
-- membership and first key appear together or not at all.
create function api.sign_in(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  who text := ledger.text_arg($1, 'issuer', '^[!-~]+$', 300);
  sub text := ledger.text_arg($1, 'subject', '^[ -~]+$', 320);
  how text := ledger.text_arg($1, 'method', '^[a-z_]+$', 40);
  at timestamptz := ledger.now();
  fresh jsonb := tenancy.object_arg($1, 'new', null);
  p tenancy.people;
  acct text;
  made jsonb;
begin
  -- two first sign-ins of one person at once make one account
  perform pg_advisory_xact_lock(hashtextextended('identity:' || who || ' ' || sub, 0));
  select o.* into p from tenancy.identities i join tenancy.people o using (person)
   where i.issuer = who and i.subject = sub for update of o;
  if found and p.status <> 'active' then return jsonb_build_object('refused', p.status); end if;
  if p.home is not null and not exists (
       select 1 from tenancy.members m join tenancy.accounts a using (account)
        where m.person = p.person and a.status = 'active') then
    perform tenancy.note(p.home, 'member:' || p.person, 'session.denied', p.person,
      jsonb_build_object('method', how, 'code', 'account_suspended'));
    return jsonb_build_object('refused', 'suspended');
  end if;
  if p.home is not null then
    update tenancy.people o
       set email = coalesce($1 ->> 'email', o.email), phone = coalesce($1 ->> 'phone', o.phone),
           handle = coalesce($1 ->> 'handle', o.handle), name = coalesce(o.name, $1 ->> 'name'),
           method = how, seen_at = at
     where o.person = p.person returning * into p;
    perform tenancy.note(p.home, 'member:' || p.person, 'session.signed_in', p.person,
      jsonb_build_object('method', how));
    return tenancy.person_json(p) || jsonb_build_object('is_new', false,
      'account', tenancy.membership(p, null) ->> 'account');
  end if;
  if fresh is null then return jsonb_build_object('refused', 'unknown'); end if;
  acct := ledger.account_arg(fresh);
  perform api.open_account(jsonb_build_object('account', acct, 'stage', fresh ->> 'stage',
    'name', coalesce(nullif(left($1 ->> 'name', 200), ''), 'Personal')));
  if p.person is null then
    insert into tenancy.people
        (person, name, email, phone, handle, method, home, created_at, seen_at)
      values (tenancy.person_arg(fresh), left($1 ->> 'name', 200), left($1 ->> 'email', 320),
              left($1 ->> 'phone', 40), left($1 ->> 'handle', 100), how, acct, at, at)
      returning * into p;
    insert into tenancy.identities values (who, sub, p.person, at);
  else
    -- somebody who is in no account any more
    update tenancy.people o set home = acct, seen_at = at where o.person = p.person
      returning * into p;
  end if;
  insert into tenancy.members (account, person, role, joined_at) values (acct, p.person, 'owner', at);
  perform tenancy.note(acct, 'member:' || p.person, 'account.created', acct,
    jsonb_build_object('method', how));
  perform tenancy.note(acct, 'member:' || p.person, 'session.signed_in', p.person,
    jsonb_build_object('method', how));
  if fresh ? 'key' then
    made := api.issue_key((fresh -> 'key') || jsonb_build_object('account', acct,
      'actor', 'member:' || p.person, 'is_primary', true));
  end if;
  return tenancy.person_json(p)
    || jsonb_build_object('is_new', true, 'account', acct, 'key', made);
end $$;

-- Where somebody is at home after an account was left or closed: the one they joined first, or none.
create function tenancy.settle_home(p_person text) returns void language sql as $$
  update tenancy.people p set home = (
      select m.account from tenancy.members m where m.person = p_person
       order by m.role = 'owner' desc, m.joined_at, m.account limit 1)
   where p.person = p_person
     and not exists (select 1 from tenancy.members m
                      where m.person = p_person and m.account = p.home)
$$;

create function api.make_sign_in_link(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare at timestamptz := ledger.now();
begin
  delete from tenancy.sign_in_links l where l.expires_at < at - interval '1 day';
  insert into tenancy.sign_in_links (hash, email, data, created_at, expires_at)
    values (tenancy.hash_arg($1), ledger.text_arg($1, 'email', '^[^[:cntrl:]]+$', 320),
            tenancy.object_arg($1, 'data', '{}'), at,
            at + ledger.span(ledger.int_arg($1, 'ttl_ms', 1000, 86400000)));
  return jsonb_build_object('made', true);
end $$;

-- The address behind a link and what came with it, once; null for one that is used, over or nobody's.
create function api.use_sign_in_link(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare l tenancy.sign_in_links;
begin
  update tenancy.sign_in_links o set used_at = ledger.now()
   where o.hash = tenancy.hash_arg($1) and o.used_at is null and o.expires_at > ledger.now()
  returning * into l;
  if not found then return null; end if;
  return jsonb_build_object('email', l.email, 'data', l.data);
end $$;

-- ------------------------------------------------------------------ who is calling

-- In an account: its role and what the account is. Unasked the home, if it is not suspended; null
-- for nobody.
create function tenancy.membership(p tenancy.people, p_account text) returns jsonb
language sql stable as $$
  select jsonb_build_object('person', p.person, 'staff', p.staff, 'account', m.account,
           'role', m.role, 'epoch', a.epoch, 'status', a.status, 'stage', a.stage)
    from tenancy.members m join tenancy.accounts a using (account)
   where m.person = p.person and p.status = 'active'
     and (p_account is null or m.account = p_account)
   order by a.status = 'active' desc, m.account = p.home desc, m.joined_at, m.account limit 1
$$;

create function api.open_session(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  who text := tenancy.person_arg($1);
  at timestamptz := ledger.now();
  ends timestamptz := at + ledger.span(ledger.int_arg($1, 'ttl_ms', 1000, 366 * 86400000::bigint));
begin
  -- who signs in again and again keeps the newest hundred
  delete from tenancy.sessions s where s.person = who and (s.expires_at < at or s.session in (
    select o.session from tenancy.sessions o where o.person = who
     order by o.created_at desc offset 99));
  insert into tenancy.sessions
    values (ledger.op_arg($1, 'session'), tenancy.hash_arg($1), who, ledger.account_arg($1),
            left($1 ->> 'ip', 64), left($1 ->> 'agent', 200), at, at, ends);
  return jsonb_build_object('expires_at_ms', ledger.ms_of(ends));
end $$;

-- {hash, idle_ms, account}: `account` chooses another one of the person's. A session that was
-- quiet for idle_ms is over; that it was used is written at most every few minutes.
create function api.find_session(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  at timestamptz := ledger.now();
  idle interval := ledger.span(ledger.int_arg($1, 'idle_ms', 1000, 366 * 86400000::bigint));
  s tenancy.sessions;
  p tenancy.people;
  seat jsonb;
begin
  select * into s from tenancy.sessions o
   where o.hash = tenancy.hash_arg($1) and o.expires_at > at and o.seen_at > at - idle;
  if not found then return null; end if;
  select * into p from tenancy.people o where o.person = s.person;
  seat := tenancy.membership(p, coalesce($1 ->> 'account', s.account));
  if seat is null and $1 ->> 'account' is null then seat := tenancy.membership(p, null); end if;
  if seat is null then
    return case when $1 ->> 'account' is not null and p.status = 'active'
      then jsonb_build_object('refused', 'account_not_found') end;
  end if;
  if s.seen_at < at - interval '5 minutes' then
    update tenancy.sessions o set seen_at = at where o.session = s.session;
  end if;
  return seat || jsonb_build_object('session', s.session,
    'expires_at_ms', ledger.ms_of(s.expires_at));
end $$;

-- {issuer, subject, issued_at_ms, account}: whoever a verified token names.
create function api.find_member(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  p tenancy.people;
  seat jsonb;
begin
  select o.* into p from tenancy.identities i join tenancy.people o using (person)
   where i.issuer = ledger.text_arg($1, 'issuer', '^[!-~]+$', 300)
     and i.subject = ledger.text_arg($1, 'subject', '^[ -~]+$', 320)
     and (o.tokens_from is null
          or o.tokens_from <= timestamptz 'epoch'
             + ledger.span(ledger.int_arg($1, 'issued_at_ms', 0, 253402300799999)));
  if not found or p.status <> 'active' then return null; end if;
  seat := tenancy.membership(p, $1 ->> 'account');
  if seat is null then
    return case when $1 ->> 'account' is not null
      then jsonb_build_object('refused', 'account_not_found') end;
  end if;
  return seat;
end $$;

create function api.list_sessions(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('session', s.session, 'account', s.account,
             'ip', s.ip, 'agent', s.agent, 'created_at_ms', ledger.ms_of(s.created_at),
             'seen_at_ms', ledger.ms_of(s.seen_at), 'expires_at_ms', ledger.ms_of(s.expires_at))
             order by s.created_at desc, s.session), '[]')
      from tenancy.sessions s
     where s.person = tenancy.person_arg($1) and s.expires_at > ledger.now());
end $$;

-- {person, session?}: one session, or all of them and every token of the person's issued so far.
create function api.end_sessions(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  who text := tenancy.person_arg($1);
  one text := $1 ->> 'session';
  ended integer;
  chain text;
begin
  delete from tenancy.sessions s where s.person = who and (one is null or s.session = one);
  get diagnostics ended = row_count;
  if one is null then
    -- tokens say when they were issued in whole seconds
    update tenancy.people p set tokens_from = date_trunc('second', ledger.now()) + interval '1 s'
     where p.person = who;
  end if;
  select p.home into chain from tenancy.people p where p.person = who;
  if ended > 0 or one is null then
    perform tenancy.note(chain, 'member:' || who, 'session.ended', coalesce(one, who),
      jsonb_build_object('sessions', ended));
  end if;
  return jsonb_build_object('ended', ended);
end $$;

-- The session goes on under a new secret, in `account` where that is named.
create function api.renew_session(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  at timestamptz := ledger.now();
  ends timestamptz := at + ledger.span(ledger.int_arg($1, 'ttl_ms', 1000, 366 * 86400000::bigint));
  s tenancy.sessions;
begin
  update tenancy.sessions o
     set hash = tenancy.hash_arg($1), seen_at = at, expires_at = ends,
         account = coalesce($1 ->> 'account', o.account)
   where o.session = ledger.op_arg($1, 'session') and o.expires_at > at
  returning * into s;
  if not found then raise exception 'session_not_found' using errcode = 'PT404'; end if;
  return jsonb_build_object('expires_at_ms', ledger.ms_of(ends), 'account', s.account);
end $$;

-- A denial a minute for a member and a permission: trying again and again fills no chain.
create function api.note_denied_member(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  who text := tenancy.person_arg($1);
  what text := ledger.text_arg($1, 'permission', '^[a-z:_]*$', 60);
begin
  if exists (select 1 from tenancy.audit e
              where e.chain = acct and e.target = who and e.action = 'member.denied'
                and e.details ->> 'permission' = what
                and e.at > ledger.now() - interval '1 minute') then
    return jsonb_build_object('noted', false);
  end if;
  perform tenancy.note(acct, 'member:' || who, 'member.denied', who,
    jsonb_build_object('permission', what, 'ip', left($1 ->> 'ip', 64)));
  return jsonb_build_object('noted', true);
end $$;

create function api.domain_is_blocked(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
begin
  return to_jsonb(exists (
    select 1 from tenancy.blocked_domains b
     where b.domain in (select d from jsonb_array_elements_text(
                          ledger.array_arg($1, 'domains', 20)) as d)));
end $$;

select ledger.close_doors();
