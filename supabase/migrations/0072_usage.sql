-- What an account used, added up by hour and day along everything one may ask for, exact to the
-- ledger. Nothing is added while a request settles: an account's charges are folded in the order of
-- their posting, by whoever reads first or by the schedule. The door makes that order safe: of one
-- account no smaller seq can appear after a larger one was seen.

create index charges_by_account on ledger.charges (account, seq);

-- Labels that a caller gives one request (X-Gatewayz-Tags). The function is changed where it stands,
-- so that whatever else was put into it remains.
alter table ledger.requests add column tags jsonb;
alter type ledger.charge_message add attribute tags jsonb;
do $$
declare
  source text := pg_get_functiondef('ledger.post_charges(jsonb)'::regprocedure);
  old text := 'left(f.client_request_id, 128), left(f.app, 128), at';
begin
  if position(old in source) = 0 then raise exception 'requests are not recorded here'; end if;
  execute replace(source, old, old || ', nullif(f.tags, ''[]'')');
end $$;

create table ledger.usage_heads (
  account   text collate "C" primary key references tenancy.accounts,
  seq       bigint not null default 0,             -- charges up to it are inside
  requests  bigint not null default 0,
  nanos     bigint not null default 0,
  -- requests before this id were deleted by retention; their sums stay
  kept_from text collate "C" not null default ''
) with (fillfactor = 70);

-- One row for each combination that occurred.
create table ledger.usage_series (
  series      bigint generated always as identity primary key,
  account     text collate "C" not null references tenancy.accounts,
  digest      uuid not null,
  key_id      text collate "C",
  team        text,
  member      text,
  end_user    text,
  app         text,
  tags        text[] not null default '{}',
  model       text collate "C",
  offer       text,
  provider    text,
  outcome     text not null,
  finish      text,
  error_class text,
  blame       text,
  stream      boolean not null,
  byok        boolean not null,                    -- by a key of the account's own
  unique (account, digest)
);

-- first_hist and total_hist: milliseconds in buckets (ledger.ms_bucket), bucket << 40 | count.
create table ledger.usage_hours (
  account             text collate "C" not null,
  starts_at           timestamptz not null,
  series              bigint not null,
  requests            bigint not null,
  nanos               bigint not null,
  cost_nanos          bigint not null,
  prompt_tokens       bigint not null,
  completion_tokens   bigint not null,
  cached_tokens       bigint not null,
  cache_write_tokens  bigint not null,
  reasoning_tokens    bigint not null,
  cache_savings_nanos bigint not null,
  reference_nanos     bigint not null,             -- of those whose reference price is known
  referenced_nanos    bigint not null,             -- what these were charged
  attempts            bigint not null,
  total_ms            bigint not null,
  timed               bigint not null,             -- requests that have a total_ms
  writing_ms          bigint not null,
  written_tokens      bigint not null,             -- of those that have a writing time
  first_hist          bigint[] not null,
  total_hist          bigint[] not null,
  primary key (account, starts_at, series)
) with (fillfactor = 70);
create table ledger.usage_days (like ledger.usage_hours including all) with (fillfactor = 70);

-- What was billed, by class and price: the amounts of a request's lines add up to its charge.
create table ledger.usage_lines (
  account     text collate "C" not null,
  day         date not null,
  series      bigint not null,
  class       text collate "C" not null,
  price_nanos bigint not null,
  units       numeric not null,
  nanos       bigint not null,
  primary key (account, day, series, class, price_nanos)
) with (fillfactor = 70);

-- Exact below 64 ms, then 32 buckets an octave: a percentile is right within 1.6 %. Expressions
-- alone, so that they become part of the query around them.
create function ledger.octave(p_ms bigint) returns integer language sql immutable as $$
  select floor(ln(greatest(p_ms, 1)::float8) / 0.6931471805599453::float8 + 1e-12)::integer
$$;
create function ledger.ms_bucket(p_ms bigint) returns bigint language sql immutable as $$
  select case when p_ms < 64 then greatest(p_ms, 0)
              else 64 + (ledger.octave(p_ms) - 6) * 32 + (p_ms >> (ledger.octave(p_ms) - 5)) - 32 end
$$;

create function ledger.bucket_ms(p_bucket bigint) returns double precision
language sql immutable as $$
  select case when p_bucket < 64 then p_bucket::float8
              else (32 + (p_bucket - 64) % 32 + 0.5) * (2::float8 ^ (1 + (p_bucket - 64) / 32)) end
$$;

