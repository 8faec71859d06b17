-- What the last publication showed, by which the next one is compared: how much changed at once.

create table catalog.published_offers (
  offer_id text collate "C" primary key,
  version  text collate "C"                       -- of its sale price; null: shown without one
);

create function catalog.shown(p jsonb) returns table (offer_id text, version text)
language sql immutable as $$
  select s ->> 0, s ->> 1 from jsonb_array_elements(p) as s
$$;

-- offers: [[offer, version of its sale price], ...], all that are to be shown.
create function api.catalog_compare(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_nestloop = off as $$
begin
  return (
    select jsonb_build_object('compared', count(*), 'changed',
             count(*) filter (where n.offer_id is null or n.version is distinct from p.version))
      from catalog.published_offers p
      left join catalog.shown(ledger.array_arg($1, 'offers', 500000)) n using (offer_id));
end $$;

create function api.catalog_shown(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_nestloop = off as $$
declare shown jsonb := ledger.array_arg($1, 'offers', 500000);
begin
  delete from catalog.published_offers p
   where not exists (select from catalog.shown(shown) n where n.offer_id = p.offer_id);
  insert into catalog.published_offers as p (offer_id, version)
    select n.offer_id, n.version from catalog.shown(shown) n
    on conflict (offer_id) do update set version = excluded.version
    where p.version is distinct from excluded.version;
  return api.catalog_published($1);
end $$;

select ledger.close_doors();
