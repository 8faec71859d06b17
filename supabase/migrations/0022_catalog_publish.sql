-- What is published, and what was: the catalog as readers get it, price history, operators' hands.

-- The visible catalog in the order of its models, a page at a time. Raw: markup and sale price are
-- the pricing function's, not SQL's.
create function api.catalog_read(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  after_id text := coalesce($1 ->> 'after', '');
  most bigint := ledger.int_arg($1, 'limit', 1, 5000, 1000);
begin
  return (
    with chosen as materialized (
      select m.* from catalog.models m
       where m.model_id > after_id and m.op_enabled and not m.op_hidden
       order by m.model_id limit most
    ), offered as (
      select s.model_id as of_model, jsonb_agg(
               to_jsonb(o) - '{facts,seen_run,op_enabled,op_hidden,op_price,op_model_id}'::text[]
               || jsonb_build_object(
                    -- the newest row, unless an operator set a price
                    'price', coalesce(o.op_price, case when r.version is not null then
                       jsonb_build_object('version', r.version, 'nanos', r.nanos,
                                          'tiers', r.tiers, 'free', r.free) end),
                    'source', case when o.op_price is not null then 'operator' else r.source end,
                    'checked_at_ms', ledger.ms_of(r.checked_at),
                    'valid_from_ms', ledger.ms_of(r.valid_from),
                    'provider_markup_ppm', p.op_markup_ppm)
               order by o.offer_id) as offers
        from chosen s
        join catalog.offers o on coalesce(o.op_model_id, o.model_id) = s.model_id
        left join catalog.providers p on p.provider = o.provider
        left join lateral (select * from catalog.prices q where q.offer_id = o.offer_id
                            order by q.valid_from desc limit 1) as r on true
       where o.op_enabled and not o.op_hidden and o.status = 'listed'
         and coalesce(p.op_enabled, true)
       group by s.model_id)
    select jsonb_build_object(
             'models', coalesce(jsonb_agg(to_jsonb(s) || jsonb_build_object('offers', f.offers)
                                          order by s.model_id) filter (where f.offers is not null),
                                '[]'),
             'next', case when count(*) = most then max(s.model_id) end)
      from chosen s left join offered f on f.of_model = s.model_id);
end $$;

-- Everything that listings state of models, from which their facts are assembled.
create function api.catalog_facts(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  after_id text := coalesce($1 ->> 'after', '');
  most bigint := ledger.int_arg($1, 'limit', 1, 5000, 2000);
begin
  return (
    with chosen as materialized (
      select m.model_id, m.flags from catalog.models m where m.model_id > after_id
       order by m.model_id limit most
    ), stated as (
      select s.model_id as of_model, jsonb_agg(jsonb_build_object('provider', o.provider,
               'native_id', o.native_id, 'facts', o.facts, 'placed', o.placed,
               'price', coalesce(o.op_price, case when r.version is not null then
                  jsonb_build_object('version', r.version, 'nanos', r.nanos, 'tiers', r.tiers)
                  end)) order by o.offer_id) as offers
        from chosen s
        join catalog.offers o on coalesce(o.op_model_id, o.model_id) = s.model_id
        left join lateral (select * from catalog.prices q where q.offer_id = o.offer_id
                            order by q.valid_from desc limit 1) as r on true
       group by s.model_id)
    select jsonb_build_object('models', coalesce(jsonb_agg(jsonb_build_object(
             'model_id', s.model_id, 'flags', to_jsonb(s.flags), 'offers', f.offers)
             order by s.model_id) filter (where f.offers is not null), '[]'),
             'next', case when count(*) = most then max(s.model_id) end)
      from chosen s left join stated f on f.of_model = s.model_id);
end $$;

create function api.catalog_aliases(jsonb) returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off as $$
  select coalesce(jsonb_agg(jsonb_build_object('alias', a.alias, 'model_id', a.model_id,
                                               'kind', a.kind, 'source', a.source)
                            order by a.alias), '[]')
    from catalog.aliases a
$$;

create function api.catalog_published(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
begin
  insert into catalog.publications (version, run_id, at, models, offers, priced, changed, compared,
                                    forced)
    values (ledger.text_arg($1, 'version', '^[A-Za-z0-9-]+$', 64), $1 ->> 'run_id', ledger.now(),
            ledger.int_arg($1, 'models', 0, 10000000)::integer,
            jsonb_array_length(ledger.array_arg($1, 'offers', 500000)),
            ledger.int_arg($1, 'priced', 0, 10000000)::integer,
            ledger.int_arg($1, 'changed', 0, 10000000)::integer,
            ledger.int_arg($1, 'compared', 0, 10000000)::integer,
            coalesce(($1 ->> 'forced')::boolean, false))
    on conflict do nothing;
  update catalog.alerts a set closed_at = ledger.now(), closed_by = 'sync'
   where a.kind = 'publish_refused' and a.closed_at is null;
  return '{}';
end $$;

create function api.catalog_publications(jsonb) returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off as $$
  select coalesce(jsonb_agg(jsonb_build_object('version', p.version, 'run_id', p.run_id,
           'at_ms', ledger.ms_of(p.at), 'models', p.models, 'offers', p.offers,
           'priced', p.priced, 'changed', p.changed, 'compared', p.compared, 'forced', p.forced)
           order by p.at desc), '[]')
    from (select * from catalog.publications order by at desc
           limit ledger.int_arg($1, 'limit', 1, 100, 10)) as p
$$;

-- Prices as they were: newest first, each until the next one of its offer.
create function catalog.history(p_where jsonb, p_most bigint)
returns jsonb language sql stable as $$
  select coalesce(jsonb_agg(jsonb_build_object('offer', h.offer_id, 'model', h.model_id,
           'provider', h.provider, 'native_id', h.native_id, 'version', h.version,
           'source', h.source, 'checked_at_ms', ledger.ms_of(h.checked_at),
           'valid_from_ms', ledger.ms_of(h.valid_from), 'valid_to_ms', ledger.ms_of(h.valid_to),
           'cost', h.nanos, 'tiers', h.tiers, 'free', h.free)
           order by h.valid_from desc, h.offer_id), '[]')
    from (
      select * from (
        select p.*, coalesce(o.op_model_id, o.model_id) as model_id, o.provider, o.native_id,
               lead(p.valid_from) over (partition by p.offer_id order by p.valid_from) as valid_to
          from catalog.prices p join catalog.offers o using (offer_id)
         where (p_where ->> 'offer' is null or p.offer_id = p_where ->> 'offer')
           and (p_where ->> 'model' is null
                or coalesce(o.op_model_id, o.model_id) = p_where ->> 'model')
           and (p_where ->> 'provider' is null or o.provider = p_where ->> 'provider')) as every
       where (p_where ->> 'version' is null or every.version = p_where ->> 'version')
         and (p_where ->> 'before_ms' is null
              or every.valid_from < to_timestamp((p_where ->> 'before_ms')::bigint / 1000.0))
       order by every.valid_from desc, every.offer_id limit p_most) as h
$$;

create function api.price_history(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
begin
  if coalesce($1 ->> 'model', $1 ->> 'offer', $1 ->> 'provider') is null then
    perform ledger.refuse('invalid_argument', 'model, offer or provider must be named');
  end if;
  return catalog.history(
    jsonb_build_object('model', $1 ->> 'model', 'offer', $1 ->> 'offer',
      'provider', $1 ->> 'provider',
      'before_ms', ledger.int_arg($1, 'before_ms', 0, 9007199254740991, null)),
    ledger.int_arg($1, 'limit', 1, 1000, 100));
end $$;

create function api.find_price(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
begin
  return catalog.history(jsonb_build_object('offer', $1 ->> 'offer',
           'version', ledger.text_arg($1, 'version', '^[a-z0-9-]+$', 64)), 1) -> 0;
end $$;

create function api.list_providers_state(jsonb) returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off as $$
  select coalesce(jsonb_agg(jsonb_build_object('provider', p.provider, 'listed', p.listed,
           'last_good_at_ms', ledger.ms_of(p.last_good_at),
           'last_tried_at_ms', ledger.ms_of(p.last_tried_at), 'last_error', p.last_error,
           'enabled', p.op_enabled, 'markup_ppm', p.op_markup_ppm,
           'offers', c.offers, 'hidden', c.hidden, 'missing', c.missing, 'unpriced', c.unpriced)
           order by p.provider), '[]')
    from catalog.providers p
    cross join lateral (
      select count(*) as offers, count(*) filter (where o.op_hidden or not o.op_enabled) as hidden,
             count(*) filter (where o.status = 'missing') as missing,
             count(*) filter (where o.op_price is null and not exists
               (select from catalog.prices q where q.offer_id = o.offer_id)) as unpriced
        from catalog.offers o where o.provider = p.provider) as c
$$;

-- Runs, newest first, with what each provider gave.
create function api.catalog_runs(jsonb) returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off as $$
  select coalesce(jsonb_agg(jsonb_build_object('run_id', r.run_id, 'kind', r.kind,
           'state', r.state, 'forced', r.forced, 'started_at_ms', ledger.ms_of(r.started_at),
           'finished_at_ms', ledger.ms_of(r.finished_at), 'version', r.version,
           'detail', r.detail, 'providers', (
             select coalesce(jsonb_agg(to_jsonb(p) - '{run_id,at}'::text[] order by p.provider),
                             '[]')
               from catalog.run_providers p where p.run_id = r.run_id))
           order by r.started_at desc), '[]')
    from (select * from catalog.sync_runs s
           where $1 ->> 'run_id' is null or s.run_id = $1 ->> 'run_id'
           order by s.started_at desc limit ledger.int_arg($1, 'limit', 1, 100, 10)) as r
$$;

create function api.catalog_list_quarantine(jsonb) returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off as $$
  select coalesce(jsonb_agg(to_jsonb(q) - '{found_at,seen_at,decided_at}'::text[]
           || jsonb_build_object('found_at_ms', ledger.ms_of(q.found_at),
                'seen_at_ms', ledger.ms_of(q.seen_at),
                'decided_at_ms', ledger.ms_of(q.decided_at)) order by q.id desc), '[]')
    from (select * from catalog.quarantine r
           where (coalesce(($1 ->> 'all')::boolean, false) or r.decision is null)
             and ($1 ->> 'provider' is null or r.provider = $1 ->> 'provider')
             and r.id < ledger.int_arg($1, 'before', 1, 9007199254740991, 9007199254740991)
           order by r.id desc limit ledger.int_arg($1, 'limit', 1, 1000, 100)) as q
$$;

create function api.catalog_list_alerts(jsonb) returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off as $$
  select coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'kind', a.kind, 'subject', a.subject,
           'severity', a.severity, 'detail', a.detail, 'raised_at_ms', ledger.ms_of(a.raised_at),
           'seen_at_ms', ledger.ms_of(a.seen_at), 'closed_at_ms', ledger.ms_of(a.closed_at),
           'closed_by', a.closed_by) order by a.id desc), '[]')
    from (select * from catalog.alerts b
           where coalesce(($1 ->> 'all')::boolean, false) or b.closed_at is null
           order by b.id desc limit ledger.int_arg($1, 'limit', 1, 1000, 100)) as a
$$;

create function api.catalog_trail(jsonb) returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off as $$
  select coalesce(jsonb_agg(jsonb_build_object('id', t.id, 'at_ms', ledger.ms_of(t.at),
           'actor', t.actor, 'action', t.action, 'subject', t.subject, 'before', t.before,
           'after', t.after) order by t.id desc), '[]')
    from (select * from catalog.trail u
           where ($1 ->> 'subject' is null or u.subject = $1 ->> 'subject')
             and u.id < ledger.int_arg($1, 'before', 1, 9007199254740991, 9007199254740991)
           order by u.id desc limit ledger.int_arg($1, 'limit', 1, 1000, 100)) as t
$$;

select ledger.close_doors();