create function ledger.add_counts(p_a bigint[], p_b bigint[]) returns bigint[]
language sql immutable as $$
  select case when cardinality(p_a) = 0 then p_b when cardinality(p_b) = 0 then p_a else (
    select array_agg((s.bucket << 40) | s.n order by s.bucket)
      from (select v >> 40 as bucket, sum(v & 1099511627775)::bigint as n
              from unnest(p_a || p_b) as v group by 1) as s) end
$$;

create function ledger.counts_of(p_ms bigint[]) returns bigint[] language sql immutable as $$
  select coalesce(array_agg((b.bucket << 40) | b.n order by b.bucket), '{}')
    from (select ledger.ms_bucket(v) as bucket, count(*) as n
            from unnest(p_ms) as v where v is not null group by 1) as b
$$;

-- How a request ended for its caller: the class of its error, and whose fault it was. The rules are
-- published (GET /v1/sla); a request that was answered whole, or whose caller left, has neither.
create function ledger.judge(
  p_outcome text, p_reason text, p_attempts jsonb, out error_class text, out blame text)
language plpgsql immutable as $$
declare
  last jsonb := p_attempts -> -1;
  name text := coalesce(last ->> 'error', last ->> 'cut');
begin
  if p_outcome in ('completed', 'left') then return; end if;
  if p_outcome = 'expired' or p_reason = 'crash' then
    error_class := coalesce(p_reason, p_outcome);
    if p_outcome = 'expired' then error_class := 'expired'; end if;
    blame := 'gateway';
    return;
  end if;
  error_class := case
    when name is null then case p_outcome when 'failed' then 'unavailable' else p_outcome end
    when name = 'UpstreamTimeout' then 'timeout' when name = 'UpstreamThrottled' then 'throttled'
    when name = 'UpstreamExhausted' then 'payment' when name = 'UpstreamAuth' then 'auth'
    when name = 'UpstreamModelMissing' then 'model_missing'
    when name = 'UpstreamUnavailable' then 'unavailable'
    when name in ('UpstreamBroken', 'EmptyAnswer') then 'broken'
    when name in ('UpstreamRejected', 'InvalidRequest', 'Unprocessable', 'PayloadTooLarge')
    then 'rejected'
    else lower(regexp_replace(name, '(?<=[a-z])([A-Z])', '_\1', 'g')) end;
  blame := case
    when error_class = 'rejected' or name = 'ContentFilter' then 'client'
    when coalesce((last ->> 'byok')::boolean, false) and error_class in ('payment', 'auth')
    then 'client'
    when name is null and p_outcome = 'failed' then 'gateway'
    when name like 'Upstream%' and error_class not in ('payment', 'auth')
      or name = 'EmptyAnswer' or name is null then 'provider'
    else 'gateway' end;
end $$;

-- What a model's tokens cost where its maker sells them, else at the middle of all that offer it.
-- Null where no price is known: nothing was saved against a price that nobody asks.
create function ledger.reference_price(p_model text) returns jsonb
language sql stable set enable_seqscan = off as $$
  select p.nanos
    from (select x.offer_id, x.nanos,
                 (x.nanos ->> 'input')::numeric + coalesce((x.nanos ->> 'output')::numeric, 0)
                   as sum,
                 o.provider = split_part(p_model, '/', 1) as makers
            from catalog.offers o
           cross join lateral (select y.* from catalog.prices y where y.offer_id = o.offer_id
                                order by y.valid_from desc limit 1) as x
           where coalesce(o.op_model_id, o.model_id) = p_model and o.op_enabled
             and o.status = 'listed' and not x.free and x.nanos ? 'input') as p
   order by p.makers desc,
            abs(p.sum - (select percentile_disc(0.5) within group (order by z.sum)
                           from (select (w.nanos ->> 'input')::numeric
                                        + coalesce((w.nanos ->> 'output')::numeric, 0) as sum
                                   from catalog.offers o
                                  cross join lateral (select y.* from catalog.prices y
                                          where y.offer_id = o.offer_id
                                          order by y.valid_from desc limit 1) as w
                                  where coalesce(o.op_model_id, o.model_id) = p_model
                                    and o.op_enabled and o.status = 'listed' and not w.free
                                    and w.nanos ? 'input') as z)), p.offer_id
   limit 1
$$;

