-- What staff sees of accounts and people, and may do to them: search, suspend, roles. Every act stands
-- in the account's audit, and that somebody became staff in the house's.

create function tenancy.user_json(a tenancy.accounts) returns jsonb language sql stable as $$
  select jsonb_build_object('account', a.account, 'name', a.name, 'status', a.status,
      'stage', a.stage, 'created_at_ms', ledger.ms_of(a.created_at),
      'person', p.person, 'person_name', p.name, 'email', p.email, 'phone', p.phone,
      'method', p.method, 'role', m.role, 'staff', coalesce(p.staff, false),
      'seen_at_ms', ledger.ms_of(p.seen_at),
      'members', (select count(*) from tenancy.members x where x.account = a.account),
      'keys', (select count(*) from tenancy.api_keys k
                where k.account = a.account and k.revoked_at is null),
      'balance_nanos', (select coalesce(sum(b.balance), 0)::bigint from ledger.books b
                         where b.account = a.account))
    from (select 1) as one
    left join tenancy.members m on m.account = a.account and m.role = 'owner'
    left join tenancy.people p on p.person = m.person
$$;

-- {query?, email?, status?}: `query` is a part of an address, a name or an id, taken literally.
create function tenancy.users_found(p jsonb) returns setof tenancy.accounts
language sql stable as $$
  select a.* from tenancy.accounts a
    left join tenancy.members m on m.account = a.account and m.role = 'owner'
    left join tenancy.people o on o.person = m.person
   where (nullif(p ->> 'status', '') is null or a.status = p ->> 'status')
     and (nullif(p ->> 'email', '') is null or lower(o.email) = lower(p ->> 'email'))
     and (nullif(p ->> 'query', '') is null
          or position(lower(p ->> 'query') in lower(concat_ws(' ', a.account, a.name, o.person,
               o.name, o.email, o.phone, o.handle))) > 0)
$$;

