-- What a profile shows, and how an account and a person end. Deleting is soft: rows of money and of
-- the audit stay under their ids, what names a person goes.

-- {account, person?, key_id?}: the person who calls, or whom the calling key acts for, else the owner.
create function api.read_profile(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  who text := $1 ->> 'person';
  k tenancy.api_keys;
  at timestamptz := ledger.now();
begin
  if $1 ->> 'key_id' is not null then
    select * into k from tenancy.api_keys o where o.account = acct and o.key_id = $1 ->> 'key_id';
    who := k.person;
  end if;
  who := coalesce(who, (select m.person from tenancy.members m
                         where m.account = acct and m.role = 'owner'));
  return api.read_account(jsonb_build_object('account', acct)) || jsonb_build_object(
    'person', (select tenancy.person_json(p) from tenancy.people p where p.person = who),
    'role', (select m.role from tenancy.members m where m.account = acct and m.person = who),
    'subject', (select i.subject from tenancy.identities i
                 where i.person = who order by i.created_at, i.subject limit 1),
    'prefix', coalesce(k.prefix, (
       select o.prefix from tenancy.api_keys o
        where o.account = acct and o.is_primary and o.revoked_at is null
        order by o.created_at, o.key_id limit 1)),
    'balance', api.get_balance(jsonb_build_object('account', acct)),
    'allowance_nanos', (
       select coalesce(sum(b.balance), 0)::bigint from ledger.books b
        where b.account = acct and b.wallet like 'allowance-%' and b.expires_at > at),
    'purchased_nanos', (
       select coalesce(sum(b.balance), 0)::bigint from ledger.books b
        where b.account = acct and b.wallet = 'purchased'),
    'subscription', api.find_subscription(jsonb_build_object('account', acct)),
    'plan', ledger.plan_of(acct),
    'trial', (select ledger.trial_json(t) from ledger.trials t where t.account = acct),
    'auto_topup', api.find_auto_topup(jsonb_build_object('account', acct)));
end $$;

-- {account, actor, person?, name?, preferences?}: the person's own; preferences are merged.
create function api.change_person(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  who text := tenancy.person_arg($1);
  p tenancy.people;
begin
  update tenancy.people o
     set name = case when $1 ? 'name'
           then ledger.text_arg($1, 'name', '^[^[:cntrl:]]+$', 200) else o.name end,
         preferences = jsonb_strip_nulls(
           o.preferences || tenancy.object_arg($1, 'preferences', '{}')),
         updated_at = ledger.now()
   where o.person = who and o.status = 'active' returning * into p;
  if not found then raise exception 'user_not_found' using errcode = 'PT404'; end if;
  perform tenancy.note(ledger.account_arg($1), tenancy.actor_arg($1), 'profile.updated', who,
    jsonb_build_object('fields', (
      select coalesce(jsonb_agg(f order by f), '[]') from unnest(array['name', 'preferences']) as f
       where $1 ? f)));
  return tenancy.person_json(p);
end $$;

-- Somebody who is in no account: nothing of them stays but an id in old rows.
-- Returns who that was to those who vouched for them: [{issuer, subject}].
create function tenancy.forget_person(p_person text) returns jsonb language plpgsql as $$
declare
  mail text;
  known jsonb;
begin
  select lower(p.email) into mail from tenancy.people p where p.person = p_person;
  select coalesce(jsonb_agg(jsonb_build_object('issuer', i.issuer, 'subject', i.subject)), '[]')
    into known from tenancy.identities i where i.person = p_person;
  delete from tenancy.sessions s where s.person = p_person;
  delete from tenancy.identities i where i.person = p_person;
  delete from tenancy.sign_in_links l where lower(l.email) = mail;
  delete from tenancy.notice_deliveries d where lower(d.email) = mail;
  update tenancy.notices n set email = null, data = '{}' where lower(n.email) = mail;
  update tenancy.invitations i set email = '' where i.email = mail and i.accepted_by = p_person;
  update tenancy.people p
     set name = null, email = null, phone = null, handle = null, home = null, staff = false,
         preferences = '{}', status = 'deleted', deleted_at = ledger.now()
   where p.person = p_person;
  return known;
end $$;

-- What an account gave us to keep that is no row of money: credentials, codes, letters, wishes.
create function tenancy.clear_account(p_account text) returns void language plpgsql as $$
begin
  update tenancy.provider_keys k
     set sealed = null, name = null, enabled = false, deleted_at = ledger.now()
   where k.account = p_account and k.deleted_at is null;
  delete from tenancy.grant_codes g where g.account = p_account;
  delete from tenancy.destinations d where d.account = p_account;
  delete from tenancy.notice_preferences n where n.account = p_account;
  delete from tenancy.notice_deliveries d using tenancy.notices n
   where n.id = d.notice and n.account = p_account;
  delete from tenancy.notices n where n.account = p_account;
end $$;

-- {account, actor}: closes it for all of its members. Credit that is left stays in the ledger and
-- is nobody's to spend.
create function api.delete_account(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  actor text := tenancy.actor_arg($1);
  gone text[];
  each text;
  known jsonb := '[]';
  raised integer;
begin
  perform tenancy.enter_account(acct);
  if exists (select 1 from ledger.subscriptions s
              where s.account = acct and s.status in ('active', 'trialing', 'past_due')
                and not s.ends_at_period_end) then
    raise exception 'subscription_active' using errcode = 'PT409';
  end if;
  select array_agg(m.person) into gone from tenancy.members m where m.account = acct;
  update tenancy.api_keys k
     set revoked_at = ledger.now(), enabled = false, name = k.key_id, metadata = '{}',
         preferences = null, rules = '{"scopes": []}', old_hash = null, old_until = null
   where k.account = acct and k.revoked_at is null;
  update tenancy.api_keys k set name = k.key_id, metadata = '{}' where k.account = acct;
  update ledger.auto_topups t set enabled = false, payment_method = null where t.account = acct;
  perform tenancy.clear_account(acct);
  delete from tenancy.invitations i where i.account = acct;
  delete from tenancy.teams t where t.account = acct;
  delete from tenancy.members m where m.account = acct;
  delete from tenancy.sessions s
   where s.account = acct
     and not exists (select 1 from tenancy.members m where m.person = s.person);
  foreach each in array coalesce(gone, '{}') loop
    perform tenancy.settle_home(each);
    if not exists (select 1 from tenancy.members m where m.person = each) then
      known := known || tenancy.forget_person(each);
    end if;
  end loop;
  update tenancy.accounts a set status = 'closed', name = acct, settings = '{}'
   where a.account = acct;
  raised := tenancy.raise_epoch(acct);
  perform tenancy.note(acct, actor, 'account.deleted', acct,
    jsonb_build_object('members', coalesce(cardinality(gone), 0)));
  return jsonb_build_object('account', acct, 'epoch', raised, 'identities', known);
end $$;

-- {domain, limit}: accounts whose owner's address is of the domain and that never paid.
create function api.list_users_by_domain(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare wanted text := lower(ledger.text_arg($1, 'domain', '^[A-Za-z0-9][A-Za-z0-9.-]*$', 253));
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('account', f.account, 'paid', f.paid)
                    order by f.account), '[]')
      from (select m.account, exists (select 1 from ledger.operations o
                     where o.account = m.account and o.kind = 'topup') as paid
              from tenancy.people p join tenancy.members m using (person)
             where m.role = 'owner' and split_part(lower(p.email), '@', 2) = wanted
             order by m.account limit ledger.int_arg($1, 'limit', 1, 1000, 1000)) as f);
end $$;

select ledger.close_doors();