-- The lines at another price: null where a class that was used has none. Reasoning without an own
-- price takes output's, a read from the cache without one takes input's.
create function ledger.priced_at(p_lines jsonb, p_price jsonb) returns bigint
language sql immutable as $$
  select case when p_price is null or bool_or(s.price is null) then null
              else ceil(coalesce(sum(s.units * s.price), 0) / 1000000)::bigint end
    from (select (l ->> 1)::numeric as units,
                 coalesce((p_price ->> (l ->> 0))::numeric, case l ->> 0
                   when 'reasoning' then (p_price ->> 'output')::numeric
                   when 'cache_read' then (p_price ->> 'input')::numeric
                   when 'cache_write_5m' then (p_price ->> 'input')::numeric
                   when 'cache_write_1h' then (p_price ->> 'input')::numeric end) as price
            from jsonb_array_elements(p_lines) as l) as s
$$;

-- What reading from the cache saved beside the price of input: of the same receipt, else of the
-- price it was made with.
create function ledger.cache_savings(p_lines jsonb, p_version text) returns bigint
language sql stable set enable_seqscan = off as $$
  select coalesce(sum(greatest(0, floor((c ->> 1)::numeric * (i.price - (c ->> 2)::numeric)
                                        / 1000000))), 0)::bigint
    from jsonb_array_elements(p_lines) as c
   cross join lateral (select coalesce(
           (select max((l ->> 2)::numeric) from jsonb_array_elements(p_lines) as l
             where l ->> 0 = 'input'),
           (select (p.nanos ->> 'input')::numeric from catalog.prices p
             where p.version = p_version limit 1)) as price) as i
   where c ->> 0 = 'cache_read' and i.price is not null
$$;

create type ledger.usage_item as (
  seq bigint, at timestamptz, digest uuid, key_id text, team text, member text, end_user text,
  app text, tags text[], model text, offer text, provider text, outcome text, finish text,
  error_class text, blame text, stream boolean, byok boolean, nanos bigint, cost_nanos bigint,
  prompt bigint,
  answer bigint, cached bigint, cache_write bigint, reasoning bigint, cache_savings bigint,
  reference bigint, attempts bigint, first_ms bigint, total_ms bigint, lines jsonb, cap bigint);

-- Whose key it is, and the labels it gives its requests.
create function ledger.tags_of(p_metadata jsonb) returns text[] language sql immutable as $$
  select coalesce(array_agg(distinct left(t, 64) order by left(t, 64)), '{}') from (
    select jsonb_array_elements_text(case jsonb_typeof(p_metadata -> 'tags')
             when 'array' then p_metadata -> 'tags' else '[]' end) as t
    union all select p_metadata ->> 'tag') as s
   where t is not null and t <> ''
$$;

-- A key's labels and a request's together.
create function ledger.all_tags(p_key text[], p_request jsonb) returns text[]
language sql immutable as $$
  select case when p_request is null then coalesce(p_key, '{}')
              else array(select t from unnest(p_key) as t
                          union select left(r, 64) from jsonb_array_elements_text(p_request) as r
                          order by 1) end
$$;

create function ledger.is_byok(p_version text) returns boolean language sql immutable as
  $$ select coalesce(p_version ~ '-byok[0-9]+$', false) $$;

create function ledger.usage_items(p_account text, p_after bigint, p_most bigint)
returns setof ledger.usage_item
language sql stable set enable_seqscan = off set enable_hashjoin = off set jit = off as $$
  with posted as materialized (
    select c.seq, c.request_id, c.amount, c.cap, c.lines from ledger.charges c
     where c.account = p_account and c.seq > p_after order by c.seq limit p_most
  ), found as materialized (
    select p.seq, p.cap, p.amount, p.lines, r.request_id,
           coalesce(r.admitted_at, r.posted_at) as at, r.key_id, r.team, r.end_user, r.app, r.model,
           r.offer, r.provider, r.outcome, r.finish, j.error_class, j.blame, r.stream,
           r.cost_nanos, r.price_version, jsonb_array_length(r.attempts) as attempts,
           r.first_token_ms, r.total_ms, r.tags, ledger.is_byok(r.price_version) as byok
      from posted p join ledger.requests r on r.request_id = p.request_id
     cross join lateral ledger.judge(r.outcome, r.reason, r.attempts) as j
  ), keys as materialized (
    select k.key_id, k.creator, ledger.tags_of(k.metadata) as tags
      from (select distinct f.key_id from found f) as used
      join tenancy.api_keys k on k.key_id = used.key_id and k.account = p_account
  ), prices as materialized (
    select m.model, ledger.reference_price(m.model) as price
      from (select distinct f.model from found f where f.model is not null) as m
  )
  select f.seq, f.at,
         md5(jsonb_build_array(f.key_id, f.team, k.creator, f.end_user, f.app,
           ledger.all_tags(k.tags, f.tags), f.model, f.offer, f.provider, f.outcome, f.finish,
           f.error_class, f.blame, f.stream, f.byok)::text)::uuid,
         f.key_id, f.team, k.creator, f.end_user, f.app, ledger.all_tags(k.tags, f.tags), f.model,
         f.offer, f.provider,
         f.outcome, f.finish, f.error_class, f.blame, f.stream, f.byok, f.amount,
         -- who brings a key pays its provider: that is no cost of ours, and nothing saved by us
         case when f.byok then 0 else coalesce(f.cost_nanos, 0) end, t.prompt, t.answer, u.cached,
         u.written, u.reasoning,
         case when u.cached > 0 and not f.byok
              then ledger.cache_savings(f.lines, f.price_version) else 0 end,
         case when f.amount > 0 and p.price is not null and not f.byok
              then ledger.priced_at(f.lines, p.price) end,
         f.attempts, f.first_token_ms, f.total_ms, f.lines, f.cap
    from found f
    left join prices p on p.model = f.model
    left join keys k on k.key_id = f.key_id
   cross join lateral ledger.token_units(f.lines) as t
   cross join lateral (
     select coalesce(sum((l ->> 1)::bigint) filter (where l ->> 0 = 'cache_read'), 0)::bigint
              as cached,
            coalesce(sum((l ->> 1)::bigint) filter (where l ->> 0 in
              ('cache_write_5m', 'cache_write_1h')), 0)::bigint as written,
            coalesce(sum((l ->> 1)::bigint) filter (where l ->> 0 = 'reasoning'), 0)::bigint
              as reasoning
       from jsonb_array_elements(f.lines) as l) as u
   order by f.seq
