-- What operators need of the catalog beyond a sync by the clock: a run that somebody began is gone
-- on with as it was begun, and past prices are shown as they are sold.

-- As in 0021, and says whether the run that is gone on with was forced. One that broke off is taken
-- up by the next of an hourly schedule, however late that is.
create or replace function api.catalog_begin_sync(jsonb) returns jsonb
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
     where r.state = 'running' and r.started_at > at - interval '2 hours'
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
    'forced', coalesce(old.forced, false),
    'done', (select coalesce(jsonb_agg(p.provider), '[]') from catalog.run_providers p
              where p.run_id = run));
end $$;

-- As in 0022, with what a sale price is made of: the markups of offer, model and provider.
create or replace function catalog.history(p_where jsonb, p_most bigint)
returns jsonb language sql stable as $$
  select coalesce(jsonb_agg(jsonb_build_object('offer', h.offer_id, 'model', h.model_id,
           'provider', h.provider, 'native_id', h.native_id, 'version', h.version,
           'source', h.source, 'checked_at_ms', ledger.ms_of(h.checked_at),
           'valid_from_ms', ledger.ms_of(h.valid_from), 'valid_to_ms', ledger.ms_of(h.valid_to),
           'cost', h.nanos, 'tiers', h.tiers, 'free', h.free,
           'markups_ppm', jsonb_build_array(h.offer_ppm, h.model_ppm, h.provider_ppm))
           order by h.valid_from desc, h.offer_id), '[]')
    from (
      select every.*, m.op_markup_ppm as model_ppm, s.op_markup_ppm as provider_ppm from (
        select p.*, coalesce(o.op_model_id, o.model_id) as model_id, o.provider, o.native_id,
               o.op_markup_ppm as offer_ppm,
               lead(p.valid_from) over (partition by p.offer_id order by p.valid_from) as valid_to
          from catalog.prices p join catalog.offers o using (offer_id)
         where (p_where ->> 'offer' is null or p.offer_id = p_where ->> 'offer')
           and (p_where ->> 'model' is null
                or coalesce(o.op_model_id, o.model_id) = p_where ->> 'model')
           and (p_where ->> 'provider' is null or o.provider = p_where ->> 'provider')) as every
        left join catalog.models m on m.model_id = every.model_id
        left join catalog.providers s on s.provider = every.provider
       where (p_where ->> 'version' is null or every.version = p_where ->> 'version')
         and (p_where ->> 'before_ms' is null
              or every.valid_from < to_timestamp((p_where ->> 'before_ms')::bigint / 1000.0))
       order by every.valid_from desc, every.offer_id limit p_most) as h
$$;

select ledger.close_doors();
