-- Keys of an older system, brought over as they were hashed there. One is upgraded to our own hash
-- the first time it is used; its old hash stays, so that bringing it over again changes nothing.

alter table tenancy.api_keys
  add column legacy_hash bytea unique check (octet_length(legacy_hash) = 32);

create function api.import_key(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  key text := ledger.op_arg($1, 'key_id');
  digest bytea := decode(ledger.text_arg($1, 'hash', '^[0-9a-f]+$', 64), 'hex');
  title text := ledger.text_arg($1, 'name', '^.+$', 200);
  legacy boolean := coalesce(($1 ->> 'legacy')::boolean, false);
begin
  perform 1 from tenancy.accounts a where a.account = acct for no key update;
  if not found then
    raise exception 'account_not_found' using errcode = 'PT404', detail = acct;
  end if;
  if exists (select 1 from tenancy.api_keys k where k.hash = digest or k.legacy_hash = digest) then
    return jsonb_build_object('imported', false);
  end if;
  if exists (select 1 from tenancy.api_keys k
              where k.account = acct and k.name = title and k.revoked_at is null) then
    title := left(title, 100) || ' (' || key || ')';
  end if;
  insert into tenancy.api_keys (key_id, account, name, hash, prefix, legacy_hash, created_at)
    values (key, acct, title, digest, ledger.text_arg($1, 'prefix', '^[!-~]+$', 32),
            case when legacy then digest end, ledger.now());
  perform tenancy.note(acct, 'system', 'key.imported', key, jsonb_build_object('name', title));
  return jsonb_build_object('imported', true);
end $$;

-- Who uses a legacy key for the first time at once with others finds it upgraded.
create function api.upgrade_key(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  digest bytea := decode(ledger.text_arg($1, 'hash', '^[0-9a-f]+$', 64), 'hex');
  old bytea := decode(ledger.text_arg($1, 'legacy_hash', '^[0-9a-f]+$', 64), 'hex');
  k tenancy.api_keys;
begin
  update tenancy.api_keys o set hash = digest, prefix = ledger.text_arg($1, 'prefix', '^[!-~]+$', 32)
   where o.legacy_hash = old and o.hash = old and o.revoked_at is null
  returning * into k;
  if found then perform tenancy.note(k.account, 'system', 'key.upgraded', k.key_id, null); end if;
  return api.find_principal(jsonb_build_object('hash', $1 ->> 'hash'));
end $$;

select ledger.close_doors();