$$;

-- Rows of usage_hours and usage_days of one account, from items and their series.
create function ledger.sum_items(p_account text, p_items ledger.usage_item[], p_span text)
returns setof ledger.usage_hours language sql stable as $$
  select p_account, date_trunc(p_span, i.at, 'UTC'), s.series, count(*), sum(i.nanos)::bigint,
         sum(i.cost_nanos)::bigint, sum(i.prompt)::bigint, sum(i.answer)::bigint,
         sum(i.cached)::bigint, sum(i.cache_write)::bigint, sum(i.reasoning)::bigint,
         sum(i.cache_savings)::bigint, coalesce(sum(i.reference), 0)::bigint,
         coalesce(sum(i.nanos) filter (where i.reference is not null), 0)::bigint,
         sum(i.attempts)::bigint, coalesce(sum(i.total_ms), 0)::bigint, count(i.total_ms),
         coalesce(sum(i.total_ms - i.first_ms) filter (where i.total_ms > i.first_ms), 0)::bigint,
         coalesce(sum(i.answer) filter (where i.total_ms > i.first_ms), 0)::bigint,
         case when count(i.first_ms) = 0 then '{}'
              when count(i.first_ms) = 1 then array[ledger.ms_bucket(max(i.first_ms)) << 40 | 1]
              else ledger.counts_of(array_agg(i.first_ms)) end,
         case when count(i.total_ms) = 0 then '{}'
              when count(i.total_ms) = 1 then array[ledger.ms_bucket(max(i.total_ms)) << 40 | 1]
              else ledger.counts_of(array_agg(i.total_ms)) end
    from unnest(p_items) as i
    join ledger.usage_series s on s.account = p_account and s.digest = i.digest
   group by 2, 3 order by 2, 3
$$;

-- Folds what was charged since; the number of charges. Whoever comes at the same time waits, and
-- finds nothing left.
create function ledger.fold_usage(p_account text, p_most bigint) returns bigint
language plpgsql set jit = off as $$
declare
  head ledger.usage_heads;
  items ledger.usage_item[];
  span text;