create function api.search_users(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
begin
  return jsonb_build_object(
    'total', (select count(*) from tenancy.users_found($1)),
    'rows', (
      select coalesce(jsonb_agg(tenancy.user_json(u) order by u.created_at desc, u.account), '[]')
        from (select * from tenancy.users_found($1) as f order by f.created_at desc, f.account
               offset ledger.int_arg($1, 'offset', 0, 1000000, 0)
                limit ledger.int_arg($1, 'limit', 1, 1000, 100)) as u));
end $$;

create function api.count_users(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare at timestamptz := ledger.now();
begin
  return (
    select jsonb_build_object('total', count(*),
             'active', count(*) filter (where a.status = 'active'),
             'suspended', count(*) filter (where a.status = 'suspended'),
             'closed', count(*) filter (where a.status = 'closed'),
             'new_today', count(*) filter (where a.created_at >= at - interval '1 day'),
             'new_week', count(*) filter (where a.created_at >= at - interval '7 days'),
             'new_month', count(*) filter (where a.created_at >= at - interval '30 days'),
             'paying', (select count(distinct o.account) from ledger.operations o
                         where o.kind = 'topup'),
             'people', (select count(*) from tenancy.people p where p.status <> 'deleted'),
             'staff', (select count(*) from tenancy.people p where p.staff),
             'methods', (select coalesce(jsonb_object_agg(g.method, g.number), '{}') from (
                select p.method, count(*) as number from tenancy.people p
                 where p.status <> 'deleted' group by 1) as g))
      from tenancy.accounts a);
end $$;

-- {days}: accounts made by day in UTC, with days on which none was, and how many there were then.
create function api.count_growth(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  days integer := ledger.int_arg($1, 'days', 1, 366, 30)::integer;
  today date := (ledger.now() at time zone 'UTC')::date;
begin
  return (
    select jsonb_agg(jsonb_build_object('date', g.day, 'new', g.fresh, 'total', g.total)
                     order by g.day)
      from (
        select d.day, count(a.account) as fresh,
               sum(count(a.account)) over (order by d.day)::bigint + (
                 select count(*) from tenancy.accounts b
                  where (b.created_at at time zone 'UTC')::date <= today - days) as total
          from (select today - n as day from generate_series(0, days - 1) as n) as d
          left join tenancy.accounts a on (a.created_at at time zone 'UTC')::date = d.day
         group by d.day) as g);
end $$;

-- {user}: an account, or a person, who stands for the account they are at home in.
create function tenancy.user_arg(p jsonb) returns tenancy.accounts language plpgsql stable as $$
declare
  wanted text := ledger.op_arg(p, 'user');
  a tenancy.accounts;
begin
  select * into a from tenancy.accounts o
   where o.account = wanted
      or o.account = (select x.home from tenancy.people x where x.person = wanted);
  if not found then
    raise exception 'user_not_found' using errcode = 'PT404', detail = wanted;
  end if;
  return a;
end $$;

create function api.read_user(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare a tenancy.accounts := tenancy.user_arg($1);
begin
  return tenancy.user_json(a) || jsonb_build_object('team', (
    select coalesce(jsonb_agg(tenancy.member_json(m) order by m.joined_at, m.person), '[]')
      from tenancy.members m where m.account = a.account));
end $$;

-- {hash?, key?}: whose key it is, by the hash of its text, its id or how it begins; at most 100.
create function api.find_users_by_key(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  wanted text := nullif($1 ->> 'key', '');
  digest bytea := decode($1 ->> 'hash', 'hex');
begin
  return (
    select coalesce(jsonb_agg(tenancy.user_json(a) order by a.account), '[]')
      from tenancy.accounts a where a.account in (
        select k.account from tenancy.api_keys k
         where k.hash = digest or k.old_hash = digest or k.key_id = wanted or k.prefix = wanted
         limit 100));
end $$;

-- {user, actor, status: active|suspended, reason}: holds from the next request.
create function api.set_user_status(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  a tenancy.accounts := tenancy.user_arg($1);
  wanted text := ledger.text_arg($1, 'status', '^(active|suspended)$', 10);
  raised integer;
begin
  perform tenancy.enter_account(a.account);
  select * into a from tenancy.accounts o where o.account = a.account;
  if a.status = 'closed' then raise exception 'account_closed' using errcode = 'PT409'; end if;
  update tenancy.accounts o set status = wanted where o.account = a.account returning * into a;
  raised := tenancy.raise_epoch(a.account);
  perform tenancy.note(a.account, tenancy.actor_arg($1),
    case wanted when 'active' then 'account.resumed' else 'account.suspended' end, a.account,
    jsonb_strip_nulls(jsonb_build_object('reason', left($1 ->> 'reason', 300))));
  return tenancy.user_json(a) || jsonb_build_object('epoch', raised);
end $$;

-- ------------------------------------------------------------------ roles

-- {user, account?}: a person by their id, or the owner of an account by its id; in `account`, else
-- where they are at home.
create function tenancy.seat_arg(p jsonb) returns tenancy.members language plpgsql stable as $$
declare
  wanted text := ledger.op_arg(p, 'user');
  place text := nullif(p ->> 'account', '');
  m tenancy.members;
begin
  select o.* into m from tenancy.members o join tenancy.people x using (person)
   where case when exists (select 1 from tenancy.people y where y.person = wanted)
         then x.person = wanted and o.account = coalesce(place, x.home)
         else o.account = wanted and o.role = 'owner' and coalesce(place, wanted) = wanted end;
  if not found then
    raise exception 'user_not_found' using errcode = 'PT404', detail = wanted;
  end if;
  return m;
end $$;

create function tenancy.seat_json(m tenancy.members) returns jsonb language sql stable as $$
  select tenancy.member_json(m) || jsonb_build_object('account', m.account, 'staff',
    (select p.staff from tenancy.people p where p.person = m.person))
$$;

create function api.read_role(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
begin
  return tenancy.seat_json(tenancy.seat_arg($1));
end $$;

-- {user, account?, actor, role, reason}: `staff` and `none` say whether somebody is staff, `owner`
-- transfers the account; the rest is the role inside the account.
create function api.set_role(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  actor text := tenancy.actor_arg($1);
  wanted text := ledger.text_arg($1, 'role', '^(owner|admin|developer|billing|viewer|staff|none)$', 20);
  m tenancy.members := tenancy.seat_arg($1);
  asked jsonb := $1 || jsonb_build_object('account', m.account, 'member', m.person);
  before text := m.role;
  raised integer;
  was boolean;
begin
  if wanted in ('staff', 'none') then
    select p.staff into was from tenancy.people p where p.person = m.person for update;
    update tenancy.people p set staff = wanted = 'staff', updated_at = ledger.now()
     where p.person = m.person;
    before := case when was then 'staff' else 'none' end;
    perform tenancy.note('@house', actor, 'role.changed', m.person, jsonb_strip_nulls(
      jsonb_build_object('before', before, 'after', wanted, 'reason', left($1 ->> 'reason', 300))));
  elsif wanted = 'owner' then
    raised := (api.transfer_account(asked) ->> 'epoch')::integer;
  else
    raised := (api.change_member(asked) ->> 'epoch')::integer;
  end if;
  if wanted not in ('staff', 'none') then
    perform tenancy.note('@house', actor, 'role.changed', m.person, jsonb_strip_nulls(
      jsonb_build_object('account', m.account, 'before', before, 'after', wanted,
                         'reason', left($1 ->> 'reason', 300))));
  end if;
  select * into m from tenancy.members o where o.account = m.account and o.person = m.person;
  return tenancy.seat_json(m) || jsonb_build_object('before', before, 'epoch', raised);
end $$;

create function api.list_role(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare wanted text := ledger.text_arg($1, 'role', '^[a-z]+$', 20);
begin
  return (
    select coalesce(jsonb_agg(tenancy.seat_json(s) order by s.joined_at, s.account, s.person), '[]')
      from (select m.* from tenancy.members m join tenancy.people p using (person)
             where case when wanted = 'staff' then p.staff and m.account = p.home
                        else m.role = wanted end
             order by m.joined_at, m.account, m.person
            offset ledger.int_arg($1, 'offset', 0, 1000000, 0)
             limit ledger.int_arg($1, 'limit', 1, 1000, 100)) as s);
end $$;

-- ------------------------------------------------------------------ blocked domains

create function api.block_domain(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  wanted text := lower(ledger.text_arg(
    $1, 'domain', '^[A-Za-z0-9][A-Za-z0-9.-]*[.][A-Za-z0-9-]+$', 253));
  actor text := tenancy.actor_arg($1);
begin
  if coalesce(($1 -> 'blocked') = 'false', false) then
    delete from tenancy.blocked_domains b where b.domain = wanted;
  else
    insert into tenancy.blocked_domains
      values (wanted, left($1 ->> 'reason', 300), actor, ledger.now()) on conflict do nothing;
  end if;
  if found then
    perform tenancy.note('@house', actor, 'domain.' ||
      case when ($1 -> 'blocked') = 'false' then 'allowed' else 'blocked' end, wanted, null);
  end if;
  return jsonb_build_object('domain', wanted, 'blocked', exists (
    select 1 from tenancy.blocked_domains b where b.domain = wanted));
end $$;

create function api.list_blocked_domains(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('domain', b.domain, 'reason', b.reason,
             'actor', b.actor, 'created_at_ms', ledger.ms_of(b.created_at)) order by b.domain), '[]')
      from (select * from tenancy.blocked_domains o order by o.domain
             limit ledger.int_arg($1, 'limit', 1, 10000, 1000)) as b);
end $$;

select ledger.close_doors();
