-- Asking for what was used: sums along any dimension from the folded hours and days, and the log of
-- requests itself. Names of columns come from the two tables below alone; values are parameters.

create function ledger.usage_dimension(p_name text) returns text language sql immutable as $$
  select case p_name
    when 'model' then 's.model' when 'provider' then 's.provider' when 'offer' then 's.offer'
    when 'api_key_id' then 's.key_id' when 'team' then 's.team' when 'member' then 's.member'
    when 'end_user' then 's.end_user' when 'app' then 's.app' when 'outcome' then 's.outcome'
    when 'finish_reason' then 's.finish' when 'error_class' then 's.error_class'
    when 'blame' then 's.blame' when 'is_byok' then 's.byok::text'
    when 'stream' then 's.stream::text' when 'tag' then 't.tag' end
$$;

-- Sums of a group `u` of rows; ratios are made of sums, never of ratios.
create function ledger.usage_metric(p_name text) returns text language sql immutable as $$
  select case p_name
    when 'request_count' then 'sum(u.requests)::bigint'
    when 'error_count' then
      'coalesce(sum(u.requests) filter (where s.error_class is not null), 0)::bigint'
    when 'error_rate' then
      'coalesce(sum(u.requests) filter (where s.error_class is not null), 0)::float8'
      ' / nullif(sum(u.requests), 0)'
    when 'usage' then 'sum(u.nanos)::bigint'
    when 'average_usage' then '(sum(u.nanos) / nullif(sum(u.requests), 0))::bigint'
    when 'tokens_prompt' then 'sum(u.prompt_tokens)::bigint'
    when 'tokens_completion' then 'sum(u.completion_tokens)::bigint'
    when 'tokens_total' then 'sum(u.prompt_tokens + u.completion_tokens)::bigint'
    when 'tokens_reasoning' then 'sum(u.reasoning_tokens)::bigint'
    when 'tokens_cached' then 'sum(u.cached_tokens)::bigint'
    when 'tokens_cache_write' then 'sum(u.cache_write_tokens)::bigint'
    when 'cache_hit_rate' then
      'sum(u.cached_tokens)::float8 / nullif(sum(u.prompt_tokens), 0)'
    when 'cache_savings' then 'sum(u.cache_savings_nanos)::bigint'
    when 'reference_usage' then 'sum(u.reference_nanos)::bigint'
    when 'reference_savings' then 'sum(u.reference_nanos - u.referenced_nanos)::bigint'
    when 'attempt_count' then 'sum(u.attempts)::bigint'
    when 'latency_average' then 'sum(u.total_ms)::float8 / nullif(sum(u.timed), 0)'
    when 'throughput' then 'sum(u.written_tokens) * 1000.0::float8 / nullif(sum(u.writing_ms), 0)'
  end
$$;

-- The values that one filter compares with, as text.
create function ledger.filter_values(p_filter jsonb) returns text[] language sql immutable as $$
  select coalesce(array_agg(v), '{}') from jsonb_array_elements_text(p_filter -> 'values') as v
$$;

-- The condition on series `s` that a filter means. `null` among the values stands for "none".
create function ledger.filter_text(p_filter jsonb) returns text language plpgsql stable as $$
declare
  field text := p_filter ->> 'field';
  col text := ledger.usage_dimension(field);
  op text := p_filter ->> 'operator';
  negated boolean := op in ('neq', 'not_in');
  listed text;
  unset boolean := coalesce((p_filter -> 'unset') = 'true', false);
begin
  if col is null then perform ledger.refuse('invalid_argument', 'unknown dimension'); end if;
  if op not in ('eq', 'neq', 'in', 'not_in') then
    perform ledger.refuse('invalid_argument', 'unknown operator');
  end if;
  listed := format('%L::text[]', ledger.filter_values(p_filter));
  if field = 'tag' then
    return format('%s(s.tags && %s%s)', case when negated then 'not ' else '' end, listed,
                  case when unset then ' or s.tags = ''{}''' else '' end);
  end if;
  return format('%s(coalesce(%s = any (%s), false)%s)', case when negated then 'not ' else '' end,
                col, listed, case when unset then format(' or %s is null', col) else '' end);
end $$;