begin
  insert into ledger.usage_heads (account) values (p_account) on conflict do nothing;
  select * into head from ledger.usage_heads h where h.account = p_account for update;
  select array_agg(i) into items from ledger.usage_items(p_account, head.seq, p_most) as i;
  if items is null then return 0; end if;

  insert into ledger.usage_series (account, digest, key_id, team, member, end_user, app, tags,
      model, offer, provider, outcome, finish, error_class, blame, stream, byok)
    select distinct on (i.digest) p_account, i.digest, i.key_id, i.team, i.member, i.end_user,
           i.app, i.tags, i.model, i.offer, i.provider, i.outcome, i.finish, i.error_class,
           i.blame, i.stream, i.byok
      from unnest(items) as i
     where not exists (select 1 from ledger.usage_series s
                        where s.account = p_account and s.digest = i.digest)
    on conflict (account, digest) do nothing;

  foreach span in array array['hour', 'day'] loop
    execute format($sums$
    insert into ledger.%I as h select * from ledger.sum_items($1, $2, %L)
      on conflict (account, starts_at, series) do update set
        requests = h.requests + excluded.requests, nanos = h.nanos + excluded.nanos,
        cost_nanos = h.cost_nanos + excluded.cost_nanos,
        prompt_tokens = h.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = h.completion_tokens + excluded.completion_tokens,
        cached_tokens = h.cached_tokens + excluded.cached_tokens,
        cache_write_tokens = h.cache_write_tokens + excluded.cache_write_tokens,
        reasoning_tokens = h.reasoning_tokens + excluded.reasoning_tokens,
        cache_savings_nanos = h.cache_savings_nanos + excluded.cache_savings_nanos,
        reference_nanos = h.reference_nanos + excluded.reference_nanos,
        referenced_nanos = h.referenced_nanos + excluded.referenced_nanos,
        attempts = h.attempts + excluded.attempts, total_ms = h.total_ms + excluded.total_ms,
        timed = h.timed + excluded.timed, writing_ms = h.writing_ms + excluded.writing_ms,
        written_tokens = h.written_tokens + excluded.written_tokens,
        first_hist = ledger.add_counts(h.first_hist, excluded.first_hist),
        total_hist = ledger.add_counts(h.total_hist, excluded.total_hist)
    $sums$, 'usage_' || span || 's', span) using p_account, items;
  end loop;

  insert into ledger.usage_lines as u (account, day, series, class, price_nanos, units, nanos)
    select p_account, (i.at at time zone 'UTC')::date, s.series, a.class, a.price,
           sum(a.units), sum(a.nanos)::bigint
      from unnest(items) as i
      join ledger.usage_series s on s.account = p_account and s.digest = i.digest
     cross join lateral ledger.line_amounts(i.lines, i.cap) as a
     group by 2, 3, 4, 5 order by 2, 3, 4, 5
    on conflict (account, day, series, class, price_nanos) do update
      set units = u.units + excluded.units, nanos = u.nanos + excluded.nanos;

  update ledger.usage_heads h
     set seq = (select max(i.seq) from unnest(items) as i),
         requests = h.requests + cardinality(items),
         nanos = h.nanos + (select sum(i.nanos) from unnest(items) as i)
   where h.account = p_account;
  return cardinality(items);
end $$;

-- A charge divided over its lines in whole nano-USD: each takes what it adds to the rounded sum.
create function ledger.line_amounts(p_lines jsonb, p_cap bigint)
returns table (class text, price bigint, units numeric, nanos bigint)
language sql immutable as $$
  select s.class, s.price, s.units,
         (least(ceil(s.upto / 1000000), coalesce(p_cap, ceil(s.upto / 1000000)))
          - least(ceil((s.upto - s.units * s.price) / 1000000),
                  coalesce(p_cap, ceil((s.upto - s.units * s.price) / 1000000))))::bigint
    from (select l.line ->> 0 as class, (l.line ->> 2)::bigint as price,
                 (l.line ->> 1)::numeric as units,
                 sum((l.line ->> 1)::numeric * (l.line ->> 2)::numeric)
                   over (order by l.place) as upto
            from jsonb_array_elements(p_lines) with ordinality as l(line, place)) as s
$$;

-- Everything that is there, in pieces that keep memory small.
create function ledger.catch_up(p_account text) returns bigint language plpgsql as $$
declare part bigint; total bigint := 0; begin
  loop
    part := ledger.fold_usage(p_account, 5000);
    total := total + part;
    exit when part < 5000;
  end loop;
  return total;
end $$;

-- {most, account?}: folds what was charged since, of every account, at most so many charges:
-- {folded, accounts}.
create function api.fold_usage(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  most bigint := ledger.int_arg($1, 'most', 1, 1000000, 50000);
  only_one text := case when coalesce(jsonb_typeof($1 -> 'account'), 'null') = 'null' then null
                        else ledger.account_arg($1) end;
  due record; folded bigint := 0; accounts integer := 0; part bigint;
begin
  for due in
    select a.account from tenancy.accounts a
      left join ledger.usage_heads h on h.account = a.account
     where (only_one is null or a.account = only_one)
       and exists (select 1 from ledger.charges c
                    where c.account = a.account and c.seq > coalesce(h.seq, 0))
     order by a.account
  loop
    loop
      exit when folded >= most;
      part := ledger.fold_usage(due.account, least(5000, most - folded));
      folded := folded + part;
      exit when part = 0;
    end loop;
    accounts := accounts + 1;
  end loop;
  return jsonb_build_object('folded', folded, 'accounts', accounts);
end $$;

select ledger.close_doors();
