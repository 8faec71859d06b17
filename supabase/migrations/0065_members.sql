-- Members of an account, invitations, teams. Every change raises the account's epoch (D13), so that
-- what a member's keys may do holds from the next request, and stands in the audit without anybody's
-- address: the chain outlives a person's data.

create table tenancy.invitations (
  invitation  text collate "C" primary key,
  account     text collate "C" not null references tenancy.accounts,
  email       text not null,
  role        text not null check (role in ('admin', 'developer', 'billing', 'viewer')),
  hash        bytea not null unique check (octet_length(hash) = 32),
  invited_by  text collate "C" not null,
  created_at  timestamptz not null,
  expires_at  timestamptz not null,
  accepted_at timestamptz,
  accepted_by text collate "C" references tenancy.people,
  revoked_at  timestamptz
);
create index invitations_by_account on tenancy.invitations (account, created_at desc);

-- A team is a project inside an account; keys name it by its `team`, which never changes.
create table tenancy.teams (
  account    text collate "C" not null references tenancy.accounts,
  team       text collate "C" not null check (team ~ '^[a-z0-9][a-z0-9-]*$' and length(team) <= 60),
  name       text not null,
  created_at timestamptz not null,
  primary key (account, team)
);

create table tenancy.team_members (
  account text collate "C" not null,
  team    text collate "C" not null,
  person  text collate "C" not null,
  primary key (account, team, person),
  foreign key (account, team) references tenancy.teams on delete cascade,
  foreign key (account, person) references tenancy.members on delete cascade
);

-- ------------------------------------------------------------------ the account

create function api.read_account(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1);
begin
  return (
    select jsonb_build_object('account', a.account, 'name', a.name, 'stage', a.stage,
             'status', a.status, 'settings', a.settings, 'epoch', a.epoch,
             'created_at_ms', ledger.ms_of(a.created_at),
             'members', (select count(*) from tenancy.members m where m.account = acct),
             'owner', (select m.person from tenancy.members m
                        where m.account = acct and m.role = 'owner'))
      from tenancy.accounts a where a.account = acct);
end $$;

-- {account, actor, name?, settings?}: settings are merged, null takes one away.
create function api.change_account(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  actor text := tenancy.actor_arg($1);
begin
  update tenancy.accounts a
     set name = coalesce(ledger.text_arg($1, 'name', '^[^[:cntrl:]]+$', 200), a.name)
   where a.account = acct and $1 ? 'name';
  update tenancy.accounts a
     set settings = jsonb_strip_nulls(a.settings || tenancy.object_arg($1, 'settings', '{}'))
   where a.account = acct and $1 ? 'settings';
  perform tenancy.note(acct, actor, 'account.updated', acct, jsonb_build_object('fields',
    (select coalesce(jsonb_agg(f order by f), '[]') from unnest(array['name', 'settings']) as f
      where $1 ? f)));
  return api.read_account($1);
end $$;

-- ------------------------------------------------------------------ members

create function tenancy.enter_account(p_account text) returns void language plpgsql as $$
begin
  perform 1 from tenancy.accounts a where a.account = p_account for no key update;
  if not found then
    raise exception 'account_not_found' using errcode = 'PT404', detail = p_account;
  end if;
end $$;

-- Nobody, somebody of another account, or one who left: one and the same answer (F83).
create function tenancy.own_member(p_account text, p jsonb) returns tenancy.members
language plpgsql as $$
declare
  wanted text := ledger.op_arg(p, 'member');
  m tenancy.members;
begin
  select * into m from tenancy.members o where o.account = p_account and o.person = wanted;
  if not found then
    raise exception 'member_not_found' using errcode = 'PT404', detail = wanted;
  end if;
  return m;
end $$;

create function tenancy.member_json(m tenancy.members) returns jsonb language sql stable as $$
  select jsonb_build_object('person', m.person, 'role', m.role, 'name', p.name, 'email', p.email,
    'method', p.method, 'joined_at_ms', ledger.ms_of(m.joined_at), 'invited_by', m.invited_by,
    'seen_at_ms', ledger.ms_of(p.seen_at),
    'teams', (select coalesce(jsonb_agg(t.team order by t.team), '[]') from tenancy.team_members t
               where t.account = m.account and t.person = m.person))
    from tenancy.people p where p.person = m.person
$$;

create function api.list_members(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1);
begin
  return (
    select coalesce(jsonb_agg(tenancy.member_json(m) order by m.joined_at, m.person), '[]')
      from tenancy.members m where m.account = acct);
end $$;

create function api.read_member(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
begin
  return tenancy.member_json(tenancy.own_member(ledger.account_arg($1), $1));
end $$;

create function api.list_memberships(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare who text := tenancy.person_arg($1);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('account', a.account, 'name', a.name,
             'role', m.role, 'status', a.status, 'home', a.account = p.home,
             'joined_at_ms', ledger.ms_of(m.joined_at)) order by m.joined_at, a.account), '[]')
      from tenancy.members m join tenancy.accounts a using (account)
      join tenancy.people p using (person) where m.person = who);