create function ledger.filters_text(p jsonb) returns text language sql stable as $$
  select coalesce(string_agg(' and ' || ledger.filter_text(f), ''), '')
    from jsonb_array_elements(case when jsonb_typeof(p -> 'filters') = 'array'
                                   then p -> 'filters' else '[]' end) as f
$$;

-- How long single hours are kept; days stay.
create function ledger.hours_kept() returns interval language sql immutable as $$
  select interval '400 days'
$$;

-- The keys of a group: `named` as `expression as name, `, `names` as `name, `. One that is the same
-- as the row's own hour or day costs no call for each row.
create type ledger.usage_keys as (named text, names text);

create function ledger.usage_keys_of(p_part text, p_grain text, p_dims text[])
returns ledger.usage_keys language plpgsql stable as $$
declare made ledger.usage_keys; name text; expr text;
begin
  made := row('', '');
  if p_grain is not null then
    made.named := case when p_grain = p_part then 'u.starts_at as date_ms, '
      else format('date_trunc(%L, u.starts_at, ''UTC'') as date_ms, ', p_grain) end;
    made.names := 'date_ms, ';
  end if;
  foreach name in array p_dims loop
    expr := ledger.usage_dimension(name);
    if expr is null then perform ledger.refuse('invalid_argument', 'unknown dimension'); end if;
    made.named := made.named || format('%s as %I, ', expr, name);
    made.names := made.names || format('%I, ', name);
  end loop;
  return made;
end $$;

-- The percentiles of each group, from the cells of its histograms.
create function ledger.shares_text(p_asked text[], p_keys ledger.usage_keys, p_from text)
returns text language sql stable as $$
  select format(
    ', cells as materialized (select %2$s kind, v >> 40 as bucket, sum(v & 1099511627775)::bigint'
    ' as n from (%1$s) as c group by %2$s kind, bucket), shares as materialized ('
    'select %2$s %3$s from (select %2$s kind, ledger.bucket_ms(bucket) as ms,'
    ' sum(n) over (partition by %2$s kind order by bucket) as upto,'
    ' sum(n) over (partition by %2$s kind) as total from cells) as w%4$s)',
    (select string_agg(format('select %s%L::text as kind, unnest(u.%I) as v%s', p_keys.named, h.kind,
              h.col, p_from), ' union all ')
       from (values ('latency', 'total_hist'), ('first_token', 'first_hist')) as h(kind, col)
      where exists (select 1 from unnest(p_asked) as m where m like h.kind || '@_p%' escape '@')),
    p_keys.names,
    (select string_agg(format('min(w.ms) filter (where w.kind = %L and w.upto >='
              ' ceil(%s * w.total)) as %I', regexp_replace(m, '_p[0-9]+$', ''),
              substring(m from '[0-9]+$')::numeric / 100, m), ', ') from unnest(p_asked) as m),
    case when p_keys.names = '' then '' else ' group by ' || rtrim(p_keys.names, ', ') end)
$$;

