-- Where accounts have their traces sent: a service of their own choice, its key sealed under a ring
-- that the database does not have. A change is noted in the account's audit.

create table tenancy.destinations (
  account    text collate "C" not null references tenancy.accounts,
  name       text collate "C" not null check (name ~ '^[a-z0-9][a-z0-9_-]{0,39}$'),
  kind       text not null check (kind ~ '^[a-z]{1,20}$'),
  endpoint   text not null check (length(endpoint) <= 2000),
  sealed     text not null,                         -- headers, as JSON
  label      text not null,                         -- how its key begins and ends
  per_mille  integer not null check (per_mille between 0 and 1000),
  enabled    boolean not null default true,
  sent       bigint not null default 0,
  failed     bigint not null default 0,
  last_error text,
  sent_at    timestamptz,
  updated_at timestamptz not null,
  primary key (account, name)
);

create function tenancy.destination_json(d tenancy.destinations) returns jsonb
language sql stable as $$
  select to_jsonb(d) - '{account,sealed,sent_at,updated_at}'::text[] || jsonb_build_object(
    'sent_at_ms', ledger.ms_of(d.sent_at), 'updated_at_ms', ledger.ms_of(d.updated_at))
$$;

-- {account, actor, name, kind, endpoint, sealed, label, per_mille, enabled, most}
create function api.put_destination(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  acct text := ledger.account_arg($1);
  called text := ledger.text_arg($1, 'name', '^[a-z0-9][a-z0-9_-]*$', 40);
  d tenancy.destinations;
begin
  perform 1 from tenancy.accounts a where a.account = acct for no key update;
  if not found then
    raise exception 'account_not_found' using errcode = 'PT404', detail = acct;
  end if;
  if (select count(*) from tenancy.destinations o where o.account = acct and o.name <> called)
     >= ledger.int_arg($1, 'most', 1, 100) then
    return jsonb_build_object('refused', 'destination_limit');
  end if;
  insert into tenancy.destinations as o
         (account, name, kind, endpoint, sealed, label, per_mille, enabled, updated_at)
  values (acct, called, ledger.text_arg($1, 'kind', '^[a-z]+$', 20),
          ledger.text_arg($1, 'endpoint', '^https?://[!-~]+$', 2000),
          ledger.text_arg($1, 'sealed', '^[!-~]+$', 16384),
          ledger.text_arg($1, 'label', '^.+$', 40),
          ledger.int_arg($1, 'per_mille', 0, 1000), ($1 -> 'enabled') = 'true', ledger.now())
  on conflict (account, name) do update
     set kind = excluded.kind, endpoint = excluded.endpoint, sealed = excluded.sealed,
         label = excluded.label, per_mille = excluded.per_mille, enabled = excluded.enabled,
         updated_at = excluded.updated_at, last_error = null
  returning * into d;
  perform tenancy.note(acct, tenancy.actor_arg($1), 'destination.set', called,
    jsonb_build_object('kind', d.kind, 'endpoint', d.endpoint, 'enabled', d.enabled));
  return tenancy.destination_json(d);
end $$;

create function api.list_destinations(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare acct text := ledger.account_arg($1);
begin
  return (select coalesce(jsonb_agg(tenancy.destination_json(d) order by d.name), '[]')
            from tenancy.destinations d where d.account = acct);
end $$;

create function api.delete_destination(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  acct text := ledger.account_arg($1);
  called text := ledger.text_arg($1, 'name', '^[a-z0-9][a-z0-9_-]*$', 40);
begin
  delete from tenancy.destinations d where d.account = acct and d.name = called;
  if found then
    perform tenancy.note(acct, tenancy.actor_arg($1), 'destination.deleted', called, '{}');
  end if;
  return jsonb_build_object('deleted', found);
end $$;

-- accounts that have one, for the worker that settles
create function api.list_exporting(jsonb) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(distinct d.account), '[]') from tenancy.destinations d
   where d.enabled and d.per_mille > 0
$$;

-- what the worker that sends needs of some accounts, sealed keys included
create function api.read_destinations(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare accounts jsonb := ledger.array_arg($1, 'accounts', 1000);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('account', d.account, 'name', d.name,
             'kind', d.kind, 'endpoint', d.endpoint, 'sealed', d.sealed,
             'per_mille', d.per_mille) order by d.account, d.name), '[]')
      from tenancy.destinations d
     where d.enabled and d.account in (select jsonb_array_elements_text(accounts)));
end $$;

-- {account, name, sent, failed, error}: what became of a batch
create function api.note_destination(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare acct text := ledger.account_arg($1);
begin
  update tenancy.destinations d
     set sent = d.sent + ledger.int_arg($1, 'sent', 0, 1000000),
         failed = d.failed + ledger.int_arg($1, 'failed', 0, 1000000),
         last_error = left($1 ->> 'error', 200),
         sent_at = case when ledger.int_arg($1, 'sent', 0, 1000000) > 0 then ledger.now()
                        else d.sent_at end
   where d.account = acct and d.name = $1 ->> 'name';
  return jsonb_build_object('noted', found);
end $$;

select ledger.close_doors();