end $$;

-- {account, actor, member, role}: the owner's role moves by a transfer alone.
create function api.change_member(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  actor text := tenancy.actor_arg($1);
  wanted text := ledger.text_arg($1, 'role', '^(admin|developer|billing|viewer)$', 20);
  m tenancy.members;
  before text;
  raised integer;
begin
  perform tenancy.enter_account(acct);
  m := tenancy.own_member(acct, $1);
  if m.role = 'owner' then raise exception 'owner_needed' using errcode = 'PT409'; end if;
  before := m.role;
  update tenancy.members o set role = wanted
   where o.account = acct and o.person = m.person returning * into m;
  raised := tenancy.raise_epoch(acct);
  perform tenancy.note(acct, actor, 'member.role_changed', m.person, jsonb_strip_nulls(
    jsonb_build_object('before', before, 'after', m.role, 'reason', left($1 ->> 'reason', 300))));
  return tenancy.member_json(m) || jsonb_build_object('epoch', raised, 'before', before);
end $$;

-- What a member's keys become when the member goes: disabled, or the heir's, whose role bounds them.
create function tenancy.pass_keys(p_account text, p_person text, p_heir text) returns integer
language plpgsql as $$
declare changed integer;
begin
  update tenancy.api_keys k
     set enabled = k.enabled and p_heir is not null, person = p_heir, updated_at = ledger.now(),
         rules = case when p_heir is null then k.rules || '{"role": "none"}' else
           k.rules || jsonb_build_object('role', (
             select m.role from tenancy.members m
              where m.account = p_account and m.person = p_heir)) end
   where k.account = p_account and k.person = p_person and k.revoked_at is null;
  get diagnostics changed = row_count;
  return changed;
end $$;

create function tenancy.drop_member(p_account text, p_person text, p_actor text, p_heir text)
returns jsonb language plpgsql as $$
declare keys integer; raised integer;
begin
  keys := tenancy.pass_keys(p_account, p_person, p_heir);
  delete from tenancy.members m where m.account = p_account and m.person = p_person;
  perform tenancy.settle_home(p_person);
  raised := tenancy.raise_epoch(p_account);
  perform tenancy.note(p_account, p_actor, 'member.removed', p_person,
    jsonb_build_object('keys', keys, 'keys_passed_on', p_heir is not null));
  return jsonb_build_object('person', p_person, 'keys', keys, 'epoch', raised);
end $$;

-- {account, actor, member, heir?}
create function api.remove_member(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  m tenancy.members;
begin
  perform tenancy.enter_account(acct);
  m := tenancy.own_member(acct, $1);
  if m.role = 'owner' then raise exception 'owner_needed' using errcode = 'PT409'; end if;
  return tenancy.drop_member(acct, m.person, tenancy.actor_arg($1), $1 ->> 'heir');
end $$;

-- The account that a person came with is left by passing it on.
create function api.transfer_account(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  heir tenancy.members;
  before text;
  raised integer;
begin
  perform tenancy.enter_account(acct);
  heir := tenancy.own_member(acct, $1);
  select m.person into before from tenancy.members m where m.account = acct and m.role = 'owner';
  if before is distinct from heir.person then
    update tenancy.members m set role = 'admin' where m.account = acct and m.role = 'owner';
    update tenancy.members m set role = 'owner' where m.account = acct and m.person = heir.person;
  end if;
  raised := tenancy.raise_epoch(acct);
  perform tenancy.note(acct, tenancy.actor_arg($1), 'account.transferred', heir.person,
    jsonb_build_object('before', before));
  return jsonb_build_object('account', acct, 'owner', heir.person, 'epoch', raised);
end $$;

-- ------------------------------------------------------------------ invitations

create function tenancy.invitation_json(i tenancy.invitations) returns jsonb
language sql stable as $$
  select jsonb_build_object('invitation', i.invitation, 'account', i.account, 'email', i.email,
    'role', i.role, 'invited_by', i.invited_by, 'created_at_ms', ledger.ms_of(i.created_at),
    'expires_at_ms', ledger.ms_of(i.expires_at),
    'account_name', (select a.name from tenancy.accounts a where a.account = i.account),
    'status', case when i.accepted_at is not null then 'accepted'
                   when i.revoked_at is not null then 'revoked'
                   when i.expires_at <= ledger.now() then 'expired' else 'pending' end)
$$;

-- {account, actor, invitation, email, role, hash, ttl_ms}: an open one to the same address is
-- replaced. At most a hundred are open.
create function api.invite_member(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  actor text := tenancy.actor_arg($1);
  mail text := lower(ledger.text_arg($1, 'email', '^[^[:cntrl:]]+$', 320));
  at timestamptz := ledger.now();
  i tenancy.invitations;
begin
  perform tenancy.enter_account(acct);
  if exists (select 1 from tenancy.members m join tenancy.people p using (person)
              where m.account = acct and lower(p.email) = mail) then
    raise exception 'already_member' using errcode = 'PT409';
  end if;
  update tenancy.invitations o set revoked_at = at
   where o.account = acct and o.email = mail and o.accepted_at is null and o.revoked_at is null;
  if (select count(*) from tenancy.invitations o where o.account = acct and o.accepted_at is null
         and o.revoked_at is null and o.expires_at > at) >= 100 then
    raise exception 'too_many_invitations' using errcode = 'PT409';
  end if;
  insert into tenancy.invitations
      (invitation, account, email, role, hash, invited_by, created_at, expires_at)
    values (ledger.op_arg($1, 'invitation'), acct, mail,
            ledger.text_arg($1, 'role', '^(admin|developer|billing|viewer)$', 20),
            tenancy.hash_arg($1), actor, at,
            at + ledger.span(ledger.int_arg($1, 'ttl_ms', 1000, 90 * 86400000::bigint)))
    returning * into i;
  perform tenancy.note(acct, actor, 'member.invited', i.invitation,
    jsonb_build_object('role', i.role, 'domain', split_part(mail, '@', 2)));
  return tenancy.invitation_json(i);
end $$;

create function api.list_invitations(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1);
begin
  return (
    select coalesce(jsonb_agg(tenancy.invitation_json(i) order by i.created_at desc, i.invitation),
                    '[]')
      from (select * from tenancy.invitations o where o.account = acct and o.revoked_at is null
             order by o.created_at desc limit 500) as i);
end $$;

create function api.revoke_invitation(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := ledger.op_arg($1, 'invitation');
begin
  update tenancy.invitations i set revoked_at = ledger.now()
   where i.account = acct and i.invitation = wanted
     and i.accepted_at is null and i.revoked_at is null;
  if not found then
    raise exception 'invitation_not_found' using errcode = 'PT404', detail = wanted;
  end if;
  perform tenancy.note(acct, tenancy.actor_arg($1), 'member.invitation_revoked', wanted, null);
  return jsonb_build_object('invitation', wanted);
end $$;

create function tenancy.open_invitation(p_hash bytea) returns tenancy.invitations
language plpgsql as $$
declare i tenancy.invitations;
begin
  select * into i from tenancy.invitations o
   where o.hash = p_hash and o.accepted_at is null and o.revoked_at is null
     and o.expires_at > ledger.now() for update;
  if not found then raise exception 'invitation_not_found' using errcode = 'PT404'; end if;
  return i;
end $$;

-- Whoever holds the link and is who it was sent to. A person without an address is not refused:
-- the link itself came by mail.
create function api.accept_invitation(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  who text := tenancy.person_arg($1);
  i tenancy.invitations := tenancy.open_invitation(tenancy.hash_arg($1));
  mail text;
  raised integer;
begin
  select lower(p.email) into mail from tenancy.people p where p.person = who;
  if mail is distinct from i.email and mail is not null then
    raise exception 'invitation_for_another' using errcode = 'PT403';
  end if;
  perform tenancy.enter_account(i.account);
  if (select a.status from tenancy.accounts a where a.account = i.account) <> 'active' then
    raise exception 'invitation_not_found' using errcode = 'PT404';
  end if;
  insert into tenancy.members (account, person, role, joined_at, invited_by)
    values (i.account, who, i.role, ledger.now(), i.invited_by) on conflict do nothing;
  update tenancy.invitations o set accepted_at = ledger.now(), accepted_by = who
   where o.invitation = i.invitation returning * into i;
  raised := tenancy.raise_epoch(i.account);
  perform tenancy.note(i.account, 'member:' || who, 'member.joined', who,
    jsonb_build_object('role', i.role, 'invitation', i.invitation));
  return tenancy.invitation_json(i) || jsonb_build_object('epoch', raised);
end $$;

-- ------------------------------------------------------------------ teams

create function tenancy.own_team(p_account text, p jsonb) returns tenancy.teams
language plpgsql as $$
declare
  wanted text := ledger.op_arg(p, 'team');
  t tenancy.teams;
begin
  select * into t from tenancy.teams o where o.account = p_account and o.team = wanted for update;
  if not found then
    raise exception 'team_not_found' using errcode = 'PT404', detail = wanted;
  end if;
  return t;
end $$;

create function tenancy.team_json(t tenancy.teams) returns jsonb language sql stable as $$
  select jsonb_build_object('team', t.team, 'name', t.name,
    'created_at_ms', ledger.ms_of(t.created_at),
    'members', (select coalesce(jsonb_agg(m.person order by m.person), '[]')
                  from tenancy.team_members m where m.account = t.account and m.team = t.team),
    'keys', (select count(*) from tenancy.api_keys k
              where k.account = t.account and k.team = t.team and k.revoked_at is null),
    'nanos', (select coalesce(sum(s.nanos), 0)::bigint
                from tenancy.api_keys k join ledger.key_spending s on s.key_id = k.key_id
               where k.account = t.account and k.team = t.team))
$$;

create function api.list_teams(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1);
begin
  return (select coalesce(jsonb_agg(tenancy.team_json(t) order by t.team), '[]')
            from tenancy.teams t where t.account = acct);
end $$;

create function api.create_team(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  t tenancy.teams;
begin
  perform tenancy.enter_account(acct);
  if (select count(*) from tenancy.teams o where o.account = acct) >= 1000 then
    raise exception 'too_many_teams' using errcode = 'PT409';
  end if;
  insert into tenancy.teams values (acct, ledger.text_arg($1, 'team', '^[a-z0-9][a-z0-9-]*$', 60),
      ledger.text_arg($1, 'name', '^[^[:cntrl:]]+$', 100), ledger.now())
    on conflict do nothing returning * into t;
  if not found then raise exception 'team_exists' using errcode = 'PT409'; end if;
  perform tenancy.note(acct, tenancy.actor_arg($1), 'team.created', t.team,
    jsonb_build_object('name', t.name));
  return tenancy.team_json(t);
end $$;

create function api.change_team(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  t tenancy.teams := tenancy.own_team(acct, $1);
begin
  update tenancy.teams o set name = ledger.text_arg($1, 'name', '^[^[:cntrl:]]+$', 100)
   where o.account = acct and o.team = t.team returning * into t;
  perform tenancy.note(acct, tenancy.actor_arg($1), 'team.updated', t.team,
    jsonb_build_object('name', t.name));
  return tenancy.team_json(t);
end $$;

-- Its keys stay and go on naming it: what was spent under the name keeps its place.
create function api.delete_team(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  t tenancy.teams := tenancy.own_team(acct, $1);
begin
  delete from tenancy.teams o where o.account = acct and o.team = t.team;
  perform tenancy.note(acct, tenancy.actor_arg($1), 'team.deleted', t.team, null);
  return jsonb_build_object('team', t.team);
end $$;

-- {account, actor, team, member, present}
create function api.set_team_member(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  t tenancy.teams := tenancy.own_team(acct, $1);
  m tenancy.members := tenancy.own_member(acct, $1);
  present boolean := coalesce(($1 -> 'present') = 'true', false);
begin
  if present then
    insert into tenancy.team_members values (acct, t.team, m.person) on conflict do nothing;
  else
    delete from tenancy.team_members o
     where o.account = acct and o.team = t.team and o.person = m.person;
  end if;
  if found then
    perform tenancy.note(acct, tenancy.actor_arg($1),
      case when present then 'team.member_added' else 'team.member_removed' end, t.team,
      jsonb_build_object('member', m.person));
  end if;
  return tenancy.team_json(t);
end $$;

select ledger.close_doors();