-- {account, from_ms, to_ms, metrics, dimensions, granularity?: hour|day|week|month, filters,
--  order?: {field, direction}, limit, group_limit?} -> {rows, truncated, from_ms, to_ms}. The span is
-- widened to whole hours; where hours are gone, or days suffice, to whole days in UTC.
-- Money is nano-USD; percentiles and averages are milliseconds.
create function api.query_usage(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set jit = off as $$
declare
  acct text := ledger.account_arg($1);
  first_at timestamptz := timestamptz 'epoch'
    + ledger.span(ledger.int_arg($1, 'from_ms', 0, 253402300799999));
  end_at timestamptz := timestamptz 'epoch'
    + ledger.span(ledger.int_arg($1, 'to_ms', 0, 253402300799999));
  most bigint := ledger.int_arg($1, 'limit', 1, 100000, 1000);
  each bigint := ledger.int_arg($1, 'group_limit', 1, 100000, 9000000000);
  grain text := $1 ->> 'granularity';
  metrics text[] := array(select distinct jsonb_array_elements_text(
                            ledger.array_arg($1, 'metrics', 32)));
  dims text[] := array(select jsonb_array_elements_text(ledger.array_arg($1, 'dimensions', 8)));
  shares text[] := array(select m from unnest(metrics) as m
                          where m ~ '^(latency|first_token)_p(50|90|95|99)$');
  field text := $1 -> 'order' ->> 'field';
  keys ledger.usage_keys; part text; source text; sums text := ''; conditions text;
  names text[]; name text; expr text;
  sorted text; rows jsonb; found_rows bigint;
begin
  if grain is not null and grain not in ('hour', 'day', 'week', 'month') then
    perform ledger.refuse('invalid_argument', 'unknown granularity');
  end if;
  perform ledger.catch_up(acct);
  part := ledger.usage_part(first_at, end_at, grain);
  if part = 'day' and grain = 'hour' then grain := 'day'; end if;
  first_at := date_trunc(part, first_at, 'UTC');
  if date_trunc(part, end_at, 'UTC') <> end_at then
    end_at := date_trunc(part, end_at, 'UTC') + ('1 ' || part)::interval;
  end if;
  keys := ledger.usage_keys_of(part, grain, dims);
  names := string_to_array(rtrim(keys.names, ', '), ', ');
  conditions := ledger.filters_text($1);
  source := format(' from ledger.%I u%s where u.account = $1 and u.starts_at >= $2'
    ' and u.starts_at < $3%s', 'usage_' || part || 's',
    case when cardinality(dims) = 0 and conditions = ''
           and not metrics && array['error_count', 'error_rate'] then ''
         else ' join ledger.usage_series s on s.series = u.series' end
    || case when 'tag' = any (dims) then ' cross join lateral unnest(case when s.tags = ''{}'''
      ' then array[null::text] else s.tags end) as t(tag)' else '' end, conditions);
  foreach name in array metrics loop
    continue when name = any (shares);
    expr := ledger.usage_metric(name);
    if expr is null then perform ledger.refuse('invalid_argument', 'unknown metric'); end if;
    sums := sums || format('%s as %I, ', expr, name);
  end loop;
  sorted := case when field is null and grain is null then 'sums.n_ desc'
                 when field is null or (field = 'date' and grain is not null) then 'sums.date_ms'
                 when field = 'request_count' then 'sums.n_'
                 when field = any (shares) then format('shares.%I', field)
                 when field = any (metrics || dims) then format('sums.%I', field) end;
  if sorted is null then perform ledger.refuse('invalid_argument', 'cannot be ordered by'); end if;
  if field is not null then
    sorted := sorted || case when $1 -> 'order' ->> 'direction' = 'asc' then ' asc' else ' desc' end
              || ' nulls last';
  end if;
  execute format('with sums as materialized (select %1$s%2$s sum(u.requests)::bigint as n_%3$s'
      '%4$s)%5$s select coalesce(jsonb_agg(x.row_ order by x.place_), ''[]''), count(*) from ('
      'select a.row_, a.place_ from (select %6$s as row_, row_number() over (order by %7$s,'
      ' sums.n_ desc%8$s) as place_, row_number() over (partition by %9$s) as nth_'
      ' from sums%10$s where sums.n_ > 0) as a where a.nth_ <= $4 order by a.place_ limit $5) as x',
    keys.named, sums, source,
    case when keys.names = '' then '' else ' group by ' || rtrim(keys.names, ', ') end,
    case when cardinality(shares) = 0 then '' else ledger.shares_text(shares, keys, source) end,
    case when cardinality(shares) = 0 then '' else 'coalesce(to_jsonb(shares), ''{}'') || ' end
      || '(to_jsonb(sums) - ''n_'')'
      || case when grain is null then ''
              else ' || jsonb_build_object(''date_ms'', ledger.ms_of(sums.date_ms))' end,
    sorted, (select coalesce(string_agg(', sums.' || k, ''), '') from unnest(names) as k),
    coalesce((select string_agg(format('sums.%I', d), ', ') from unnest(dims) as d), 'true')
      || case when grain is null then '' else ' order by sums.date_ms' end,
    case when cardinality(shares) = 0 then '' else ' left join shares on true'
      || (select coalesce(string_agg(format(' and shares.%1$s is not distinct from sums.%1$s', k),
                                     ''), '') from unnest(names) as k) end)
    into rows, found_rows using acct, first_at, end_at, each, most + 1;
  if found_rows > most then rows := rows - -1; end if;
  return jsonb_build_object('rows', rows, 'truncated', found_rows > most, 'granularity', grain,
    'from_ms', ledger.ms_of(first_at), 'to_ms', ledger.ms_of(end_at));
end $$;

-- Days where they say the same and are fewer, and where hours are gone.
create function ledger.usage_part(p_from timestamptz, p_to timestamptz, p_grain text)
returns text language sql stable as $$
  select case when p_from < date_trunc('day', ledger.now(), 'UTC') - ledger.hours_kept()
              then 'day'
              when p_grain = 'hour' or date_trunc('day', p_from, 'UTC') <> p_from
                or (date_trunc('day', p_to, 'UTC') <> p_to and p_to < ledger.now())
              then 'hour' else 'day' end
$$;

-- ------------------------------------------------------------------ the log

-- Each is what somebody looks for among millions; the rest is found through the folded hours.
create index requests_by_model on ledger.requests (account, model, request_id desc);
create index requests_by_end_user on ledger.requests (account, end_user, request_id desc)
  where end_user is not null;
create index requests_by_session on ledger.requests (account, session, request_id desc)
  where session is not null;
create index requests_by_label on ledger.requests (account, client_request_id, request_id desc)
  where client_request_id is not null;
create index requests_by_app on ledger.requests (account, app, request_id desc)
  where app is not null;
create index requests_failed on ledger.requests (account, request_id desc)
  where outcome not in ('completed', 'left');

create function ledger.logged_json(r ledger.requests) returns jsonb language sql stable as $$
  select jsonb_build_object('request_id', r.request_id, 'key_id', r.key_id, 'team', r.team,
    'member', k.creator, 'tags', ledger.all_tags(ledger.tags_of(k.metadata), r.tags),
    'is_byok', ledger.is_byok(r.price_version),
    'end_user', r.end_user, 'session', r.session, 'model', r.model, 'offer', r.offer,
    'provider', r.provider, 'price_version', r.price_version, 'lines', r.lines,
    'charge_nanos', r.charge_nanos, 'outcome', r.outcome, 'estimated', r.estimated,
    'finish', r.finish, 'reason', r.reason, 'attempts', r.attempts, 'stream', r.stream,
    'at_ms', ledger.ms_of(coalesce(r.admitted_at, r.posted_at)),
    'posted_at_ms', ledger.ms_of(r.posted_at), 'first_token_ms', r.first_token_ms,
    'total_ms', r.total_ms, 'client_request_id', r.client_request_id, 'app', r.app,
    'error_class', j.error_class, 'blame', j.blame, 'prompt_tokens', t.prompt,
    'completion_tokens', t.answer, 'cached_tokens', ledger.class_units(r.lines, 'cache_read'),
    'reasoning_tokens', ledger.class_units(r.lines, 'reasoning'),
    'cache_savings_nanos', ledger.cache_savings(r.lines, r.price_version))
    from (select) as one
   cross join lateral ledger.token_units(r.lines) as t
   cross join lateral ledger.judge(r.outcome, r.reason, r.attempts) as j
    left join tenancy.api_keys k on k.key_id = r.key_id and k.account = r.account
$$;

-- Conditions on requests `r` for the fields of the log; all are met.
create function ledger.log_conditions(p_account text, p jsonb) returns text
language plpgsql stable as $$
declare made text := ''; name text; col text; wanted jsonb;
begin
  foreach name in array array['model', 'provider', 'offer', 'api_key_id', 'team', 'end_user',
      'session', 'app', 'outcome', 'finish_reason', 'client_request_id'] loop
    wanted := p -> name;
    continue when coalesce(jsonb_typeof(wanted), 'null') = 'null';
    col := case name when 'api_key_id' then 'key_id' when 'finish_reason' then 'finish'
                     else name end;
    if jsonb_typeof(wanted) = 'array' then
      made := made || format(' and r.%I = any (%L::text[])', col,
                             array(select jsonb_array_elements_text(wanted)));
    else
      made := made || format(' and r.%I = %L', col, p ->> name);
    end if;
  end loop;
  if p ->> 'member' is not null then
    made := made || format(' and r.key_id in (select k.key_id from tenancy.api_keys k'
                           ' where k.account = %L and k.creator = %L)', p_account, p ->> 'member');
  end if;
  if p ->> 'tag' is not null then
    made := made || format(' and (r.tags ? %2$L or r.key_id in (select k.key_id from'
      ' tenancy.api_keys k where k.account = %1$L and %2$L = any (ledger.tags_of(k.metadata))))',
      p_account, p ->> 'tag');
  end if;
  if p ->> 'error_class' is not null or p ->> 'blame' is not null
     or coalesce((p -> 'failed') = 'true', false) then
    made := made || ' and r.outcome not in (''completed'', ''left'')';
  end if;
  if p ->> 'error_class' is not null then
    made := made || format(' and (ledger.judge(r.outcome, r.reason, r.attempts)).error_class = %L',
                           p ->> 'error_class');
  end if;
  if p ->> 'blame' is not null then
    made := made || format(' and (ledger.judge(r.outcome, r.reason, r.attempts)).blame = %L',
                           p ->> 'blame');
  end if;
  if jsonb_typeof(p -> 'stream') = 'boolean' then
    made := made || format(' and r.stream = %L::boolean', p ->> 'stream');
  end if;
  return made
    || coalesce(' and r.charge_nanos >= '
                || ledger.int_arg(p, 'min_nanos', 0, ledger.charge_cap(), null), '')
    || coalesce(' and r.charge_nanos <= '
                || ledger.int_arg(p, 'max_nanos', 0, ledger.charge_cap(), null), '')
    || coalesce(' and r.total_ms >= '
                || ledger.int_arg(p, 'min_total_ms', 0, 1000000000, null), '');
end $$;

-- An id is made a moment before its request is admitted, or a twin's wait before.
create function ledger.id_margin() returns interval language sql immutable as $$
  select interval '15 minutes'
$$;

create function ledger.request_id_at(p_at timestamptz) returns text language sql immutable as $$
  select 'req_' || ledger.ulid_time(least(greatest(ledger.ms_of(p_at), 0), 253402300799999))
$$;

-- The moment that an id carries; of ids that carry none, the end of time.
create function ledger.time_of(p_id text) returns timestamptz language plpgsql immutable as $$
declare ms bigint := 0; digit integer;
begin
  for place in 5 .. 14 loop
    digit := strpos('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(p_id, place, 1)) - 1;
    if digit < 0 or substr(p_id, place, 1) = '' then return 'infinity'; end if;
    ms := ms * 32 + digit;
  end loop;
  return timestamptz 'epoch' + ledger.span(least(ms, 253402300799999));
end $$;

-- The hours in which requests of these filters were, newest first: rare ones among millions are not
-- looked for where there are none.
create function ledger.hours_of(
  p_account text, p jsonb, p_from timestamptz, p_to timestamptz) returns setof timestamptz
language plpgsql stable set enable_seqscan = off as $$
declare made text := ''; name text; wanted jsonb;
begin
  foreach name in array array['model', 'provider', 'offer', 'api_key_id', 'team', 'member', 'app',
      'outcome', 'finish_reason', 'error_class', 'blame'] loop
    wanted := p -> name;
    continue when coalesce(jsonb_typeof(wanted), 'null') = 'null';
    made := made || format(' and %s = any (%L::text[])', ledger.usage_dimension(name),
      case when jsonb_typeof(wanted) = 'array'
           then array(select jsonb_array_elements_text(wanted)) else array[p ->> name] end);
  end loop;
  if p ->> 'tag' is not null then
    made := made || format(' and s.tags @> array[%L]', p ->> 'tag');
  end if;
  return query execute format(
    'select distinct u.starts_at from ledger.usage_hours u'
    ' join ledger.usage_series s on s.series = u.series'
    ' where u.account = $1 and u.starts_at >= date_trunc(''hour'', $2, ''UTC'')'
    ' and u.starts_at < $3%s order by 1 desc', made)
    using p_account, p_from, p_to;
end $$;

-- {account, from_ms, to_ms, filters by name, cursor?, order?: newest|oldest, limit} ->
-- {rows, next}: `next` is the cursor of the page after this one, null at the end.
create function api.search_requests(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off set jit = off as $$
declare
  acct text := ledger.account_arg($1);
  first_at timestamptz := timestamptz 'epoch'
    + ledger.span(ledger.int_arg($1, 'from_ms', 0, 253402300799999));
  end_at timestamptz := timestamptz 'epoch'
    + ledger.span(ledger.int_arg($1, 'to_ms', 0, 253402300799999));
  most bigint := ledger.int_arg($1, 'limit', 1, 10000, 50);
  newest boolean := coalesce($1 ->> 'order', 'newest') = 'newest';
  low text := ledger.request_id_at(first_at - ledger.id_margin());
  high text := ledger.request_id_at(end_at);
  sparse boolean; hour timestamptz; rows jsonb := '[]'; part jsonb; q text; piece text;
begin
  if $1 ->> 'cursor' is not null then
    perform ledger.text_arg($1, 'cursor', '^req_[0-9A-Za-z_]+$', 64);
    if newest then high := least(high, $1 ->> 'cursor');
    else low := greatest(low, ($1 ->> 'cursor') || '!'); end if;
  end if;
  q := format('select coalesce(jsonb_agg(ledger.logged_json(x) order by x.request_id %1$s), ''[]'')'
    ' from (select r.* from ledger.requests r where r.account = $1 and r.request_id >= $2'
    ' and r.request_id < $3 and coalesce(r.admitted_at, r.posted_at) >= $4'
    ' and coalesce(r.admitted_at, r.posted_at) < $5%2$s order by r.request_id %1$s limit $6) as x',
    case when newest then 'desc' else 'asc' end, ledger.log_conditions(acct, $1));
  sparse := newest and $1 ?| array['provider', 'offer', 'team', 'member', 'finish_reason', 'tag']
    and not $1 ?| array['model', 'api_key_id', 'end_user', 'session', 'app', 'client_request_id'];
  if sparse then
    -- mostly the last hours fill a page; else only hours that have such requests are looked at
    piece := greatest(low, ledger.request_id_at(
      least(end_at, ledger.now(), ledger.time_of(high)) - interval '2 hours'));
    execute q into rows using acct, piece, high, first_at, end_at, most;
    high := least(high, piece);
    sparse := jsonb_array_length(rows) < most;
  else
    execute q into rows using acct, low, high, first_at, end_at, most;
  end if;
  if sparse then
    perform ledger.catch_up(acct);
    for hour in select * from ledger.hours_of(acct, $1, first_at,
                  least(end_at, ledger.time_of(high) + interval '1 hour')) loop
      -- ids go down from piece to piece, so the last one is a cursor
      piece := greatest(low, ledger.request_id_at(hour - ledger.id_margin()));
      execute q into part using acct, piece,
        least(high, ledger.request_id_at(hour + interval '1 hour')), first_at, end_at,
        most - jsonb_array_length(rows);
      high := least(high, piece);
      rows := rows || part;
      exit when jsonb_array_length(rows) >= most;
    end loop;
  end if;
  return jsonb_build_object('rows', rows, 'next', case
    when jsonb_array_length(rows) >= most then rows -> -1 ->> 'request_id' end);
end $$;

-- What callers say of an answer: one word for each kind of complaint, the last one counts.
create table ledger.feedback (
  account    text collate "C" not null references tenancy.accounts,
  request_id text collate "C" not null,
  category   text collate "C" not null check (category in ('latency', 'incoherence',
               'incorrect_response', 'formatting', 'billing', 'api_error', 'other')),
  comment    text,
  said_at    timestamptz not null,
  primary key (request_id, category)
);
create index feedback_by_account on ledger.feedback (account, said_at desc);

create function api.give_feedback(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := ledger.op_arg($1, 'request_id');
begin
  if not exists (select 1 from ledger.charges c
                  where c.request_id = wanted and c.account = acct) then
    return jsonb_build_object('success', false);
  end if;
  insert into ledger.feedback as f values (acct, wanted,
      ledger.text_arg($1, 'category', '^[a-z_]+$', 40), left($1 ->> 'comment', 2000), ledger.now())
    on conflict (request_id, category) do update
      set comment = excluded.comment, said_at = excluded.said_at;
  return jsonb_build_object('success', true);
end $$;

select ledger.close_doors();
