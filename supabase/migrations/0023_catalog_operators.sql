-- Operators' hands on the catalog. Each change and its entry in the trail are one transaction.

create function catalog.actor_arg(p jsonb) returns text language sql stable as $$
  select ledger.text_arg(p, 'actor', '^.+$', 200)
$$;

-- A field that is there is set, null included; one that is not stays.
create function api.catalog_set_offer(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  who text := catalog.actor_arg($1);
  id text := ledger.text_arg($1, 'offer', '^[!-~]+$', 260);
  old catalog.offers; new catalog.offers;
begin
  select * into old from catalog.offers o where o.offer_id = id for update;
  if not found then raise exception 'offer_not_found' using errcode = 'PT404', detail = id; end if;
  update catalog.offers o set
    op_enabled = case when $1 ? 'enabled' then ($1 ->> 'enabled')::boolean else o.op_enabled end,
    op_hidden = case when $1 ? 'hidden' then ($1 ->> 'hidden')::boolean else o.op_hidden end,
    op_markup_ppm = case when $1 ? 'markup_ppm' then ($1 ->> 'markup_ppm')::integer
                         else o.op_markup_ppm end,
    op_price = case when $1 ? 'price' then nullif($1 -> 'price', 'null') else o.op_price end,
    op_model_id = case when $1 ? 'model' then $1 ->> 'model' else o.op_model_id end
   where o.offer_id = id returning * into new;
  if new.op_model_id is not null then
    insert into catalog.models (model_id, name, author, first_seen_at, changed_at)
      values (new.op_model_id, new.op_model_id, split_part(new.op_model_id, '/', 1), ledger.now(),
              ledger.now()) on conflict do nothing;
  end if;
  perform catalog.note(who, 'offer.set', id, catalog.operated(to_jsonb(old)),
                       catalog.operated(to_jsonb(new)));
  return catalog.operated(to_jsonb(new)) || jsonb_build_object('offer', id);
exception when not_null_violation or check_violation then
  perform ledger.refuse('invalid_argument', 'a value cannot be set so');
end $$;

create function catalog.operated(p_row jsonb) returns jsonb language sql immutable as $$
  select coalesce(jsonb_object_agg(substr(key, 4), value), '{}') from jsonb_each(p_row)
   where key like 'op\_%'
$$;

create function api.catalog_set_model(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  who text := catalog.actor_arg($1);
  id text := ledger.text_arg($1, 'model', '^[!-~]+$', 128);
  old catalog.models; new catalog.models;
begin
  select * into old from catalog.models m where m.model_id = id for update;
  if not found then raise exception 'model_not_found' using errcode = 'PT404', detail = id; end if;
  update catalog.models m set
    op_enabled = case when $1 ? 'enabled' then ($1 ->> 'enabled')::boolean else m.op_enabled end,
    op_hidden = case when $1 ? 'hidden' then ($1 ->> 'hidden')::boolean else m.op_hidden end,
    op_markup_ppm = case when $1 ? 'markup_ppm' then ($1 ->> 'markup_ppm')::integer
                         else m.op_markup_ppm end
   where m.model_id = id returning * into new;
  perform catalog.note(who, 'model.set', id, catalog.operated(to_jsonb(old)),
                       catalog.operated(to_jsonb(new)));
  return catalog.operated(to_jsonb(new)) || jsonb_build_object('model', id);
exception when not_null_violation or check_violation then
  perform ledger.refuse('invalid_argument', 'a value cannot be set so');
end $$;

create function api.catalog_set_provider(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  who text := catalog.actor_arg($1);
  id text := catalog.provider_arg($1);
  old catalog.providers; new catalog.providers;
begin
  insert into catalog.providers (provider) values (id) on conflict do nothing;
  select * into old from catalog.providers p where p.provider = id for update;
  update catalog.providers p set
    op_enabled = case when $1 ? 'enabled' then ($1 ->> 'enabled')::boolean else p.op_enabled end,
    op_markup_ppm = case when $1 ? 'markup_ppm' then ($1 ->> 'markup_ppm')::integer
                         else p.op_markup_ppm end
   where p.provider = id returning * into new;
  perform catalog.note(who, 'provider.set', id, catalog.operated(to_jsonb(old)),
                       catalog.operated(to_jsonb(new)));
  return catalog.operated(to_jsonb(new)) || jsonb_build_object('provider', id);
exception when not_null_violation or check_violation then
  perform ledger.refuse('invalid_argument', 'a value cannot be set so');
end $$;

-- One hop: an alias of an alias is refused, and so is one that hides a model.
create function api.catalog_set_alias(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  who text := catalog.actor_arg($1);
  known text := lower(ledger.text_arg($1, 'alias', '^[!-~]+$', 128));
  target text := $1 ->> 'model';
  what text := coalesce($1 ->> 'kind', 'alias');
  old catalog.aliases;
begin
  select * into old from catalog.aliases a where a.alias = known for update;
  if target is null then
    delete from catalog.aliases a where a.alias = known;
  else
    if not exists (select from catalog.models m where m.model_id = target) then
      raise exception 'model_not_found' using errcode = 'PT404', detail = target;
    end if;
    if exists (select from catalog.models m where lower(m.model_id) = known)
       and what = 'alias' then
      raise exception 'alias_hides_a_model' using errcode = 'PT409', detail = known;
    end if;
    insert into catalog.aliases (alias, model_id, kind, source)
      values (known, target, what, 'operator')
      on conflict (alias) do update set model_id = excluded.model_id, kind = excluded.kind,
                                        source = excluded.source;
  end if;
  perform catalog.note(who, 'alias.set', known,
    case when old.alias is not null
         then jsonb_build_object('model', old.model_id, 'kind', old.kind) end,
    case when target is not null then jsonb_build_object('model', target, 'kind', what) end);
  return jsonb_build_object('alias', known, 'model', target, 'kind', what);
exception when check_violation then
  perform ledger.refuse('invalid_argument', 'kind is alias or redirect');
end $$;

-- The aliases that ship with the code; an operator's own stays as he set it.
create function api.catalog_bundle_aliases(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
begin
  delete from catalog.aliases a where a.source = 'bundled' and not ($1 -> 'aliases') ? a.alias;
  insert into catalog.aliases as a (alias, model_id, kind, source)
    select b.key, b.value, 'alias', 'bundled' from jsonb_each_text($1 -> 'aliases') as b
    on conflict (alias) do update set model_id = excluded.model_id where a.source = 'bundled';
  return '{}';
end $$;

-- accepted: the proposed price becomes a row of the history at once. rejected: the same proposal
-- is not asked about again.
create function api.catalog_decide(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  who text := catalog.actor_arg($1);
  number bigint := ledger.int_arg($1, 'id', 1, 9007199254740991);
  what text := ledger.text_arg($1, 'decision', '^(accepted|rejected)$', 10);
  held catalog.quarantine;
  at timestamptz := ledger.now();
begin
  select * into held from catalog.quarantine q where q.id = number for update;
  if not found then
    raise exception 'quarantine_not_found' using errcode = 'PT404', detail = number::text;
  end if;
  if held.decision is not null then
    if held.decision = what then return jsonb_build_object('id', number, 'decision', what); end if;
    raise exception 'already_decided' using errcode = 'PT409', detail = held.decision;
  end if;
  if what = 'accepted' then
    if held.proposed is null then
      raise exception 'nothing_to_accept' using errcode = 'PT409', detail = held.detail;
    end if;
    insert into catalog.prices (offer_id, valid_from, version, source, checked_at, nanos, tiers,
                                free)
      values (held.offer_id, at, held.proposed ->> 'version', held.source, held.seen_at,
              held.proposed -> 'nanos', coalesce(held.proposed -> 'tiers', '[]'),
              coalesce((held.proposed ->> 'free')::boolean, false))
      on conflict do nothing;
  end if;
  update catalog.quarantine q set decision = what, decided_at = at, decided_by = who
   where q.id = number;
  perform catalog.note(who, 'price.' || what, held.offer_id, held.standing, held.proposed);
  return jsonb_build_object('id', number, 'offer', held.offer_id, 'decision', what);
end $$;

create function api.catalog_close_alert(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  who text := catalog.actor_arg($1);
  number bigint := ledger.int_arg($1, 'id', 1, 9007199254740991);
  known catalog.alerts;
begin
  update catalog.alerts a set closed_at = ledger.now(), closed_by = who
   where a.id = number and a.closed_at is null returning * into known;
  if not found then
    raise exception 'alert_not_found' using errcode = 'PT404', detail = number::text;
  end if;
  perform catalog.note(who, 'alert.closed', known.kind || ' ' || known.subject, null,
                       to_jsonb(known.detail));
  return jsonb_build_object('id', number);
end $$;

-- Price changes of the last days: the newest price against the one before.
create function api.catalog_price_changes(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare since timestamptz := ledger.now()
  - make_interval(days => ledger.int_arg($1, 'days', 1, 365, 30)::integer);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('offer', c.offer_id, 'model', c.model_id,
             'provider', c.provider, 'at_ms', ledger.ms_of(c.valid_from), 'source', c.source,
             'before', c.before, 'after', c.nanos) order by c.valid_from desc, c.offer_id), '[]')
      from (
        select p.*, o.provider, coalesce(o.op_model_id, o.model_id) as model_id,
               (select q.nanos from catalog.prices q where q.offer_id = p.offer_id
                   and q.valid_from < p.valid_from order by q.valid_from desc limit 1) as before
          from catalog.prices p join catalog.offers o using (offer_id)
         where p.valid_from >= since and p.source <> 'bundled') as c
     where c.before is not null);
end $$;

-- What was asked of each model at each provider lately, for what a price change comes to.
create function api.catalog_usage(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  days bigint := ledger.int_arg($1, 'days', 1, 365, 30);
  from_id text := 'req_' || ledger.ulid_time(ledger.ms_of(ledger.now()) - days * 86400000);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('offer', u.offer, 'units', u.units,
                                                 'requests', u.requests) order by u.offer), '[]')
      from (
        select a.offer, sum(a.requests)::bigint as requests,
               jsonb_object_agg(a.class, a.units) as units
          from (select r.offer, l ->> 0 as class, sum((l ->> 1)::bigint)::bigint as units,
                       count(distinct r.request_id) as requests
                  from ledger.requests r
                  cross join lateral jsonb_array_elements(coalesce(r.lines, '[]')) as l
                 where r.request_id >= from_id and r.offer is not null
                 group by r.offer, l ->> 0) as a
         group by a.offer) as u);
end $$;

create function api.catalog_unpriced(jsonb) returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off as $$
  select coalesce(jsonb_agg(jsonb_build_object('offer', o.offer_id, 'model',
           coalesce(o.op_model_id, o.model_id), 'provider', o.provider,
           'held', (select q.reason from catalog.quarantine q
                     where q.offer_id = o.offer_id and q.decision is null))
           order by o.offer_id), '[]')
    from (select * from catalog.offers p
           where p.op_price is null and p.status = 'listed' and p.op_enabled
             and not exists (select from catalog.prices q where q.offer_id = p.offer_id)
           order by p.offer_id limit ledger.int_arg($1, 'limit', 1, 10000, 1000)) as o
$$;

select ledger.close_doors();
