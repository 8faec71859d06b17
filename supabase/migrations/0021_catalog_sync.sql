-- What a sync does: takes the lock, stores one provider's listing at a time, publishes, lets go.
-- Every function may be called again after a crash; none names an operator's column.
-- enable_seqscan is off, because sessions keep plans that they made when a table was empty.

create function catalog.run_arg(p jsonb) returns text language sql stable as $$
  select ledger.text_arg(p, 'run_id', '^[A-Za-z0-9_]+$', 64)
$$;
create function catalog.provider_arg(p jsonb) returns text language sql stable as $$
  select ledger.text_arg(p, 'provider', '^[a-z0-9][a-z0-9-]*$', 40)
$$;
create function catalog.words(p jsonb) returns text[] language sql immutable as $$
  select coalesce(array(select jsonb_array_elements_text(coalesce(nullif(p, 'null'), '[]'))), '{}')
$$;

-- One holder. A run that died is taken up again by the next one within the hour: what it finished
-- is not fetched twice.
create function api.catalog_begin_sync(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  run text := catalog.run_arg($1);
  ttl bigint := ledger.int_arg($1, 'ttl_ms', 1000, 3600000, 900000);
  resumes boolean := coalesce(($1 ->> 'resumes')::boolean, true);
  at timestamptz := ledger.now();
  held catalog.sync_lock;
  old catalog.sync_runs;
begin
  select * into held from catalog.sync_lock for update;
  if held.holder is not null and held.until > at and held.holder <> run then
    raise exception 'sync_running' using errcode = 'PT409', detail = held.holder;
  end if;
  if resumes then
    select * into old from catalog.sync_runs r
     where r.state = 'running' and r.started_at > at - interval '1 hour'
     order by r.started_at desc limit 1;
  end if;
  if old.run_id is not null then
    run := old.run_id;
  else
    insert into catalog.sync_runs (run_id, kind, forced, started_at)
      values (run, ledger.text_arg($1, 'kind', '^[a-z_]+$', 40),
              coalesce(($1 ->> 'forced')::boolean, false), at)
      on conflict do nothing;
  end if;
  update catalog.sync_runs r set state = 'failed', finished_at = at, detail = 'died'
   where r.state = 'running' and r.run_id <> run;
  update catalog.sync_lock l set holder = run, until = at + ledger.span(ttl);
  return jsonb_build_object('run_id', run, 'resumed', old.run_id is not null,
    'done', (select coalesce(jsonb_agg(p.provider), '[]') from catalog.run_providers p
              where p.run_id = run));
end $$;

-- Who no longer holds the lock writes nothing more.
create function catalog.hold(p_run text, p_ttl_ms bigint default 900000) returns void
language plpgsql as $$
begin
  update catalog.sync_lock l set until = ledger.now() + ledger.span(p_ttl_ms)
   where l.holder = p_run;
  if not found then
    raise exception 'sync_lock_lost' using errcode = 'PT409', detail = p_run;
  end if;
end $$;

create function api.catalog_finish_sync(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  run text := catalog.run_arg($1);
  what text := ledger.text_arg($1, 'state', '^(done|refused|failed|running)$', 10);
begin
  -- running: out of time, the next one takes it up
  update catalog.sync_runs r
     set state = what, finished_at = case when what <> 'running' then ledger.now() end,
         detail = left($1 ->> 'detail', 500),
         version = coalesce($1 ->> 'version', r.version)
   where r.run_id = run and r.state = 'running';  -- what ended stays ended
  update catalog.sync_lock l set holder = null, until = null where l.holder = run;
  return jsonb_build_object('run_id', run);
end $$;

-- What is known of a provider before its listing is judged.
create function api.catalog_known(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare who text := catalog.provider_arg($1);
begin
  return jsonb_build_object(
    'offers', (
      select coalesce(jsonb_agg(jsonb_build_object('native_id', o.native_id,
               'model_id', o.model_id, 'placed', o.placed, 'status', o.status,
               'price', p.price, 'source', p.source,
               'decided', (select coalesce(jsonb_object_agg(q.proposed ->> 'version', q.decision),
                                           '{}')
                             from catalog.quarantine q
                            where q.offer_id = o.offer_id and q.proposed is not null
                              and q.decision in ('accepted', 'rejected')))
               order by o.offer_id), '[]')
        from catalog.offers o
        cross join lateral (
          select jsonb_build_object('version', r.version, 'nanos', r.nanos, 'tiers', r.tiers,
                                    'free', r.free) as price, r.source
            from (select) as one left join lateral (
              select * from catalog.prices q where q.offer_id = o.offer_id
               order by q.valid_from desc limit 1) as r on true) as p
       where o.provider = who),
    'last_good_at_ms', (select ledger.ms_of(s.last_good_at) from catalog.providers s
                         where s.provider = who),
    'listed', (select s.listed from catalog.providers s where s.provider = who));
end $$;

create function api.catalog_model_ids(jsonb) returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off as $$
  select coalesce(jsonb_agg(jsonb_build_array(m.model_id, m.context_tokens) order by m.model_id),
                  '[]')
    from catalog.models m
$$;

-- One batch of a listing. offers: rows with their price, if it was accepted; quarantine: prices
-- that were not. The counts of the batch come back.
create function api.catalog_store(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  run text := catalog.run_arg($1);
  who text := catalog.provider_arg($1);
  batch jsonb := ledger.array_arg($1, 'offers', 5000);
  held jsonb := ledger.array_arg($1, 'quarantine', 5000);
  at timestamptz := ledger.now();
  added integer; changed integer; kept integer;
begin
  perform catalog.hold(run);
  insert into catalog.providers (provider) values (who) on conflict do nothing;
  insert into catalog.models as m (model_id, name, author, first_seen_at, changed_at)
    select distinct b ->> 'model_id', b ->> 'model_id', split_part(b ->> 'model_id', '/', 1), at, at
      from jsonb_array_elements(batch) as b
    on conflict do nothing;
  with stored as (
    insert into catalog.offers as o (offer_id, provider, native_id, model_id, placed,
        context_tokens, max_output_tokens, max_prompt_tokens, supported_parameters,
        input_modalities, output_modalities, quantization, region, trains, retains, zdr,
        confidential, aggregator, reasons, deprecated_at, facts, seen_run, first_seen_at, seen_at)
      select who || '/' || (b ->> 'native_id'), who, b ->> 'native_id', b ->> 'model_id',
             b ->> 'placed', (b ->> 'context_tokens')::bigint,
             (b ->> 'max_output_tokens')::bigint, (b ->> 'max_prompt_tokens')::bigint,
             catalog.words(b -> 'supported_parameters'), catalog.words(b -> 'input_modalities'),
             catalog.words(b -> 'output_modalities'), b ->> 'quantization', b ->> 'region',
             (b ->> 'trains')::boolean, (b ->> 'retains')::boolean,
             coalesce((b ->> 'zdr')::boolean, false),
             coalesce((b ->> 'confidential')::boolean, false),
             coalesce((b ->> 'aggregator')::boolean, false),
             coalesce((b ->> 'reasons')::boolean, false), b ->> 'deprecated_at',
             coalesce(b -> 'facts', '{}'), run, at, at
        from jsonb_array_elements(batch) as b
      on conflict (offer_id) do update set
        model_id = excluded.model_id, placed = excluded.placed,
        context_tokens = excluded.context_tokens,
        max_output_tokens = excluded.max_output_tokens,
        max_prompt_tokens = excluded.max_prompt_tokens,
        supported_parameters = excluded.supported_parameters,
        input_modalities = excluded.input_modalities,
        output_modalities = excluded.output_modalities, quantization = excluded.quantization,
        region = excluded.region, trains = excluded.trains, retains = excluded.retains,
        zdr = excluded.zdr, confidential = excluded.confidential,
        aggregator = excluded.aggregator, reasons = excluded.reasons,
        deprecated_at = excluded.deprecated_at, facts = excluded.facts, status = 'listed',
        missed_runs = 0, seen_run = excluded.seen_run, seen_at = excluded.seen_at
      returning o.first_seen_at = at as is_new)
  select count(*) filter (where is_new) into added from stored;
  changed := catalog.store_prices(run, who, batch, at);
  kept := catalog.store_quarantine(who, held, at);
  return jsonb_build_object('added', added, 'changed', changed, 'quarantined', kept);
end $$;

-- A new row where the price differs from the newest one; the same price is only checked again.
create function catalog.store_prices(p_run text, p_who text, p_batch jsonb, p_at timestamptz)
returns integer language plpgsql as $$
declare changed integer;
begin
  with stated as (
    select p_who || '/' || (b ->> 'native_id') as offer_id, b -> 'price' as price,
           b ->> 'source' as source,
           coalesce((b ->> 'checked_ms')::bigint, ledger.ms_of(p_at)) as checked_ms
      from jsonb_array_elements(p_batch) as b where jsonb_typeof(b -> 'price') = 'object'
  ), newest as (
    select s.*, r.version as old, r.source as old_source, r.valid_from from stated s
      left join lateral (select * from catalog.prices q where q.offer_id = s.offer_id
                          order by q.valid_from desc limit 1) as r on true
  ), again as (
    update catalog.prices p set checked_at = greatest(p.checked_at, to_timestamp(n.checked_ms / 1000.0))
      from newest n
     where p.offer_id = n.offer_id and p.valid_from = n.valid_from
       and n.old = n.price ->> 'version'
  ), fresh as (
    insert into catalog.prices (offer_id, valid_from, version, source, checked_at, nanos, tiers,
                                free, run_id)
      select n.offer_id, case when n.old is null then least(p_at, to_timestamp(n.checked_ms / 1000.0))
                              else p_at end,
             n.price ->> 'version', n.source, to_timestamp(n.checked_ms / 1000.0), n.price -> 'nanos',
             coalesce(n.price -> 'tiers', '[]'), coalesce((n.price ->> 'free')::boolean, false), p_run
        from newest n where n.old is distinct from n.price ->> 'version'
      on conflict do nothing
      returning offer_id)
  select count(*) into changed from fresh f join newest n using (offer_id) where n.old is not null;
  -- what was held back and is now stated soundly is no question any more
  update catalog.quarantine q
     set decision = 'withdrawn', decided_at = p_at, decided_by = 'sync'
    from jsonb_array_elements(p_batch) as b
   where q.decision is null and q.offer_id = p_who || '/' || (b ->> 'native_id')
     and jsonb_typeof(b -> 'price') = 'object';
  return changed;
end $$;

create function catalog.store_quarantine(p_who text, p_held jsonb, p_at timestamptz)
returns integer language plpgsql as $$
declare kept integer;
begin
  insert into catalog.quarantine as q
      (offer_id, provider, reason, detail, source, proposed, standing, found_at, seen_at)
    select p_who || '/' || (h ->> 'native_id'), p_who, h ->> 'reason', left(h ->> 'detail', 500),
           h ->> 'source', nullif(h -> 'proposed', 'null'), nullif(h -> 'standing', 'null'),
           p_at, p_at
      from jsonb_array_elements(p_held) as h
    on conflict (offer_id) where decision is null do update
      set seen_at = excluded.seen_at, reason = excluded.reason, detail = excluded.detail,
          proposed = excluded.proposed, standing = excluded.standing, source = excluded.source;
  get diagnostics kept = row_count;
  return kept;
end $$;

-- Prices of offers that are there already, where a provider's own listing cannot be asked for.
create function api.catalog_store_prices(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  run text := catalog.run_arg($1);
  who text := catalog.provider_arg($1);
  at timestamptz := ledger.now();
begin
  perform catalog.hold(run);
  return jsonb_build_object(
    'changed', catalog.store_prices(run, who, ledger.array_arg($1, 'offers', 5000), at),
    'quarantined',
      catalog.store_quarantine(who, ledger.array_arg($1, 'quarantine', 5000), at));
end $$;

-- Offers that turned out to be another model's than their name says: under one of their own.
create function api.catalog_move(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare at timestamptz := ledger.now();
begin
  perform catalog.hold(catalog.run_arg($1));
  insert into catalog.models (model_id, name, author, first_seen_at, changed_at)
    select distinct b ->> 'model_id', b ->> 'model_id', split_part(b ->> 'model_id', '/', 1), at, at
      from jsonb_array_elements(ledger.array_arg($1, 'offers', 5000)) as b
    on conflict do nothing;
  update catalog.offers o set model_id = b ->> 'model_id', placed = 'own'
    from jsonb_array_elements($1 -> 'offers') as b where o.offer_id = b ->> 'offer';
  return '{}';
end $$;

-- The end of a good listing: what it did not list has missed a run, and after three it is hidden.
create function api.catalog_close_provider(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  run text := catalog.run_arg($1);
  who text := catalog.provider_arg($1);
  most bigint := ledger.int_arg($1, 'missed_most', 1, 100, 3);
  at timestamptz := ledger.now();
  absent integer; gone integer;
begin
  perform catalog.hold(run);
  update catalog.offers o set missed_runs = o.missed_runs + 1,
         status = case when o.missed_runs + 1 >= most then 'missing' else o.status end
   where o.provider = who and o.seen_run is distinct from run and o.status = 'listed';
  get diagnostics absent = row_count;
  select count(*) into gone from catalog.offers o where o.provider = who and o.status = 'missing';
  update catalog.providers p set last_good_at = at, last_tried_at = at, last_error = null,
         listed = ledger.int_arg($1, 'fetched', 0, 1000000)::integer
   where p.provider = who;
  insert into catalog.run_providers (run_id, provider, state, fetched, added, changed, quarantined,
                                     missing, took_ms, at)
    values (run, who, 'good', ($1 ->> 'fetched')::integer, ($1 ->> 'added')::integer,
            ($1 ->> 'changed')::integer, ($1 ->> 'quarantined')::integer, absent,
            coalesce(($1 ->> 'took_ms')::bigint, 0), at)
    on conflict (run_id, provider) do update
      set state = excluded.state, fetched = excluded.fetched, added = excluded.added,
          changed = excluded.changed, quarantined = excluded.quarantined,
          missing = excluded.missing, took_ms = excluded.took_ms, at = excluded.at, error = null;
  update catalog.alerts a set closed_at = at, closed_by = 'sync'
   where a.subject = who and a.closed_at is null and a.kind in ('listing_failed', 'listing_shrank');
  return jsonb_build_object('missing', absent, 'hidden', gone);
end $$;

-- A listing that failed or looks broken proves nothing: the data stays as it was.
create function api.catalog_fail_provider(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  run text := catalog.run_arg($1);
  who text := catalog.provider_arg($1);
  what text := ledger.text_arg($1, 'state', '^(failed|skipped)$', 10);
  why text := left($1 ->> 'error', 300);
begin
  perform catalog.hold(run);
  insert into catalog.providers as p (provider, last_tried_at, last_error)
    values (who, ledger.now(), why)
    on conflict (provider) do update set last_tried_at = excluded.last_tried_at,
                                         last_error = excluded.last_error;
  insert into catalog.run_providers (run_id, provider, state, fetched, error, took_ms, at)
    values (run, who, what, coalesce(($1 ->> 'fetched')::integer, 0), why,
            coalesce(($1 ->> 'took_ms')::bigint, 0), ledger.now())
    on conflict (run_id, provider) do update set state = excluded.state, error = excluded.error;
  if $1 ->> 'alert' is not null then
    perform catalog.alert($1 ->> 'alert', who, 'major', coalesce(why, ''));
  end if;
  return jsonb_build_object('provider', who);
end $$;

create function api.catalog_alert(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
begin
  perform catalog.alert(
    ledger.text_arg($1, 'kind', '^[a-z_]+$', 40), ledger.text_arg($1, 'subject', '^.+$', 200),
    ledger.text_arg($1, 'severity', '^(minor|moderate|major|critical)$', 10),
    coalesce($1 ->> 'detail', ''));
  return '{}';
end $$;

-- Facts of models, as assembled from all their listings. Operators' columns are not named.
create function api.catalog_store_models(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare at timestamptz := ledger.now(); stored integer;
begin
  perform catalog.hold(catalog.run_arg($1));
  insert into catalog.models as m (model_id, name, author, description, created_s, context_tokens,
      max_output_tokens, input_modalities, output_modalities, supported_parameters, tokenizer,
      capabilities, categories, hugging_face_id, knowledge_cutoff, deprecated_at, is_moderated,
      benchmarks, hf_downloads, hf_likes, flags, dimensions, first_seen_at, changed_at)
    select b ->> 'id', b ->> 'name', coalesce(b ->> 'author', ''),
           coalesce(b ->> 'description', ''), coalesce((b ->> 'created_s')::bigint, 0),
           (b ->> 'context_tokens')::bigint, (b ->> 'max_output_tokens')::bigint,
           catalog.words(b -> 'input_modalities'), catalog.words(b -> 'output_modalities'),
           catalog.words(b -> 'supported_parameters'), coalesce(b ->> 'tokenizer', 'Other'),
           catalog.words(b -> 'capabilities'), catalog.words(b -> 'categories'),
           b ->> 'hugging_face_id', b ->> 'knowledge_cutoff', b ->> 'deprecated_at',
           (b ->> 'is_moderated')::boolean, coalesce(b -> 'benchmarks', '{}'),
           (b ->> 'hf_downloads')::bigint, (b ->> 'hf_likes')::bigint,
           catalog.words(b -> 'flags'), catalog.words(b -> 'dimensions')::integer[], at, at
      from jsonb_array_elements(ledger.array_arg($1, 'models', 5000)) as b
    on conflict (model_id) do update set
      name = excluded.name, author = excluded.author, description = excluded.description,
      created_s = excluded.created_s, context_tokens = excluded.context_tokens,
      max_output_tokens = excluded.max_output_tokens,
      input_modalities = excluded.input_modalities,
      output_modalities = excluded.output_modalities,
      supported_parameters = excluded.supported_parameters, tokenizer = excluded.tokenizer,
      capabilities = excluded.capabilities, categories = excluded.categories,
      hugging_face_id = excluded.hugging_face_id, knowledge_cutoff = excluded.knowledge_cutoff,
      deprecated_at = excluded.deprecated_at, is_moderated = excluded.is_moderated,
      benchmarks = excluded.benchmarks, hf_downloads = excluded.hf_downloads,
      hf_likes = excluded.hf_likes, flags = excluded.flags, dimensions = excluded.dimensions,
      changed_at = at
    where (m.name, m.description, m.created_s, m.context_tokens, m.max_output_tokens,
           m.input_modalities, m.output_modalities, m.supported_parameters, m.tokenizer,
           m.capabilities, m.categories, m.knowledge_cutoff, m.deprecated_at, m.is_moderated,
           m.benchmarks, m.hf_downloads, m.hf_likes, m.flags)
      is distinct from
          (excluded.name, excluded.description, excluded.created_s, excluded.context_tokens,
           excluded.max_output_tokens, excluded.input_modalities, excluded.output_modalities,
           excluded.supported_parameters, excluded.tokenizer, excluded.capabilities,
           excluded.categories, excluded.knowledge_cutoff, excluded.deprecated_at,
           excluded.is_moderated, excluded.benchmarks, excluded.hf_downloads, excluded.hf_likes,
           excluded.flags);
  get diagnostics stored = row_count;
  return jsonb_build_object('changed', stored);
end $$;

select ledger.close_doors();
